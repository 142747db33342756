# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The wire protocol a second time, in Python, from proto/PROTOCOL.md and proto/messages.tbl and from
nothing else of the C code: so a mistake both sides of the C share is seen, and so are peers that lie.

    c = Client(path); c.hello(); c.attach(volume="models")
    c.ask("LOOKUP", parent=c.root, name="x")        → Answer(error, fields, payload, fds)
"""
import mmap
import os
import re
import socket
import struct
import threading

import msgpack

TOP = os.path.join(os.path.dirname(__file__), "..", "..")
PREFIX = struct.Struct("<III")
REQUEST, REPLY, ERROR = 0, 1, 2


def _read(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as f:
        return f.read()


class Message:
    def __init__(self, name, number, phase, replay, payload, request, reply):
        self.name, self.number, self.phase, self.replay = name, number, phase, replay
        self.payload, self.request, self.reply = payload, request, reply


def load_messages():
    """name → Message, from the table."""
    text = re.sub(r"/\*.*?\*/", "", _read("proto/messages.tbl"), flags=re.S).replace("\\\n", " ")
    fields = {}
    for m in re.finditer(r"#define MSG_(\w+)_(REQ|REP)\(F\)([^#]*)", text):
        fields[m[1], m[2]] = {f[2]: (int(f[1]), f[0]) for f in
                              re.findall(r"F\((\w+),\s*(\d+),\s*(\w+),", m[3])}
    found = {}
    rows = re.findall(r"MSG\((\w+),\s*\w+,\s*(\d+),\s*(\w+),\s*(\w+),\s*(\w+)\)", text)
    for name, number, phase, replay, payload in rows:
        found[name] = Message(name, int(number), phase, replay, payload, fields[name, "REQ"],
                              fields[name, "REP"])
    assert len(found) > 20, "messages.tbl could not be read"
    return found


def load_limits():
    """Every numeric #define of limits.h."""
    found = {}
    for m in re.finditer(r"#define (\w+) (\(?[0-9u *+]+\)?)", _read("proto/limits.h")):
        found[m[1]] = eval(m[2].replace("u", ""))  # digits, blanks, * and + only
    return found


MESSAGES = load_messages()
BY_NUMBER = {m.number: m for m in MESSAGES.values()}
LIMITS = load_limits()
ATTR = "ino generation mode nlink uid gid size blocks atime_ns mtime_ns ctime_ns rdev".split()


def pack_head(kind, ident, method, fields, seq=None):
    """seq None: a head of four elements, as replies, errors, pushes and older clients have it."""
    return msgpack.packb([kind, ident, method, fields] + ([] if seq is None else [seq]),
                         use_bin_type=True, unicode_errors="surrogateescape")


def unpack_head(head):
    """(kind, id, method, raw fields, seq)."""
    elements = msgpack.unpackb(head, strict_map_key=False, unicode_errors="surrogateescape")
    assert len(elements) == 4 or (len(elements) == 5 and elements[0] == REQUEST), \
        "a head of %d elements, kind %r" % (len(elements), elements[0])
    kind, ident, method, raw, seq = elements if len(elements) == 5 else elements + [0]
    assert isinstance(seq, int) and not isinstance(seq, bool) and 0 <= seq < 1 << 64, "seq %r" % (seq,)
    return kind, ident, method, raw, seq


def frame(head, payload=b"", fds=0):
    return PREFIX.pack(len(head), len(payload), fds) + head + payload


def request(ident, name, payload=b"", /, seq=0, **fields):
    """The bytes of a well-formed request; seq None leaves the operation sequence out."""
    spec = MESSAGES[name].request
    return frame(pack_head(REQUEST, ident, MESSAGES[name].number,
                           {spec[k][0]: v for k, v in fields.items()}, seq), payload)


class Answer:
    """fields by name; attr fields as dictionaries."""

    def __init__(self, kind, ident, method, raw, payload, fds):
        self.kind, self.ident, self.method = kind, ident, method
        self.payload, self.fds, self.raw = payload, fds, raw
        self.error = -raw.get(1, 0) if kind == ERROR else 0
        self.text = raw.get(2, "") if kind == ERROR else ""
        self.fields = {}
        m = BY_NUMBER.get(method)
        spec = (m.request if kind == REQUEST else m.reply) if m and kind != ERROR else {}
        for name, (number, kind_of) in spec.items():
            value = raw.get(number, {"STR": "", "BIN": b"", "ATTR": None}.get(kind_of, 0))
            if kind_of == "ATTR" and value is not None:
                value = dict(zip(ATTR, value))
            self.fields[name] = value

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Closed(Exception):
    """The other side ended the connection."""


class Connection:
    """Frames over a socket, either side."""

    def __init__(self, sock, timeout=15):
        self.sock = sock
        self.sock.settimeout(timeout)
        self.buffer, self.fds = b"", []
        self.seq = 0  # of the request that receive() brought last

    def send(self, data, fds=()):
        try:
            if fds:
                sent = socket.send_fds(self.sock, [data], list(fds))
                data = data[sent:]
            if data:
                self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed from e

    def _fill(self, n):
        while len(self.buffer) < n:
            try:
                data, fds, flags, _ = socket.recv_fds(self.sock, 1 << 18, 8)
            except ConnectionResetError as e:
                raise Closed from e
            assert not flags & socket.MSG_CTRUNC, "descriptors were cut off"
            self.fds += fds
            if not data:
                raise Closed
            self.buffer += data

    def receive(self):
        """One frame: (kind, id, method, raw fields, payload, fds)."""
        self._fill(12)
        head_len, payload_len, nfds = PREFIX.unpack(self.buffer[:12])
        assert head_len <= LIMITS["PROTO_HEAD_MAX_BYTES"], "head too long: %d" % head_len
        assert payload_len <= LIMITS["PROTO_PAYLOAD_MAX_BYTES"], "payload too long: %d" % payload_len
        assert nfds <= LIMITS["PROTO_FDS_MAX"], "too many descriptors: %d" % nfds
        self._fill(12 + head_len + payload_len)
        head = self.buffer[12:12 + head_len]
        payload = self.buffer[12 + head_len:12 + head_len + payload_len]
        self.buffer = self.buffer[12 + head_len + payload_len:]
        kind, ident, method, raw, self.seq = unpack_head(head)
        assert len(self.fds) >= nfds, "the frame says %d descriptors, %d came" % (nfds, len(self.fds))
        fds, self.fds = self.fds[:nfds], self.fds[nfds:]
        return kind, ident, method, raw, payload, fds

    def closed(self, timeout=10):
        """Has the other side ended the connection (reading on until it has, or until the time is up)?"""
        self.sock.settimeout(timeout)
        try:
            while True:
                if not self.sock.recv(1 << 16):
                    return True
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)


class Client(Connection):
    def __init__(self, path, timeout=15):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(path)
        super().__init__(sock, timeout)
        self.next_id = 1
        self.next_seq = 1  # set it to that of the connection before, when a mount comes back
        self.waiting = {}  # replies that came before they were asked for

    def start(self, name, payload=b"", /, **fields):
        """A call on a session takes the next operation number, unless seq= says another (None: none)."""
        ident = self.next_id
        self.next_id += 1
        m = MESSAGES[name]
        if "seq" not in fields and m.phase == "SESSION" and m.replay != "ONEWAY":
            fields["seq"] = self.next_seq
            self.next_seq += 1
        self.send(request(ident, name, payload, **fields))
        return ident

    def wait(self, ident):
        while ident not in self.waiting:
            a = Answer(*self.receive())
            assert a.kind in (REPLY, ERROR), "a request from the server on a session connection"
            self.waiting[a.ident] = a
        return self.waiting.pop(ident)

    def ask(self, name, payload=b"", /, **fields):
        return self.wait(self.start(name, payload, **fields))

    def ok(self, name, payload=b"", /, **fields):
        a = self.ask(name, payload, **fields)
        assert not a.error, "%s: %s %s" % (name, os.strerror(-a.error), a.text)
        return a

    def hello(self, low=1, high=1):
        return self.ok("HELLO", version_min=low, version_max=high, features=0, program="test")

    def attach(self, **fields):
        fields.setdefault("instance", os.urandom(16))
        fields.setdefault("source", fields.get("volume", "test"))
        self.instance = fields["instance"]
        a = self.ok("ATTACH", **fields)
        self.root, self.token = a.root, a.token
        self.ring = mmap.mmap(a.fds[0], a.ring_bytes) if a.fds else None
        return a

    def attach_fake(self, fake, **fields):
        """The bucket "b" of a scripted S3."""
        given = dict(kind=1, bucket="b", endpoint=fake.endpoint, cred=1, access_key="k", secret_key="s",
                     source="s3://b", rw=1, dir_mode=0o755, file_mode=0o644)
        return self.attach(**{**given, **fields})

    def lookup(self, name, parent=None):
        return self.ask("LOOKUP", parent=parent or self.root, name=name)

    def readdir(self, ino=None, max_bytes=65536, plus=0):
        """All names of a directory with their attributes."""
        found, cookie = {}, 0
        while True:
            a = self.ok("READDIR", ino=ino or self.root, cookie=cookie, max_bytes=max_bytes, plus=plus)
            if not a.count:
                return found
            unpacker = msgpack.Unpacker(unicode_errors="surrogateescape")
            unpacker.feed(a.payload)
            rows = list(unpacker)
            assert len(rows) == a.count, "%d entries announced, %d came" % (a.count, len(rows))
            for cookie, attr, name in rows:
                assert name not in found, "the entry %r came twice" % name
                found[name] = dict(zip(ATTR, attr))


class Server:
    """A socket that is not (quite) a backend: behave(connection) runs for each connection."""

    def __init__(self, path, behave):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen(16)
        self.path, self.behave, self.threads, self.connections = path, behave, [], []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            c = Connection(sock, 60)
            self.connections.append(c)
            threading.Thread(target=self._run, args=(c,), daemon=True).start()

    def _run(self, c):
        try:
            self.behave(c)
        except (Closed, OSError, AssertionError):
            pass

    def close(self):
        self.sock.close()
        for c in self.connections:
            try:
                c.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            c.sock.close()


def reply(ident, name, payload=b"", /, **fields):
    """The bytes of a server's reply."""
    spec = MESSAGES[name].reply
    raw = {spec[k][0]: ([v[a] for a in ATTR] if isinstance(v, dict) else v) for k, v in fields.items()}
    return frame(pack_head(REPLY, ident, MESSAGES[name].number, raw), payload)
