# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""OPEN that brings the bytes of a small file: when it does, when it must not, and what happens meanwhile."""
import os
import socket
import threading
import time

import pytest

import proto
from helpers import Gate, noise
from proto import LIMITS, Client, Closed

MOST = LIMITS["PROTO_INLINE_MAX_BYTES"]
RDWR, TRUNC = os.O_RDWR, os.O_TRUNC


@pytest.fixture
def backend(box, file_store):
    b = box.backend(config="[s3proxyd]\n" + file_store.section("v"))
    b.store = file_store
    return b


def connect(backend):
    c = Client(backend.socket)
    c.hello()
    c.attach(volume="v", rw=1, attr_ttl_ms=600000)
    return c


@pytest.fixture
def c(backend):
    client = connect(backend)
    yield client
    client.close()


def write(c, fh, offset, data):
    c.ring[:len(data)] = data
    return c.ok("WRITE", fh=fh, offset=offset, size=len(data), ring_offset=0)


def open_(c, name, fh, inline_max=MOST, **fields):
    fields.setdefault("flags", os.O_RDONLY)
    ino = c.lookup(name).attr["ino"]
    return c.ok("OPEN", ino=ino, fh=fh, inline_max=inline_max, **fields)


def brought(a):
    """The bytes, or None; checked to be one or the other."""
    assert a.inline_data or not a.payload
    if not a.inline_data:
        return None
    assert not a.cached and not a.fds and len(a.payload) == a.size
    return a.payload


@pytest.mark.parametrize("size", [0, 1, 1000, MOST - 1, MOST])
def test_the_bytes_come_with_the_reply(c, backend, size):
    data = noise(size)
    backend.store.put("o", data)
    for fh in (1, 2):
        a = open_(c, "o", fh)
        assert brought(a) == data and a.etag and a.stamp > 0


def test_larger_ones_come_as_descriptors(c, backend):
    backend.store.put("o", noise(MOST + 1))
    backend.store.put("p", noise(1000))
    for fh, name, most in ((1, "o", MOST), (2, "p", 999), (3, "p", 0)):
        a = open_(c, name, fh, most)
        assert brought(a) is None and a.cached and len(a.fds) == 2
        a.close()
    assert brought(open_(c, "p", 4, 1000)) is not None


def test_more_than_a_reply_may_bring(c, backend):
    ino = c.ok("CREATE", parent=c.root, name="f", fh=1, flags=RDWR).attr["ino"]
    try:
        assert c.ask("OPEN", ino=ino, fh=2, inline_max=MOST + 1).error
    except Closed:
        pass


def test_a_read_after_it_brings_descriptors(c, backend):
    data = noise(5000)
    backend.store.put("o", data)
    assert brought(open_(c, "o", 1)) == data
    a = c.ok("READ", fh=1, offset=0, size=100)
    assert a.refd and len(a.fds) == 2 and a.size == len(data) and a.etag
    assert os.pread(a.fds[0], 5000, 0) == data
    a.close()
    a = c.ok("READ", fh=1, offset=4990, size=100, want_inline=1)
    assert not a.refd and a.payload == data[4990:]


def test_not_for_writers(c, backend):
    backend.store.put("o", noise(1000))
    for fh, fields in ((1, {"flags": RDWR}), (2, {"flags": os.O_WRONLY | TRUNC})):
        a = open_(c, "o", fh, **fields)
        assert brought(a) is None
        a.close()
        c.start("RELEASE", fh=fh)


def test_not_while_somebody_may_write(c, backend):
    """Nor while what they wrote is not saved, nor to their own mount or any other one."""
    backend.store.put("o", b"old")
    other = connect(backend)
    open_(other, "o", 1, flags=RDWR).close()
    for who in (c, other):
        a = open_(who, "o", 7)
        assert brought(a) is None
        a.close()
    write(other, 1, 0, b"newer")
    for who in (c, other):
        a = open_(who, "o", 8)
        assert brought(a) is None and a.size == 5 and not a.cached
        a.close()
    other.ok("FLUSH", fh=1)
    other.start("RELEASE", fh=1)
    for who in (other, c):
        assert brought(open_(who, "o", 9)) == b"newer"


def test_not_at_a_re_attach(c, backend):
    backend.store.put("o", b"data")
    etag = open_(c, "o", 1).etag
    c.start("RELEASE", fh=1)
    a = open_(c, "o", 2, reopen=1, etag=etag)
    assert brought(a) is None and a.cached
    a.close()


@pytest.mark.parametrize("change", ["write", "truncate", "open with O_TRUNC"])
def test_the_push_leaves_before_the_writers_reply(c, backend, change):
    """And it is newer than the bytes."""
    backend.store.put("o", b"old" * 100)
    writer = connect(backend)
    push = Client(backend.socket)
    push.hello()
    push.ok("BIND", token=c.token)
    a = open_(c, "o", 1)
    ino = c.lookup("o").attr["ino"]
    assert brought(a)
    if change == "write":
        open_(writer, "o", 5, flags=RDWR).close()
        write(writer, 5, 0, b"new")
    elif change == "truncate":
        writer.lookup("o")
        writer.ok("SETATTR", ino=ino, valid=8, size=10)
    else:
        open_(writer, "o", 5, flags=RDWR | TRUNC).close()
    push.sock.settimeout(0.5)  # it has been sent: nothing is waited for
    pushed = []
    try:
        while True:
            got = proto.Answer(*push.receive())
            if got.what == 0 or (got.what == 1 and got.ino == ino and got.data):
                pushed.append(got.stamp)
    except socket.timeout:
        pass
    assert pushed and pushed[0] > a.stamp


def test_a_refused_version_is_not_brought(backend, file_store):
    """The object is replaced behind our back after the LOOKUP: ESTALE; the next LOOKUP has the new one."""
    c = connect(backend)
    file_store.put("o", b"one")
    ino = c.lookup("o").attr["ino"]
    time.sleep(0.02)
    file_store.put("o", b"other")
    a = c.ask("OPEN", ino=ino, fh=1, inline_max=MOST)
    assert a.error == -116
    assert brought(open_(c, "o", 1)) == b"other"


# --- while the GET is under way -------------------------------------------------------------------------
@pytest.fixture
def slow(box, fake):
    """A mount on the scripted store, and a gate at which the first GET waits."""
    b = box.backend()

    def mount():
        c = Client(b.socket)
        c.hello()
        c.attach_fake(fake, attr_ttl_ms=600000)
        return c
    fake.put("b", "o", b"old")
    b.mount, b.fake = mount, fake
    return b


def opening(slow, c, effect_first=False, **fields):
    ino = c.lookup("o").attr["ino"]
    gate = Gate(slow.fake, effect_first, op="get")
    ident = c.start("OPEN", ino=ino, fh=1, inline_max=MOST, **fields)
    gate.wait()
    return gate, ident


def test_open_and_read_is_one_round_trip(slow):
    c, d = slow.mount(), slow.mount()
    c.lookup("o")
    slow.fake.forget_log()
    assert brought(open_(c, "o", 1)) == b"old"
    assert slow.fake.count("GET", op="get") == 1 == slow.fake.count()
    assert brought(open_(d, "o", 2)) == b"old"
    assert slow.fake.count() == 1


def test_many_openers_fetch_once(slow):
    cs = [slow.mount() for _ in range(4)]
    gate, first = opening(slow, cs[0])
    ino = cs[0].lookup("o").attr["ino"]
    ids = [(x, x.start("OPEN", ino=ino, fh=9 + i, inline_max=MOST)) for i in range(8) for x in cs]
    time.sleep(0.2)
    gate.open()
    assert all(brought(x.wait(i)) == b"old" for x, i in ids + [(cs[0], first)])
    assert slow.fake.count("GET", op="get") == 1


def test_cancel(slow):
    c = slow.mount()
    push = Client(slow.socket)
    push.hello()
    push.ok("BIND", token=c.token)
    gate, ident = opening(slow, c)
    push.start("CANCEL", call=ident)
    assert c.wait(ident).error == -4
    gate.open()
    assert c.ask("READ", fh=1, size=10, want_inline=1).error == -9, "nothing was opened"
    assert brought(open_(c, "o", 1)) == b"old"


def test_hang_up(slow):
    c = slow.mount()
    gate, _ = opening(slow, c)
    c.close()
    gate.open()
    assert brought(open_(slow.mount(), "o", 1)) == b"old"


def test_written_elsewhere_meanwhile(slow):
    c, d = slow.mount(), slow.mount()
    gate, ident = opening(slow, c)
    d.lookup("o")
    a = d.start("OPEN", ino=c.lookup("o").attr["ino"], fh=2, flags=RDWR | TRUNC)
    d.wait(a)
    write(d, 2, 0, b"new data")
    gate.open()
    a = c.wait(ident)
    assert not a.error and brought(a) is None and not a.cached and a.size == 8
    assert c.ok("READ", fh=1, size=100, want_inline=1).payload == b"new data"


def test_saved_elsewhere_meanwhile(slow):
    c, d = slow.mount(), slow.mount()
    gate, ident = opening(slow, c, effect_first=True)
    a = d.ok("OPEN", ino=c.lookup("o").attr["ino"], fh=2, flags=RDWR | TRUNC)
    write(d, 2, 0, b"new data")
    d.ok("FLUSH", fh=2)
    d.start("RELEASE", fh=2)
    d.lookup("o")
    gate.open()
    a = c.wait(ident)
    assert not a.error and brought(a) in (None, b"new data") and a.size == 8
    a.close()
    assert c.ok("READ", fh=1, size=100, want_inline=1).payload == b"new data"


@pytest.mark.parametrize("effect_first", [False, True])
@pytest.mark.parametrize("how", ["rename", "unlink"])
def test_moved_or_removed_meanwhile(slow, how, effect_first):
    """The bytes of then, or ESTALE: never others, never none."""
    c, d = slow.mount(), slow.mount()
    gate, ident = opening(slow, c, effect_first)
    opener = threading.Timer(0.5, gate.open)
    opener.start()
    if how == "rename":
        d.ok("RENAME", parent=d.root, name="o", new_parent=d.root, new_name="p")
    else:
        d.ok("UNLINK", parent=d.root, name="o")
    a = c.wait(ident)
    opener.join()
    if a.error:
        assert a.error == -116
        return
    if brought(a) is not None:
        assert a.payload == b"old"
    else:
        a.close()
        r = c.ask("READ", fh=1, size=100, want_inline=1)
        assert r.error == -116 or r.payload == b"old"


def test_cut_short_on_the_way(slow):
    """A store that says yes and sends less is asked again: never a short file that looks whole."""
    c = slow.mount()
    slow.fake.put("b", "o", noise(1000))
    ino = c.lookup("o").attr["ino"]
    slow.fake.on(op="get", nth=1).short(10)
    slow.fake.on(op="get", nth=2).reset_at(500)
    assert brought(c.ok("OPEN", ino=ino, fh=1, inline_max=MOST)) == noise(1000)
