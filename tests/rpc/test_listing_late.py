# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Answers that were made before a change and arrive after it: of another identity of the same bucket, of a
listing that fails half way, of a version that was replaced meanwhile."""
import os
import threading
import time

import msgpack
import pytest

from listing import Gate, connect, fill, ino, refresh, there
from scripted_s3_ops import error_reply


@pytest.fixture
def two(backend):
    """Mounts of two identities."""
    pair = connect(backend), connect(backend, key="other")
    yield pair
    for c in pair:
        c.close()


def save(c, parent, name, data):
    """By a mount that has its write ring."""
    c.ok("CREATE", parent=parent, name=name, fh=7, flags=os.O_RDWR | os.O_TRUNC, mode=0o644)
    c.ring[0:len(data)] = data
    c.ok("WRITE", fh=7, offset=0, size=len(data), ring_offset=0)
    c.ok("FLUSH", fh=7)
    c.start("RELEASE", fh=7)
    c.ok("STATFS", ino=c.root)


class Held:
    """The next request of that kind is answered by what was there when it came, but later."""

    def __init__(self, fake, method, which):
        self.fake, self.which, self.once = fake, which, False
        self.held, self.opened = threading.Event(), threading.Event()
        fake.on(method).call(self._hold)

    def _hold(self, req):
        if self.once or not self.which(req):
            return None
        self.once = True
        with self.fake.lock:
            reply = self.fake.ops.answer(req)
        self.held.set()
        self.opened.wait(20)
        return reply


def test_a_name_made_by_another_identity_is_there_at_once(two, fake):
    fill(fake, "d/f%d", 3)
    one, other = two
    d1, d2 = ino(one, "d"), ino(other, "d")
    assert not there(one, "new", d1)
    other.ok("MKDIR", parent=d2, name="new", mode=0o755)
    assert there(one, "new", d1)


def test_a_name_made_while_it_was_asked_for_is_there_afterwards(two, fake):
    fill(fake, "d/f%04d", 1500)  # a large directory is asked name by name
    one, other = two
    d1, d2 = ino(one, "d"), ino(other, "d")
    assert there(one, "f1400", d1)
    held = Held(fake, "HEAD", lambda r: r.key == "d/new")
    call = one.start("LOOKUP", parent=d1, name="new")
    assert held.held.wait(10)
    other.ok("MKDIR", parent=d2, name="new", mode=0o755)
    held.opened.set()
    assert not one.wait(call).error
    assert there(one, "new", d1)


def test_a_directory_renamed_by_another_identity_brings_what_is_in_it(two, fake):
    fill(fake, "from/f%d", 3)
    one, other = two
    d = one.ok("MKDIR", parent=one.root, name="to", mode=0o755).attr["ino"]
    assert not one.readdir(d)
    assert there(other, "to") and there(other, "from")
    other.ok("RENAME", parent=other.root, name="from", new_parent=other.root, new_name="to")
    assert set(one.readdir(ino(one, "to"))) == {"f0", "f1", "f2"}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("asked", ["name", "listing"])
def test_what_another_identity_saved_during_a_question_is_seen(backend, fake, asked, known):
    """The question brings the version of before; nobody may believe it for the whole time to live."""
    fill(fake, "d/f%04d", 1500 if asked == "name" else 5)
    one, other = connect(backend), connect(backend, "other")
    name = "f1400" if asked == "name" else "f0002"  # not on the first page
    d1, d2 = ino(one, "d"), ino(other, "d")
    assert there(one, "f0001", d1) and there(other, name, d2)
    if known:
        assert there(one, name, d1)
    if asked == "name":
        refresh(backend, one, "d/" + name)
        held = Held(fake, "HEAD", lambda r: r.key == "d/" + name)
        call = one.start("LOOKUP", parent=d1, name=name)
    else:
        if known:
            refresh(backend, one, "d")
        held = Held(fake, "GET", lambda r: r.query.get("prefix") == "d/" and "delimiter" in r.query)
        if not known:
            refresh(backend, one, "d")
        call = one.start("READDIR", ino=d1, max_bytes=65536)
    assert held.held.wait(10)
    save(other, d2, name, b"a new version")
    held.opened.set()
    assert not one.wait(call).error
    assert one.lookup(name, d1).attr["size"] == len(b"a new version")
    one.close()
    other.close()


def test_a_refresh_during_a_question_counts(backend, fake):
    """The answer is of before: it is not what a refresh was called for."""
    fill(fake, "d/f%04d", 1500)
    c = connect(backend)
    d = ino(c, "d")
    assert there(c, "f1400", d)
    refresh(backend, c, "d/f1400")
    held = Held(fake, "HEAD", lambda r: r.key == "d/f1400")
    call = c.start("LOOKUP", parent=d, name="f1400")
    assert held.held.wait(10)
    fake.put("b", "d/f1400", b"another version")
    refresh(backend, c, "d/f1400")
    held.opened.set()
    assert not c.wait(call).error
    assert c.lookup("f1400", d).attr["size"] == len(b"another version")
    c.close()


@pytest.mark.parametrize("what", ["unlink", "rename", "rmdir"])
def test_a_name_removed_during_a_question_stays_removed(backend, fake, what):
    """Somebody asked for its attributes, which holds no name against others."""
    fill(fake, "d/f%04d", 1500)
    fake.put("b", "d/sub/", b"")
    c, other = connect(backend), connect(backend)
    d = ino(c, "d")
    assert ino(other, "d") == d and len(c.readdir(d)) == 1501
    name = "sub" if what == "rmdir" else "f0003"
    i = c.lookup(name, d).attr["ino"]
    refresh(backend, c, "d/" + name)
    held = Held(fake, None, lambda r: r.key == "d/" + name or r.query.get("prefix") == "d/" + name + "/")
    call = c.start("GETATTR", ino=i)
    assert held.held.wait(10)
    if what == "rename":
        other.ok("RENAME", parent=d, name=name, new_parent=d, new_name="moved")
    else:
        other.ok("RMDIR" if what == "rmdir" else "UNLINK", parent=d, name=name)
    held.opened.set()
    c.wait(call)
    assert not there(c, name, d) and not there(other, name, d)
    assert name not in c.readdir(d)
    c.close()
    other.close()


def test_a_listing_that_fails_half_way_does_not_end_in_an_older_one(backend, fake):
    made = fill(fake, "d/f%04d", 2500)
    c = connect(backend)
    d = ino(c, "d")
    assert len(c.readdir(d)) == 2500
    refresh(backend, c, "d")
    fake.put("b", "d/f2400x", b"x")
    with fake.lock:
        fake.ops.buckets["b"].pop("d/f2300")
    broken, gate = threading.Event(), threading.Event()

    def answer(req):
        if req.query.get("prefix") != "d/" or broken.is_set():
            return None
        if "continuation-token" in req.query or req.query.get("start-after", "") >= "d/f09":
            gate.wait(20)
            return error_reply(403, "AccessDenied", "not this page")
        return None
    fake.on("GET", op="list").call(answer)
    first = c.ok("READDIR", ino=d, max_bytes=16384)
    assert 0 < first.count < 1000
    gate.set()
    time.sleep(1)
    found, cookie = set(), first.count
    while True:  # to the end, or to an error, which is as good
        a = c.ask("READDIR", ino=d, cookie=cookie, max_bytes=65536)
        if a.error or not a.count:
            break
        unpacker = msgpack.Unpacker(unicode_errors="surrogateescape")
        unpacker.feed(a.payload)
        rows = list(unpacker)
        cookie = rows[-1][0]
        found |= {row[2] for row in rows}
    assert a.error or ("f2400x" in found and "f2300" not in found)
    broken.set()
    seen = c.readdir(d)
    assert len(seen) == len(made) and "f2400x" in seen and "f2300" not in seen
    c.close()


def test_a_listing_does_not_make_an_old_version_young(backend, fake):
    """It shows another version of a file whose mode was changed here meanwhile."""
    fill(fake, "d/f%d", 3)
    c, other = connect(backend, attr_ttl_ms=2000), connect(backend, attr_ttl_ms=0)
    d = ino(c, "d")
    f = c.lookup("f1", d).attr["ino"]
    began = time.monotonic()
    time.sleep(1.4)
    gate = Gate(fake, lambda q: q.get("prefix") == "d/" and "delimiter" in q, late=True)
    call = other.start("READDIR", ino=d, max_bytes=65536)
    gate.wait()
    c.ok("SETATTR", ino=f, valid=1, mode=0o600)
    fake.put("b", "d/f1", b"another version")
    gate.open()
    assert not other.wait(call).error
    time.sleep(max(0, began + 2.3 - time.monotonic()))
    assert c.lookup("f1", d).attr["size"] == len(b"another version")
    c.close()
    other.close()
