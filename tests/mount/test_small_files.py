# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Small files come whole with OPEN's reply: how many calls that takes, that nobody sees old bytes, and what
a backend that lies about them brings about. The order of replies and pushes is played by a puppet."""
import os
import threading
import time

import pytest

from helpers import errno_of, noise
from proto import LIMITS
from puppet import Puppet
from util import pss_kib, wait_until

MOST = LIMITS["PROTO_INLINE_MAX_BYTES"]
OLD, NEW = b"old" * 100, b"new" * 100


def puppet_mount(box, rw=False, *args, **files):
    p = Puppet(box.path("puppet"), rw)
    p.files.update(files or {"f": OLD})
    p.m = box.mount("file:///nowhere", "--socket", p.path, *(["--rw"] if rw else []), *args)
    box.cleanups.append(p.close)
    box.cleanups.append(lambda: (p.m.unmount(), p.m.wait_end()))  # first, with the puppet's help
    return p


@pytest.fixture
def p(box):
    return puppet_mount(box)


@pytest.fixture
def prw(box):
    return puppet_mount(box, True)


def read_anew(fd, n=1 << 17):
    """Not from the kernel's pages, as far as it lets go of them."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(fd, n, 0)


def test_open_read_close_is_one_call(p):
    """Of the name's first use: LOOKUP, OPEN, and RELEASE without a reply. No READ, no FLUSH."""
    for i in range(3):
        assert p.m.read("f") == OLD
        wait_until("RELEASE", lambda: p.count("RELEASE") == i + 1)
    names = [c.name for c in p.calls if c.name not in ("HELLO", "ATTACH", "BIND", "STATFS", "GETATTR")]
    assert names == ["LOOKUP"] + ["OPEN", "RELEASE"] * 3
    assert all(c.inline_max == MOST for c in p.named("OPEN"))


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, MOST - 1, MOST])
def test_sizes(box, size):
    data = noise(size)
    p = puppet_mount(box, f=data)
    with open(p.m / "f", "rb", buffering=0) as f:
        assert os.pread(f.fileno(), size + 100, 0) == data
        for offset in (0, size // 2, max(size - 1, 0), size, size + 4096):
            assert os.pread(f.fileno(), 100, offset) == data[offset:offset + 100]
        assert read_anew(f.fileno()) == data
    assert p.count("READ") == 0


def test_above_the_cap_the_old_way(box):
    """Many open at once: those beyond 8 MiB in all are read by READ; the memory stays."""
    data = {"f%03d" % i: noise(MOST, i) for i in range(200)}
    p = puppet_mount(box, **data)
    files = [open(p.m / name, "rb", buffering=0) for name in data]
    asked = [c.inline_max for c in p.named("OPEN")]
    assert set(asked) == {0, MOST} and 64 <= asked.count(MOST) <= 128
    for f, name in zip(files, data):
        assert os.pread(f.fileno(), MOST, 0) == data[name]
    for f in files:
        f.close()
    wait_until("all closed", lambda: p.count("RELEASE") == 200)
    assert p.m.read("f000") == data["f000"]
    assert p.named("OPEN")[-1].inline_max == MOST, "room again"
    for pid in p.m.fuse_pids():
        assert pss_kib(pid) < (600 if p.m.box.programs.sanitized else 60) * 1024


def test_with_direct_io_no_bytes(box):
    p = puppet_mount(box, False, "-o", "direct_io")
    assert p.m.read("f") == OLD
    assert [c.inline_max for c in p.named("OPEN")] == [0] and p.count("READ") > 0


# --- coherence -------------------------------------------------------------------------------------------
def test_a_push_drops_the_bytes(p):
    with open(p.m / "f", "rb", buffering=0) as f:
        p.files["f"] = NEW
        assert read_anew(f.fileno()) == OLD and p.count("READ") == 0
        p.push(what=1, ino=p.ino("f"), data=1, stamp=5)
        wait_until("the new bytes", lambda: read_anew(f.fileno()) == NEW, timeout=2)
        assert p.count("READ") > 0


def test_a_push_of_everything_drops_the_bytes(p):
    with open(p.m / "f", "rb", buffering=0) as f:
        p.files["f"] = NEW
        p.push(what=0, stamp=5)
        wait_until("the new bytes", lambda: read_anew(f.fileno()) == NEW, timeout=2)


def test_pushes_of_other_things_do_not(box):
    p = puppet_mount(box, f=OLD, g=OLD)
    with open(p.m / "f", "rb", buffering=0) as f:
        p.push(what=1, ino=p.ino("f"), data=0, stamp=5)
        p.push(what=1, ino=p.ino("g"), data=1, stamp=6)
        p.push(what=2, ino=100, name="f", stamp=7)
        time.sleep(0.3)
        assert read_anew(f.fileno()) == OLD and p.count("READ") == 0


def test_a_push_that_overtakes_the_reply(p):
    """The bytes were read before the change, the reply comes after its push."""
    def late(call):
        p.files["f"] = NEW
        p.push(what=1, ino=call.ino, data=1, stamp=9)
        time.sleep(0.3)
        call.reply(OLD, size=len(OLD), etag='"e"', inline_data=1, stamp=8)
    p.on["OPEN"] = late
    with open(p.m / "f", "rb", buffering=0) as f:
        assert os.pread(f.fileno(), 1000, 0) == NEW
    assert p.count("READ") > 0


def test_a_reply_as_new_as_the_push_counts(p):
    def after(call):
        p.push(what=1, ino=call.ino, data=1, stamp=9)
        time.sleep(0.3)
        call.reply(NEW, size=len(NEW), etag='"e"', inline_data=1, stamp=9)
    p.on["OPEN"] = after
    assert p.m.read("f") == NEW and p.count("READ") == 0


def test_an_own_writable_open_drops_the_bytes(prw):
    p = prw
    with open(p.m / "f", "rb", buffering=0) as f:
        assert os.pread(f.fileno(), 10, 0) == OLD[:10]
        with open(p.m / "f", "r+b", buffering=0) as g:
            p.files["f"] = NEW
            os.pwrite(g.fileno(), NEW[:3], 0)
            os.fsync(g.fileno())
            assert read_anew(f.fileno()) == NEW
    assert [c.inline_max for c in p.named("OPEN")] == [MOST, 0]


def test_an_own_truncation_drops_the_bytes(prw):
    p = prw
    with open(p.m / "f", "rb", buffering=0) as f:
        p.files["f"] = OLD[:50]
        os.truncate(p.m / "f", 50)
        assert read_anew(f.fileno()) == OLD[:50] and p.count("READ") > 0
        p.files["f"] = NEW
        os.close(os.open(p.m / "f", os.O_WRONLY | os.O_TRUNC))
        p.push(what=1, ino=p.ino("f"), data=0, stamp=9)  # its size is another one again
        wait_until("the new bytes", lambda: read_anew(f.fileno()) == NEW, timeout=2)


def test_without_pushes_no_bytes(p):
    """The push connection ends: what is known may be old. The other one is ended, all begins anew."""
    p.on["ATTACH"] = lambda call: time.sleep(1) or p._attach(call)
    with open(p.m / "f", "rb", buffering=0) as f:
        p.files["f"] = NEW
        p.pushes.sock.shutdown(2)
        time.sleep(0.2)
        p.m.box.watch.expect("backend is (gone|back)")
        assert read_anew(f.fileno()) == NEW, "it waited for the backend"
    assert [c.inline_max for c in p.named("OPEN") if c.reopen] == [0]
    p.on.clear()
    assert p.m.read("f") == NEW


@pytest.fixture
def two(box, store):
    b = box.backend()
    args = ["--socket", b.socket, "--attr-ttl", "600"]
    return box.mount_store(store, *args), box.mount_store(store, *args)


def soon(what, check):
    wait_until(what, check, timeout=1.0, step=0.002)


def test_a_write_elsewhere_is_seen_by_who_has_it_open(two):
    a, b = two
    a.write("f", OLD)
    with open(b / "f", "rb", buffering=0) as f:
        assert os.pread(f.fileno(), 1000, 0) == OLD
        with open(a / "f", "r+b", buffering=0) as g:
            os.pwrite(g.fileno(), NEW, 0)
            soon("what was written", lambda: os.pread(f.fileno(), 1000, 0) == NEW)
        soon("what was saved", lambda: os.pread(f.fileno(), 1000, 0) == NEW)
    a.write("f", OLD[:30])
    soon("the new version", lambda: b.read("f") == OLD[:30])


def test_opened_and_not_yet_read(two):
    """The reader opens, somebody else writes, then it reads for the first time."""
    a, b = two
    a.write("f", b"%06d" % 0)
    soon("the file", lambda: (b / "f").exists())
    for i in range(1, 60):
        with open(b / "f", "rb", buffering=0) as f, open(a / "f", "r+b", buffering=0) as g:
            os.pwrite(g.fileno(), b"%06d" % i, 0)
            soon("write %d" % i, lambda: read_anew(f.fileno()) == b"%06d" % i)


def test_readers_while_another_mount_writes(box, two):
    """What a reader sees never goes back."""
    a, b = two
    a.write("f", b"%06d" % 0)
    soon("the file", lambda: (b / "f").exists())
    wrong, over = [], threading.Event()

    def reader():
        last = 0
        while not over.is_set():
            try:
                now = int((b / "f").read_bytes() or b"0")
            except OSError as e:
                wrong.append(e)
                return
            if now and now < last:
                wrong.append((last, now))
            last = now or last

    threads = [threading.Thread(target=reader) for _ in range(4)]
    with box.limit(60):
        for t in threads:
            t.start()
        for i in range(1, 40):
            with open(a / "f", "r+b", buffering=0) as g:
                os.pwrite(g.fileno(), b"%06d" % i, 0)
        over.set()
        for t in threads:
            t.join()
    assert not wrong, wrong
    soon("the last", lambda: b.read("f") == b"%06d" % 39)


def test_an_open_small_file_outlives_its_name_and_its_backend(box, file_store):
    for name in "fgh":
        file_store.put(name, OLD)
    b = box.backend()
    m = box.mount_store(file_store, "--socket", b.socket)
    f, g, h = (open(m / name, "rb", buffering=0) for name in "fgh")
    os.unlink(m / "f")
    os.rename(m / "g", m / "g2")
    for x in (f, g, h):
        assert read_anew(x.fileno()) == OLD
    box.watch.expect("backend is (gone|back)", "an open file is lost")
    b.kill()
    b.start()
    assert read_anew(h.fileno()) == OLD
    for x in (f, g, h):
        x.close()


def test_replaced_between_lookup_and_open(box, s3_store):
    """The kernel knows the name, the store has another version by now: open gives that one."""
    s3_store.put("f", OLD)
    m = box.mount_store(s3_store, "--attr-ttl", "600")
    assert (m / "f").stat().st_size == len(OLD)
    s3_store.put("f", NEW + b"!")
    assert m.read("f") == NEW + b"!"


def test_absent_objects_cost_one_request(box, fake):
    for i in range(10):
        fake.put("b", "d/%d" % i, noise(1000, i))
    m = box.mount("s3://b", "--endpoint", fake.endpoint, "--access-key", "k", "--secret-key", "s")
    m.ls("d")
    fake.forget_log()
    for _ in range(2):
        for i in range(10):
            assert m.read("d/%d" % i) == noise(1000, i)
        assert fake.count("GET", op="get") == 10 and fake.count() == 10


def test_errors_come_at_open(box, fake):
    fake.put("b", "f", OLD)
    m = box.mount("s3://b", "--endpoint", fake.endpoint, "--access-key", "k", "--secret-key", "s")
    assert m.ls() == ["f"]
    fake.on(op="get").status(403, "AccessDenied")
    assert errno_of(os.open, m / "f", os.O_RDONLY) == 13
    fake.calm()
    assert m.read("f") == OLD


def test_ctrl_c_ends_an_open_that_waits(box, fake):
    fake.put("b", "f", OLD)
    m = box.mount("s3://b", "--endpoint", fake.endpoint, "--access-key", "k", "--secret-key", "s")
    m.ls()
    fake.on(op="get").silence(30)
    start = time.monotonic()
    r = m.sh("timeout -s INT 1 cat f", check=False)
    assert r.returncode != 0 and time.monotonic() - start < 5
    fake.calm()
    assert m.read("f") == OLD


# --- a backend that lies ---------------------------------------------------------------------------------
LIES = {
    "longer than it says": dict(payload=OLD + b"x", size=len(OLD), inline_data=1),
    "shorter than it says": dict(payload=OLD[:-1], size=len(OLD), inline_data=1),
    "nothing": dict(size=len(OLD), inline_data=1),
    "larger than allowed": dict(payload=b"x" * (MOST + 1), size=MOST + 1, inline_data=1),
    "as large as a frame": dict(payload=b"x" * LIMITS["PROTO_PAYLOAD_MAX_BYTES"], inline_data=1,
                                size=LIMITS["PROTO_PAYLOAD_MAX_BYTES"]),
    "a size of no file": dict(payload=OLD, size=(1 << 63) - 1, inline_data=1),
    "bytes nobody announced": dict(payload=OLD, size=len(OLD)),
    "bytes and descriptors": dict(payload=OLD, size=len(OLD), inline_data=1, cached=1, fds=2),
    "descriptors nobody announced": dict(payload=OLD, size=len(OLD), inline_data=1, fds=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_bytes(p, lie):
    fields = dict(LIES[lie])
    payload, nfds = fields.pop("payload", b""), fields.pop("fds", 0)
    null = os.open("/dev/null", os.O_RDONLY)
    p.m.box.watch.expect("senseless", "backend is (gone|back)")
    p.on["OPEN"] = lambda call: call.reply(payload, [null] * nfds, etag='"e"', **fields)
    before = {pid: len(os.listdir("/proc/%d/fd" % pid)) for pid in p.m.fuse_pids()}
    for _ in range(3):
        assert errno_of(p.m.read, "f") == 5
    wait_until("every handle given back", lambda: p.count("RELEASE") >= 3)
    for pid, n in before.items():
        assert len(os.listdir("/proc/%d/fd" % pid)) <= n + 1, "descriptors were kept"
    p.on.clear()
    assert p.m.read("f") == OLD
    os.close(null)


def test_bytes_for_a_writer(prw):
    """They were not asked for."""
    prw.m.box.watch.expect("senseless")
    prw.on["OPEN"] = lambda call: call.reply(OLD, size=len(OLD), etag='"e"', inline_data=1, stamp=99)
    assert errno_of(os.open, prw.m / "f", os.O_RDWR) == 5
    prw.on.clear()
    os.close(os.open(prw.m / "f", os.O_RDWR))


def test_another_size_than_the_attributes_say(p):
    """The kernel believes the attributes it has; nothing beyond the bytes is made up."""
    p.on["OPEN"] = lambda call: call.reply(OLD[:10], size=10, etag='"e"', inline_data=1, stamp=99)
    assert p.m.read("f")[:10] == OLD[:10]
