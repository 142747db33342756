# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The protocol as its page describes it, spoken by the second implementation."""
import errno
import json
import mmap
import os
import socket
import struct
import time

import pytest

import proto
from helpers import noise, python_as
from proto import LIMITS, MESSAGES, Client
from util import wait_until


@pytest.fixture
def backend(box, file_store):
    b = box.backend(config="[s3proxyd]\n" + file_store.section("v") +
                    file_store.section("ro", rw=False))
    b.store = file_store
    return b


def connect(backend, **fields):
    c = Client(backend.socket)
    c.hello()
    fields.setdefault("volume", "v")
    fields.setdefault("rw", 1)
    c.reply = c.attach(**fields)
    return c


@pytest.fixture
def c(backend):
    client = connect(backend)
    yield client
    client.close()


def write(c, fh, offset, data, slot=0):
    at = slot * LIMITS["PROTO_RING_SLOT_BYTES"] if "PROTO_RING_SLOT_BYTES" in LIMITS else slot << 20
    c.ring[at:at + len(data)] = data
    return c.ok("WRITE", fh=fh, offset=offset, size=len(data), ring_offset=at)


def test_every_message_has_a_number_of_its_own():
    numbers = [m.number for m in MESSAGES.values()]
    assert len(numbers) == len(set(numbers))
    for m in MESSAGES.values():
        for fields in (m.request, m.reply):
            used = [n for n, _ in fields.values()]
            assert len(used) == len(set(used)), m.name


def test_protocol_page_names_every_message_and_limit():
    page = proto._read("proto/PROTOCOL.md")
    for name in MESSAGES:
        assert name in page, name


def test_hello(backend):
    c = Client(backend.socket)
    a = c.hello()
    assert a.version == 1 and a.backend_uid == os.geteuid() and "s3proxyd" in a.program
    a2 = Client(backend.socket).hello(1, 99)
    assert a2.version == 1 and a2.backend_instance == a.backend_instance


def test_attach_gives_a_sealed_ring_and_a_root(c):
    import fcntl
    a = c.reply
    assert a.root > 1 and len(a.token) == LIMITS["PROTO_TOKEN_BYTES"] and a.rw == 1
    assert os.fstat(a.fds[0]).st_size == a.ring_bytes == LIMITS["PROTO_RING_BYTES"]
    seals = fcntl.fcntl(a.fds[0], 1034)  # F_GET_SEALS
    assert seals & 1 and seals & 2 and seals & 4, "seal, shrink, grow"
    assert a.attr["mode"] & 0o170000 == 0o040000
    with pytest.raises(OSError):
        os.ftruncate(a.fds[0], 10)


def test_read_only_attach_has_no_ring(backend):
    assert connect(backend, volume="ro", rw=0).ring is None
    ro = Client(backend.socket)
    ro.hello()
    assert ro.ask("ATTACH", instance=os.urandom(16), source="ro", volume="ro", rw=1).error


def test_attach_says_which_ttl_is_in_force(box, file_store):
    """The mount's own, or the configured one where it chose none; ttl 0 is a choice."""
    unset = LIMITS["ATTR_TTL_UNSET_MS"]
    file_store.put("f", b"x")
    for config, configured in (("", 30000), ("attr_ttl = 7\n", 7000), ("attr_ttl = 0\n", 0)):
        b = box.backend(config="[s3proxyd]\n" + config + file_store.section("v"), name="t%d" % configured)
        for asked, want in ((unset, configured), (1500, 1500), (0, 0), (unset - 1, unset - 1)):
            c = connect(b, attr_ttl_ms=asked)
            assert c.reply.attr_ttl_ms == want, (config, asked)
            assert c.lookup("f").attr_ttl_ms <= want
            c.close()


def test_attach_tells_a_missing_volume_from_a_missing_bucket(box, fake):
    """Only the first means that the word may be the name of a bucket; the second names what is missing."""
    b = box.backend(config="[s3proxyd]\n[v]\nbucket = file:///no/such/directory\n[w]\nbucket = b\n"
                    "endpoint = %s\naccess_key = k\nsecret_key = s\n" % fake.endpoint)
    box.watch.expect("NoSuchBucket")
    c = Client(b.socket)
    c.hello()
    a = c.ask("ATTACH", instance=os.urandom(16), source="nothing", volume="nothing")
    assert a.error == -errno.ENODEV and "no volume" in a.text
    a = c.ask("ATTACH", instance=os.urandom(16), source="v", volume="v")
    assert a.error == -errno.ENXIO and "/no/such/directory" in a.text and "No such file" in a.text
    a = c.ask("ATTACH", instance=os.urandom(16), kind=2, bucket="/" + "x" * 250)
    assert a.error == -errno.ENXIO and a.text.endswith("xxx... cannot be used: No such file or directory")
    fake.on().status(404, "NoSuchBucket")
    a = c.ask("ATTACH", instance=os.urandom(16), source="w", volume="w")
    assert a.error == -errno.ENXIO and "bucket b" in a.text and "NoSuchBucket" in a.text


def test_write_flush_read(c, backend):
    a = c.ok("CREATE", parent=c.root, name="f", fh=1, flags=os.O_RDWR, mode=0o644)
    assert a.attr["size"] == 0 and a.attr["ino"] > 1
    assert write(c, 1, 0, b"hello ").file_size == 6
    assert write(c, 1, 6, b"world", slot=3).file_size == 11
    c.ok("FLUSH", fh=1)
    assert backend.store.get("f") == b"hello world"
    assert c.ok("READ", fh=1, offset=3, size=100, want_inline=1).payload == b"lo world"
    assert c.ok("GETATTR", ino=a.attr["ino"]).attr["size"] == 11
    c.start("RELEASE", fh=1)
    assert c.lookup("f").attr["ino"] == a.attr["ino"]


def test_a_field_that_is_no_more_is_skipped(c, backend):
    """Field 2 of FLUSH once meant that nothing is to be saved; sent by an old client it means nothing."""
    c.ok("CREATE", parent=c.root, name="f", fh=1, flags=os.O_RDWR, mode=0o644)
    write(c, 1, 0, b"x" * 10)
    spec = MESSAGES["FLUSH"]
    assert [number for number, _ in spec.request.values()] == [1], "2 is never used again"
    c.send(proto.frame(proto.pack_head(proto.REQUEST, 1000, spec.number, {1: 1, 2: 1}, c.next_seq)))
    assert not c.wait(1000).error
    assert backend.store.get("f") == b"x" * 10


def test_release_commits_what_flush_did_not(c, backend):
    c.ok("CREATE", parent=c.root, name="f", fh=1, flags=os.O_RDWR, mode=0o644)
    write(c, 1, 0, b"late")
    c.start("RELEASE", fh=1)
    ino = c.lookup("f").attr["ino"]
    c.ok("OPEN", ino=ino, fh=2, flags=os.O_RDONLY).close()  # the next open waits for it
    assert backend.store.get("f") == b"late"


def test_replies_come_in_any_order(backend, fake):
    """A slow call does not hold up a quick one on the same connection."""
    fake.put("b", "slow/x", b"1")
    fake.put("b", "quick", b"2")
    c = connect(backend, volume="", kind=1, bucket="b", endpoint=fake.endpoint, cred=1, access_key="k",
                secret_key="s", source="s3://b")
    c.lookup("quick")
    ino = c.lookup("slow").attr["ino"]
    fake.on(op="list").delay(3)
    fake.on(op="head").delay(3)
    slow = c.start("READDIR", ino=ino, max_bytes=65536)
    start = time.monotonic()
    assert c.ok("STATFS", ino=c.root).blocks > 0
    assert c.ok("GETATTR", ino=c.root).attr["ino"] == c.root
    assert time.monotonic() - start < 2, "answered in order"
    c.waiting.setdefault(0, None)
    assert c.wait(slow).count == 1


def test_many_in_flight(c, backend):
    for i in range(300):
        backend.store.put("f%03d" % i, b"%d" % i)
    ids = [c.start("LOOKUP", parent=c.root, name="f%03d" % i) for i in range(300)]
    sizes = [c.wait(i).attr["size"] for i in ids]
    assert sizes == [len(str(i)) for i in range(300)]


def test_readdir_pages_and_cookies(c, backend):
    names = {"n%04d" % i for i in range(700)}
    for n in names:
        backend.store.put(n, b"")
    for max_bytes in (4096, 1000, 65536):
        for plus in (0, 1):
            assert set(c.readdir(max_bytes=max_bytes, plus=plus)) - {".", ".."} == names


def test_readdir_fits_the_kernels_buffer(c, backend):
    for i in range(50):
        backend.store.put("name-%d" % i * 5, b"")
    for max_bytes in (512, 1024, 4096):
        for plus, header in ((0, 24), (1, 152)):
            a = c.ok("READDIR", ino=c.root, cookie=0, max_bytes=max_bytes, plus=plus)
            import msgpack
            u = msgpack.Unpacker()
            u.feed(a.payload)
            used = sum((header + len(name.encode()) + 7) // 8 * 8 for _, _, name in u)
            assert 0 < used <= max_bytes


def test_absent_names(c):
    a = c.lookup("none")
    assert a.error == -2 or not a.attr or a.attr["ino"] == 0
    if not a.error:
        assert a.entry_ttl_ms <= LIMITS["NEGATIVE_TTL_MS"]


def test_open_hands_over_read_only_descriptors(c, backend):
    """The cache file and its sidecar: read-only, and right once the sidecar says so."""
    data = noise(500000)
    backend.store.put("o", data)
    ino = c.lookup("o").attr["ino"]
    a = c.ok("OPEN", ino=ino, fh=1, flags=os.O_RDONLY)
    assert a.size == len(data)
    if not a.cached:
        pytest.fail("a plain read-only open of an object has no cache file")
    cache, side = a.fds
    for fd in (cache, side):
        with pytest.raises(OSError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(OSError):
            mmap.mmap(fd, 4096)
    got = b""
    while len(got) < len(data):
        r = c.ok("READ", fh=1, offset=len(got), size=LIMITS["BLOCK_BYTES"])
        if r.inline_data:
            got += r.payload
            continue
        block = len(got) // LIMITS["BLOCK_BYTES"]
        bits = os.pread(side, 8, 4096 + block // 64 * 8)
        assert int.from_bytes(bits, "little") >> block % 64 & 1, "not inline, and not present either"
        got += os.pread(cache, LIMITS["BLOCK_BYTES"], len(got))
    assert got == data
    magic, version, block_bytes, size = struct.unpack("<QIIQ", os.pread(side, 24, 0))
    assert (magic, version, block_bytes, size) == (0x31454443585a4648, 1, LIMITS["BLOCK_BYTES"], len(data))
    a.close()


def present(side, blocks):
    """The blocks whose bits are set in the sidecar."""
    bits = os.pread(side, (blocks + 63) // 64 * 8, 4096)
    return {b for b in range(blocks) if bits[b // 8] >> b % 8 & 1}


def test_a_reader_that_tells_where_he_is_is_read_ahead_of(c, backend):
    """AHEAD alone, without a READ, has the whole file brought; never more than the window at once."""
    block, data = LIMITS["BLOCK_BYTES"], bytes(24 << 20)
    backend.store.put("o", data)
    ino = c.lookup("o").attr["ino"]
    a = c.ok("OPEN", ino=ino, fh=1, flags=os.O_RDONLY)
    blocks = len(data) // block
    tell_at = c.ok("READ", fh=1, offset=0, size=block).tell_at
    assert block <= tell_at < 4 << 20
    told = 0
    while tell_at:
        first = len(present(a.fds[1], blocks)) * block
        assert first <= 4 * tell_at + (2 << 20), "far more was read ahead than the reader has read"
        wait_until("the reader can come to where he is to tell",
                   lambda: present(a.fds[1], blocks) >= set(range(tell_at // block)))
        before, tell_at = tell_at, c.ok("AHEAD", fh=1, offset=tell_at).tell_at
        assert tell_at == 0 or tell_at > before
        told += 1
    wait_until("all of it is there", lambda: len(present(a.fds[1], blocks)) == blocks)
    assert 3 <= told <= 12
    a.close()


def test_ahead_of_nothing(c, backend):
    backend.store.put("o", bytes(1 << 20))
    assert c.ask("AHEAD", fh=77, offset=5).error == -errno.EBADF
    ino = c.lookup("o").attr["ino"]
    c.ok("OPEN", ino=ino, fh=1, flags=os.O_RDWR).close()
    assert c.ok("AHEAD", fh=1, offset=(1 << 63) - 1).tell_at == 0
    c.ok("WRITE", fh=1, offset=0, size=1, ring_offset=0)
    assert c.ok("AHEAD", fh=1, offset=100).tell_at == 0, "unsaved data: reads are asked for anyway"


def bound(backend, session):
    push = Client(backend.socket)
    push.hello()
    push.ok("BIND", token=session.token)
    return push


def test_invalidate_is_sent_before_the_writers_reply(backend):
    a, b = connect(backend), connect(backend)
    push = bound(backend, b)
    assert b.readdir() == {} or set(b.readdir()) <= {".", ".."}
    ident = a.start("MKDIR", parent=a.root, name="d", mode=0o755)
    a.wait(ident)
    push.sock.settimeout(1)
    got = proto.Answer(*push.receive())
    assert proto.BY_NUMBER[got.method].name == "INVALIDATE" and got.kind == proto.REQUEST
    assert got.what in (0, 1, 2)


def test_pushes_stay_within_the_prefix(backend):
    backend.store.put("team/x", b"")
    backend.configure("[s3proxyd]\n" + backend.store.section("v") +
                      backend.store.section("team", prefix="team"))
    backend.restart()
    a, b = connect(backend), connect(backend, volume="team")
    push = bound(backend, b)
    b.readdir()
    a.ok("MKDIR", parent=a.root, name="elsewhere", mode=0o755)
    push.sock.settimeout(0.7)
    with pytest.raises(socket.timeout):
        got = proto.Answer(*push.receive())
        while got.what == 0:
            got = proto.Answer(*push.receive())


def test_cancel_ends_the_wait(backend, fake):
    fake.put("b", "o", noise(300000))
    c = connect(backend, volume="", kind=1, bucket="b", endpoint=fake.endpoint, cred=1, access_key="k",
                secret_key="s", source="s3://b")
    push = bound(backend, c)
    ino = c.lookup("o").attr["ino"]
    c.ok("OPEN", ino=ino, fh=1, flags=0).close()
    fake.on(op="get").silence(30)
    ident = c.start("READ", fh=1, offset=0, size=1000, want_inline=1)
    time.sleep(0.5)
    start = time.monotonic()
    push.start("CANCEL", call=ident)
    a = c.wait(ident)
    assert a.error in (-4, -125) and time.monotonic() - start < 3


def test_resume_gives_the_same_mount_back(backend):
    c = connect(backend)
    instance = c.instance
    c.ok("CREATE", parent=c.root, name="f", fh=1, flags=os.O_RDWR, mode=0o644)
    write(c, 1, 0, b"x")
    c.ok("FLUSH", fh=1)
    ino = c.lookup("f").attr["ino"]
    c.close()
    c = connect(backend, instance=instance, resume=1)
    assert c.lookup("f").attr["ino"] == ino
    assert c.ok("GETATTR", ino=ino).attr["size"] == 1


def test_reopen_of_another_version_is_stale(c, backend):
    backend.store.put("o", b"1")
    ino = c.lookup("o").attr["ino"]
    a = c.ask("OPEN", ino=ino, fh=1, flags=0, reopen=1, etag='"another"')
    assert a.error == -116


def test_reopening_changes_nothing_however_often(backend):
    """What a re-attach sends for each handle has no operation number: it is done on every connection anew."""
    instance = os.urandom(16)
    backend.store.put("o", b"not to be truncated")
    c = connect(backend, instance=instance)
    ino = c.lookup("o").attr["ino"]
    etag = c.ok("OPEN", ino=ino, fh=1, flags=os.O_RDWR).etag
    for _ in range(3):
        c.close()
        c = connect(backend, instance=instance, resume=1)
        a = c.ok("OPEN", ino=ino, fh=1, flags=os.O_RDWR | os.O_TRUNC | os.O_EXCL, reopen=1, etag=etag, seq=0)
        assert a.size == 19 and a.etag == etag and a.cached == 1 and len(a.fds) == 2
        assert c.ok("GETATTR", ino=ino).attr["size"] == 19
        c.ok("FLUSH", fh=1)
        assert backend.store.get("o") == b"not to be truncated"


def test_rows_of_later_issues(c):
    a = c.ask("SYMLINK", parent=c.root, name="l", target="t")
    assert a.error == -1
    for name, fields in (("READLINK", {"ino": c.root}), ("GETXATTR", {"ino": c.root, "name": "user.x"}),
                         ("LISTXATTR", {"ino": c.root}), ("GETLK", {"fh": 1}), ("SETLK", {"fh": 1})):
        assert c.ask(name, **fields).error == -95, name


def status(backend):
    """On a connection without a session, as hafizctl."""
    c = Client(backend.socket)
    c.hello()
    doc = json.loads(c.ok("STATUS").payload)
    c.close()
    return doc


def test_status_is_json(c, backend):
    assert len(status(backend)["mounts"]) == 1


def test_status_fits_a_frame_with_many_mounts(backend):
    clients = [connect(backend, source="v" * 2000, mountpoint="/" + "m" * 3000) for _ in range(40)]
    assert len(status(backend)["mounts"]) == 40
    for c in clients:
        c.close()


def test_detach(c):
    c.ok("DETACH")
    try:
        assert c.lookup("f").error
    except proto.Closed:
        pass


def test_default_deny_by_uid(box, backend, users):
    """Another uid may connect and say hello, and nothing more."""
    out = python_as(box, users[0], """
        for f in ({'volume': 'v'}, {'kind': 2, 'bucket': '/tmp'},
                  {'kind': 1, 'bucket': 'b', 'endpoint': 'http://127.0.0.1:1', 'cred': 3}):
            c = proto.Client(%r)
            c.hello()
            try:
                a = c.ask('ATTACH', instance=os.urandom(16), source='x', **f)
                print('denied' if a.error in (-13, -1) else 'not denied: %%d' %% a.error)
            except proto.Closed:
                print('denied')
        """ % backend.socket)
    assert out.split("\n")[:3] == ["denied"] * 3, out
