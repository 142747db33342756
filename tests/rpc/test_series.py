# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Files opened in the order of their listing: the next ones are fetched before they are asked for, what is
fetched for nothing is bounded, and nothing is fetched that the mount does not show."""
import os
import random
import time

import pytest

from helpers import noise
from proto import LIMITS, Client
from util import wait_until

MOST = LIMITS["PROTO_INLINE_MAX_BYTES"]
FIRST_BYTES = 512 << 10  # of a large file


class World:
    def __init__(self, box, fake):
        self.backend, self.fake, self.next_fh = box.backend(), fake, 1

    def mount(self, **fields):
        c = Client(self.backend.socket)
        c.hello()
        fields.setdefault("attr_ttl_ms", 600000)
        c.attach_fake(self.fake, **fields).close()
        self.fake.forget_log()
        return c

    def listed(self, c, path=""):
        """Lists a directory and those below it. name → inode number of its files, in order."""
        ino = c.root
        for part in path.split("/") if path else ():
            ino = c.lookup(part, ino).attr["ino"]
        found = c.readdir(ino)
        return {n: a["ino"] for n, a in found.items() if a["mode"] & 0o170000 == 0o100000}

    def open(self, c, ino, **fields):
        fh = self.next_fh
        self.next_fh += 1
        a = c.ok("OPEN", ino=ino, fh=fh, inline_max=MOST, **fields)
        a.close()
        return fh, a

    def read_all(self, c, inos):
        for ino in inos:
            fh, _ = self.open(c, ino)
            c.start("RELEASE", fh=fh)

    def got(self):
        """Keys of GETs so far, once no more come."""
        seen = -1
        while seen != self.fake.count(op="get"):
            seen = self.fake.count(op="get")
            time.sleep(0.15)
        return sorted(r.key for r in self.fake.requests(op="get"))


@pytest.fixture
def w(box, fake):
    return World(box, fake)


def names(n, prefix="d/"):
    return ["%sf%03d" % (prefix, i) for i in range(n)]


def put_many(w, n, size=1000, prefix="d/"):
    for name in names(n, prefix):
        w.fake.put("b", name, noise(size))
    return names(n, prefix)


def test_the_second_in_order_starts_the_next(w):
    all_ = put_many(w, 100)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    w.read_all(c, inos[:1])
    assert w.got() == all_[:1]
    w.read_all(c, inos[1:2])
    assert w.got() == all_[:6]
    w.read_all(c, inos[2:10])
    assert w.got() == all_[:10 + 4 + 8]
    w.read_all(c, inos[10:])
    assert w.got() == all_, "each once"


def test_they_are_read_without_waiting(w):
    put_many(w, 60)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    w.fake.on(op="get").delay(0.1)
    start = time.monotonic()
    w.read_all(c, inos)
    assert time.monotonic() - start < 2.5, "60 of them one by one take 6 s"


def test_on_into_the_next_directories(w):
    for d in range(4):
        put_many(w, 3, prefix="d%d/" % d)
    c = w.mount()
    w.listed(c)
    first = list(w.listed(c, "d0").values())
    for d in (1, 2):
        w.listed(c, "d%d" % d)
    w.read_all(c, first[:2])
    assert w.got() == names(3, "d0/") + names(3, "d1/"), "a window of four"
    w.read_all(c, first[2:])
    w.read_all(c, w.listed(c, "d1").values())
    assert w.got()[:9] == sum((names(3, "d%d/" % d) for d in (0, 1, 2)), [])


def test_down_and_up_again(w):
    """Files of a directory, then those below it, then what comes behind."""
    for prefix in ("a/", "a/x/", "a/y/", "b/"):
        put_many(w, 1, prefix=prefix)
    put_many(w, 1, prefix="0")
    c = w.mount()
    inos = {path: w.listed(c, path) for path in ("", "a", "a/x", "a/y", "b")}
    w.read_all(c, [*inos[""].values(), *inos["a"].values()])
    assert w.got() == sorted(["0f000", "a/f000", "a/x/f000", "a/y/f000", "b/f000"])


def test_never_beyond_the_mounts_own_prefix(w):
    for d in ("a/", "b/"):
        put_many(w, 3, prefix=d)
    whole, part = w.mount(), w.mount(prefix="a/")
    for path in ("", "a", "b"):
        w.listed(whole, path)
    w.read_all(part, w.listed(part).values())
    assert w.got() == names(3, "a/")


def test_not_from_a_listing_that_is_old(w):
    put_many(w, 20)
    c = w.mount(attr_ttl_ms=0)
    w.read_all(c, list(w.listed(c, "d").values())[:5])
    assert w.got() == names(5)


def test_gaps_and_overtaking(w):
    all_ = put_many(w, 60)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    w.read_all(c, [inos[i] for i in (1, 0, 2, 4, 3, 5, 7, 6)])
    got = w.got()
    assert got == all_[:len(got)] and len(got) > 12


def test_several_readers_at_once(w):
    all_ = put_many(w, 100)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    for i in range(10):
        w.read_all(c, [inos[i], inos[40 + i], inos[80 + i]])
    got = w.got()
    for start in (0, 40, 80):
        assert set(all_[start:start + 14]) <= set(got)
    w.read_all(c, inos)
    assert w.got() == all_, "each once, although their ways met"


@pytest.mark.parametrize("seed", range(4))
def test_one_of_twenty(w, seed):
    """Who opens one file in twenty, in any order, fetches hardly more than these."""
    put_many(w, 800, 5000)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    rnd = random.Random(seed)
    chosen = rnd.sample(range(800), 40)
    if seed % 2:
        chosen.sort()
    w.read_all(c, [inos[i] for i in chosen])
    assert len(w.got()) <= 2 * len(chosen)


def test_who_stops(w):
    put_many(w, 300, 30000)
    c = w.mount()
    w.read_all(c, list(w.listed(c, "d").values())[:20])
    assert len(w.got()) <= 2 * 20 + 9


def test_large_files_begin(w):
    """A model shard by shard: of the next one its beginning, and its opening goes on from there."""
    size = 2 << 20
    for name in names(5):
        w.fake.put("b", name, noise(size))
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    fh0, _ = w.open(c, inos[0])
    assert w.got() == []
    w.open(c, inos[1])
    ahead = w.fake.requests(op="get")
    wait_until("the next one's beginning", lambda: w.got()[:1] == ["d/f002"])
    ranges = [r.headers.get("range") for r in w.fake.requests(op="get", key="d/f002")]
    assert ranges and all(int(r.split("-")[1]) < FIRST_BYTES for r in ranges), ahead
    w.fake.forget_log()
    fh, a = w.open(c, inos[2])
    assert a.tell_at > FIRST_BYTES - 1 and a.cached
    wait_until("what comes behind it", lambda: "d/f002" in w.got())
    for r in w.fake.requests(op="get", key="d/f002"):
        assert int(r.headers["range"].split("=")[1].split("-")[0]) >= FIRST_BYTES
    assert c.ok("READ", fh=fh, size=1 << 20, want_inline=1).payload == noise(size)[:1 << 20]
    assert c.ok("READ", fh=fh0, size=1 << 20, want_inline=1).payload == noise(size)[:1 << 20]


def test_what_is_written_is_left_alone(w):
    put_many(w, 30)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    d = c.lookup("d").attr["ino"]
    fh, _ = w.open(c, inos[3], flags=os.O_RDWR)
    c.ring[:3] = b"new"
    c.ok("WRITE", fh=fh, offset=0, size=3, ring_offset=0)
    c.ok("CREATE", parent=d, name="g", fh=900, flags=os.O_RDWR)
    c.ok("UNLINK", parent=d, name="f004")
    w.read_all(c, inos[:3] + inos[5:])
    assert "d/f004" not in w.got() and "d/g" not in w.got()
    _, a = w.open(c, inos[3])
    assert not a.inline_data
    c.ok("FLUSH", fh=fh)


def test_removed_behind_our_back(w):
    """A file that is gone by now: nobody minds before it is opened."""
    put_many(w, 12)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    for name in ("d/f003", "d/f004"):
        del w.fake.ops.buckets["b"][name]
    w.read_all(c, inos[:3])
    w.got()
    a = c.ask("OPEN", ino=inos[3], fh=999, inline_max=MOST)
    assert a.error in (-116, -2)
    w.read_all(c, inos[5:])


def test_slow_down_stops_it(w):
    put_many(w, 60)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    w.read_all(c, inos[:2])
    w.got()
    w.fake.on(op="get", nth=1).status(503, "SlowDown")
    w.read_all(c, inos[10:12])
    before = len(w.got())
    w.read_all(c, inos[12:20])
    assert len(w.got()) <= before + 8 + 8


def test_a_client_that_goes_meanwhile(w):
    put_many(w, 60)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    w.fake.on(op="get").delay(0.5)
    ids = [c.start("OPEN", ino=ino, fh=10 + i, inline_max=MOST) for i, ino in enumerate(inos[:4])]
    time.sleep(0.1)
    c.close()
    other = w.mount()
    w.read_all(other, list(w.listed(other, "d").values())[:8])
    assert ids and len(w.got()) <= 60


def test_descriptors_do_not_stay(w):
    put_many(w, 100)
    c = w.mount()
    inos = list(w.listed(c, "d").values())

    def fds():
        return len(os.listdir("/proc/%d/fd" % w.backend.pid))
    before = fds()
    w.read_all(c, inos[:30])
    w.got()
    wait_until("the descriptors of files nobody opens to be closed", lambda: fds() < before + 70, 8)
    assert fds() < before + 70  # connections to the store stay
    w.read_all(c, inos)
    assert w.got() == names(100)


def test_readers_that_stopped_are_in_nobodys_way(w):
    """What was fetched for them counts no more after a while, so that others are read ahead for."""
    prefixes = ["%c/" % c for c in "abcdef"]
    for prefix in prefixes:
        put_many(w, 150, 60000, prefix)
    c = w.mount()
    inos = {p: list(w.listed(c, p[:-1]).values()) for p in prefixes}
    for prefix in prefixes[:-1]:
        w.read_all(c, inos[prefix][:80])
    stopped = len(w.got())
    assert 400 + 100 < stopped < 800 + 5
    time.sleep(3.2)
    w.read_all(c, inos["f/"][:40])
    assert len(w.got()) >= stopped + 70


def test_a_slow_reader_is_still_one(w):
    """Whoever loads a model opens the next file when he has read the one before."""
    all_ = put_many(w, 6, 1 << 20)
    c = w.mount()
    inos = list(w.listed(c, "d").values())
    w.read_all(c, inos[:2])
    for i in range(2, 4):
        time.sleep(3.2)
        w.read_all(c, inos[i:i + 1])
        assert all_[i + 1] in w.got()
