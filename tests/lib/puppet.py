# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A backend whose strings a test pulls: enough of one for a hafiz-mount to show a flat directory of files,
with every reply in the test's hands.

    p = Puppet(box.path("s")); p.files["f"] = b"data"
    p.on["OPEN"] = lambda call: call.reply(size=4, inline_data=1, payload=b"data")
    m = box.mount("file:///x", "--socket", p.path)
    p.count("OPEN"); p.push(what=1, ino=p.ino("f"), data=1, stamp=9)
"""
import os
import threading
import time

import proto

ROOT = 100
TTL_MS = 600000


class Call:
    def __init__(self, puppet, connection, ident, name, fields, payload):
        self.puppet, self.connection, self.ident, self.name = puppet, connection, ident, name
        self.fields, self.payload, self.time = fields, payload, time.monotonic()

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def reply(self, payload=b"", fds=(), **fields):
        data = proto.reply(self.ident, self.name, payload, **fields)
        if fds:
            data = data[:8] + len(fds).to_bytes(4, "little") + data[12:]
        self.connection.send(data, fds)

    def error(self, errno):
        number = proto.MESSAGES[self.name].number
        self.connection.send(proto.frame(proto.pack_head(proto.ERROR, self.ident, number, {1: errno})))


class Puppet:
    def __init__(self, path, rw=False):
        self.path, self.rw = path, rw
        self.files, self.on, self.calls = {}, {}, []
        self.stamp = 1
        self.session = self.pushes = None
        self.lock = threading.Lock()
        self.server = proto.Server(path, self._serve)
        self.close = self.server.close

    # --- what the test looks at ----------------------------------------------------------------------
    def ino(self, name):
        return ROOT + 1 + sorted(self.files).index(name)

    def name_of(self, ino):
        return sorted(self.files)[ino - ROOT - 1]

    def named(self, name):
        with self.lock:
            return [c for c in self.calls if c.name == name]

    def count(self, name):
        return len(self.named(name))

    def push(self, **fields):
        """INVALIDATE. Returns when it has been sent, which is not when it has been applied."""
        self.stamp = max(self.stamp, fields.get("stamp", 0))
        self.pushes.send(proto.request(0, "INVALIDATE", seq=None, **fields))

    # --- the wire ------------------------------------------------------------------------------------
    def _serve(self, c):
        while True:
            _, ident, method, raw, payload, _ = c.receive()
            m = proto.BY_NUMBER[method]
            fields = {n: raw.get(number, {"STR": "", "BIN": b""}.get(kind, 0))
                      for n, (number, kind) in m.request.items()}
            call = Call(self, c, ident, m.name, fields, payload)
            with self.lock:
                self.calls.append(call)
            answer = self.on.get(m.name) or getattr(self, "_" + m.name.lower(), None)
            if answer:
                answer(call)
            elif m.replay != "ONEWAY":
                call.error(95)

    def attr(self, ino):
        now = time.time_ns()
        size = 4096 if ino == ROOT else len(self.files[self.name_of(ino)])
        return dict(ino=ino, generation=1, mode=0o40755 if ino == ROOT else 0o100644, nlink=1,
                    uid=os.geteuid(), gid=os.getegid(), size=size, blocks=1, atime_ns=now, mtime_ns=now,
                    ctime_ns=now, rdev=0)

    # --- ordinary answers ----------------------------------------------------------------------------
    def _hello(self, call):
        call.reply(version=1, program="puppet", private_backend=1, backend_uid=os.geteuid(),
                   backend_instance=7)

    def _attach(self, call):
        self.session = call.connection
        fields = dict(token=b"t" * 16, root=ROOT, attr=self.attr(ROOT), attr_ttl_ms=TTL_MS)
        if not self.rw:
            call.reply(**fields)
            return
        import fcntl
        ring = os.memfd_create("ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(ring, proto.LIMITS["PROTO_RING_BYTES"])
        fcntl.fcntl(ring, 1033, 7)  # F_ADD_SEALS: seal, shrink, grow
        call.reply(fds=[ring], rw=1, ring_bytes=proto.LIMITS["PROTO_RING_BYTES"], **fields)
        os.close(ring)

    def _bind(self, call):
        self.pushes = call.connection
        call.reply()

    def _detach(self, call):
        call.reply()

    def _lookup(self, call):
        known = call.fields["name"] in self.files
        attr = self.attr(self.ino(call.fields["name"])) if known else dict(self.attr(ROOT), ino=0)
        call.reply(attr=attr, attr_ttl_ms=TTL_MS, entry_ttl_ms=TTL_MS if known else 0, stamp=self.stamp)

    def _getattr(self, call):
        call.reply(attr=self.attr(call.ino), attr_ttl_ms=TTL_MS, stamp=self.stamp)

    def _setattr(self, call):
        call.reply(attr=self.attr(call.ino), attr_ttl_ms=TTL_MS, stamp=self.stamp)

    def _statfs(self, call):
        call.reply(block_bytes=4096, blocks=1000, name_max=255)

    def _open(self, call):
        data = self.files[self.name_of(call.ino)]
        inline = call.inline_max >= len(data) and not call.flags & (os.O_ACCMODE | os.O_TRUNC)
        call.reply(data if inline else b"", size=len(data), etag='"e"', inline_data=int(inline),
                   stamp=self.stamp)

    def _read(self, call):
        opened = [c for c in self.named("OPEN") if c.fh == call.fh][-1]
        data = self.files[self.name_of(opened.ino)]
        call.reply(data[call.offset:call.offset + call.size], inline_data=1)

    def _write(self, call):
        call.reply(written=call.size, file_size=call.offset + call.size)

    def _flush(self, call):
        call.reply()

    def _fsync(self, call):
        call.reply()
