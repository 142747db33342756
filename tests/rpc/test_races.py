# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Calls that overtake each other while the store is slow: whatever the order, what was acknowledged stays,
what was removed stays removed, and every call is answered."""
import os
import time

import pytest

from helpers import Gate
from proto import LIMITS, Client

RDWR, TRUNC = os.O_RDWR, os.O_TRUNC


def connect(backend, **fields):
    c = Client(backend.socket)
    c.hello()
    c.attach_fake(backend.fake, **fields)
    return c


@pytest.fixture
def pair(backend):
    """Two mounts of the bucket, with a long TTL."""
    both = [connect(backend, attr_ttl_ms=600000) for _ in range(2)]
    yield both
    for c in both:
        c.close()


def write(c, fh, offset, data, wait=True):
    c.ring[0:len(data)] = data
    call = c.start("WRITE", fh=fh, offset=offset, size=len(data), ring_offset=0)
    return c.wait(call) if wait else call


def create(c, name, fh, data=b"", parent=None, flush=True):
    a = c.ok("CREATE", parent=parent or c.root, name=name, fh=fh, flags=RDWR, mode=0o644)
    if data:
        assert not write(c, fh, 0, data).error
    if flush:
        c.ok("FLUSH", fh=fh)
    return a.attr["ino"]


def mkdir(c, name, parent=None):
    return c.ok("MKDIR", parent=parent or c.root, name=name, mode=0o755).attr["ino"]


def rename(c, old, new, old_parent=None, new_parent=None):
    return c.start("RENAME", parent=old_parent or c.root, name=old, new_parent=new_parent or c.root,
                   new_name=new)


def content(c, name, parent=None, fh=99):
    a = c.lookup(name, parent)
    assert not a.error and a.attr["ino"], "%s is not there" % name
    c.ok("OPEN", ino=a.attr["ino"], fh=fh, flags=0).close()
    data = c.ok("READ", fh=fh, offset=0, size=1 << 20, want_inline=1)
    data.close()
    c.start("RELEASE", fh=fh)
    return data.payload


def test_a_file_renamed_over_is_not_saved_over_its_successor(pair, fake):
    one, two = pair
    create(one, "new", 1, b"successor")
    create(two, "f", 1, b"first")
    write(two, 1, 0, b"unsaved text of the file that will be replaced")
    gate = Gate(fake, True, op="copy")
    # What is unsaved may be saved before the rename, but never after it.
    moved = rename(one, "new", "f")
    gate.wait()
    flushed = two.start("FLUSH", fh=1)
    written = write(two, 1, 0, b"more", wait=False)
    time.sleep(0.5)
    gate.open()
    assert not one.wait(moved).error
    assert not two.wait(flushed).error and not two.wait(written).error
    two.ok("STATFS", ino=two.root)
    assert fake.get("b", "f") == b"successor"
    two.start("RELEASE", fh=1)
    assert content(one, "f") == b"successor"


def test_a_removed_file_is_not_saved_again(pair, fake):
    one, two = pair
    create(two, "f", 1, b"first")
    write(two, 1, 0, b"unsaved")
    gate = Gate(fake, True, op="delete")
    gone = one.start("UNLINK", parent=one.root, name="f")
    gate.wait()
    flushed = two.start("FLUSH", fh=1)
    time.sleep(0.5)
    gate.open()
    assert not one.wait(gone).error
    assert not two.wait(flushed).error
    two.start("RELEASE", fh=1)
    two.ok("STATFS", ino=two.root)
    assert "f" not in fake.keys()


def test_writes_during_a_rename_go_with_the_file(pair, fake):
    one, two = pair
    big = bytes(range(256)) * 2000
    fake.put("b", "f", big)
    ino = two.lookup("f").attr["ino"]
    two.ok("OPEN", ino=ino, fh=1, flags=RDWR).close()
    one.lookup("f")
    gate = Gate(fake, True, op="copy")
    moved = rename(one, "f", "g")
    gate.wait()
    written = write(two, 1, 10, b"patched", wait=False)
    time.sleep(0.3)
    gate.open()
    assert not one.wait(moved).error
    assert not two.wait(written).error
    two.ok("FLUSH", fh=1)
    two.start("RELEASE", fh=1)
    want = big[:10] + b"patched" + big[17:]
    assert fake.get("b", "g") == want and fake.keys() == ["g"]
    assert content(one, "g") == want


def test_two_directories_renamed_into_each_other(pair, fake):
    """One of them must lose, and nobody may wait for ever for a way up that has no end."""
    one, two = pair
    a, b = mkdir(one, "a"), mkdir(one, "b")
    assert two.lookup("a").attr["ino"] == a and two.lookup("b").attr["ino"] == b
    create(one, "f", 1, b"in a", parent=a)
    create(one, "f", 2, b"in b", parent=b)
    for c in (one, two):
        for fh in (1, 2):
            c.start("RELEASE", fh=fh)
    gate = Gate(fake, False, op="copy")
    first = rename(one, "a", "x", new_parent=b)
    gate.wait()
    second = rename(two, "b", "y", new_parent=a)
    time.sleep(0.5)
    gate.open()
    results = [one.wait(first).error, two.wait(second).error]
    assert results.count(0) == 1, results
    files = [k for k in fake.keys() if not k.endswith("/")]
    assert files in (["b/f", "b/x/f"], ["a/f", "a/y/f"]), files
    assert {fake.get("b", k) for k in files} == {b"in a", b"in b"}


def test_a_listing_while_its_directory_is_renamed(pair, fake):
    """The listing was asked for under the old name, and is answered when nothing is there any more."""
    one, two = pair
    for i in range(5):
        fake.put("b", "d/f%d" % i, b"%d" % i)
    d = one.lookup("d").attr["ino"]
    two.lookup("d")
    gate = Gate(fake, False, op="list")
    listing = two.start("READDIR", ino=d, max_bytes=65536)
    gate.wait()
    moved = rename(one, "d", "e")
    time.sleep(1)
    gate.open()
    two.wait(listing)
    assert not one.wait(moved).error
    for c in pair:
        e = c.lookup("e").attr["ino"]
        assert sorted(c.readdir(e)) == ["f%d" % i for i in range(5)]
        assert content(c, "f3", e) == b"3"


def test_the_parent_is_listed_while_a_rename_deletes(pair, fake):
    one, two = pair
    for i in range(5):
        fake.put("b", "d/f%d" % i, b"%d" % i)
    d = one.lookup("d").attr["ino"]
    assert len(one.readdir(d)) == 5
    gate = Gate(fake, True, op="delete-many")
    moved = rename(one, "d", "e")
    gate.wait()
    two.readdir()
    gate.open()
    assert not one.wait(moved).error
    e = one.lookup("e").attr["ino"]
    assert e == d and sorted(two.readdir()) == ["e"]
    assert sorted(two.readdir(e)) == ["f%d" % i for i in range(5)]


def test_the_directory_is_listed_while_a_file_rename_deletes(pair, fake):
    one, two = pair
    fake.put("b", "f", b"data")
    ino = one.lookup("f").attr["ino"]
    gate = Gate(fake, True, op="delete")
    moved = rename(one, "f", "g")
    gate.wait()
    two.readdir()
    gate.open()
    assert not one.wait(moved).error
    assert one.lookup("g").attr["ino"] == ino and sorted(two.readdir()) == ["g"]


def test_a_file_removed_while_its_directory_is_renamed(pair, fake):
    one, two = pair
    for name in ("x", "y"):
        fake.put("b", "d/" + name, b"data")
    d = one.lookup("d").attr["ino"]
    two.lookup("d")
    two.lookup("x", d)
    gate = Gate(fake, False, op="delete")
    gone = two.start("UNLINK", parent=d, name="x")
    gate.wait()
    moved = rename(one, "d", "e")
    time.sleep(0.7)
    gate.open()
    assert not two.wait(gone).error
    assert not one.wait(moved).error
    assert [k for k in fake.keys() if not k.endswith("/")] == ["e/y"]


def test_a_directory_made_while_its_parent_is_renamed(pair, fake):
    one, two = pair
    d = mkdir(one, "d")
    two.lookup("d")
    gate = Gate(fake, False, op="put")
    made = two.start("MKDIR", parent=d, name="n", mode=0o755)
    gate.wait()
    moved = rename(one, "d", "e")
    time.sleep(0.7)
    gate.open()
    assert not two.wait(made).error
    assert not one.wait(moved).error
    assert fake.keys() == ["e/", "e/n/"]


def test_a_file_made_while_its_directory_is_removed(pair, fake):
    one, two = pair
    d = mkdir(one, "d")
    two.lookup("d")
    gate = Gate(fake, False, op="delete")
    gone = one.start("RMDIR", parent=one.root, name="d")
    gate.wait()
    made = two.start("CREATE", parent=d, name="f", fh=1, flags=RDWR, mode=0o644)
    time.sleep(0.3)
    gate.open()
    removed, created = one.wait(gone).error, two.wait(made).error
    assert bool(removed) != bool(created), "both worked, or neither did"
    if not created:
        assert not write(two, 1, 0, b"x").error
        two.ok("FLUSH", fh=1)
        assert "d/f" in fake.keys()


def test_unsaved_files_keep_a_directory_that_others_emptied(backend, fake):
    fake.put("b", "d/other", b"x")
    c = connect(backend, attr_ttl_ms=100)
    d = c.lookup("d").attr["ino"]
    create(c, "f", 1, b"unsaved", parent=d, flush=False)
    with fake.lock:
        del fake.ops.buckets["b"]["d/other"]
    time.sleep(0.2)
    c.readdir()
    c.lookup("d")
    c.ok("FLUSH", fh=1)
    assert fake.get("b", "d/f") == b"unsaved"


def test_an_unlinked_file_is_read_as_it_was_last(pair):
    one, two = pair
    ino = create(one, "f", 1, b"first")
    two.lookup("f")
    two.ok("OPEN", ino=ino, fh=1, flags=0).close()     # while it is written
    write(one, 1, 0, b"final")
    one.ok("FLUSH", fh=1)
    one.start("RELEASE", fh=1)
    one.ok("STATFS", ino=one.root)
    two.ok("OPEN", ino=ino, fh=2, flags=0).close()     # when it is saved
    one.ok("OPEN", ino=ino, fh=2, flags=RDWR).close()
    write(one, 2, 0, b"FINAL")
    one.ok("FLUSH", fh=2)
    one.start("RELEASE", fh=2)
    one.ok("UNLINK", parent=one.root, name="f")
    for fh in (1, 2):
        a = two.ok("READ", fh=fh, offset=0, size=100, want_inline=1)
        a.close()
        assert a.payload == b"FINAL", fh


def test_a_second_attach_on_one_connection(backend):
    c = Client(backend.socket)
    c.hello()
    fields = dict(kind=1, bucket="b", endpoint=backend.fake.endpoint, cred=1, access_key="k", secret_key="s",
                  source="s3://b", rw=1)
    calls = [c.start("ATTACH", instance=os.urandom(16), **fields) for _ in range(3)]
    results = []
    try:
        results = [c.wait(i).error for i in calls]
    except Exception:  # hung up: as good
        pass
    assert results.count(0) <= 1
    c.close()
    probe = connect(backend)
    ask = Client(backend.socket)
    ask.hello()
    import json
    mounts = json.loads(ask.ok("STATUS").payload)["mounts"]
    assert len(mounts) == 1, "sessions without a connection stay behind"
    probe.close()


def test_resume_opens_nothing_outside_the_prefix(backend, fake):
    fake.put("b", "mine/x", b"x")
    one = connect(backend, prefix="theirs/", attr_ttl_ms=1000)
    ino = create(one, "secret", 1, b"secret")
    write(one, 1, 0, b"SECRET")
    one.ok("UNLINK", parent=one.root, name="secret")
    spy = connect(backend, prefix="mine/", attr_ttl_ms=1000, resume=1)
    assert spy.ask("GETATTR", ino=ino).error
    assert spy.ask("OPEN", ino=ino, fh=7, flags=0).error
    assert one.ok("READ", fh=1, offset=0, size=10, want_inline=1).payload == b"SECRET"


def test_a_flood_of_calls_for_one_name(backend, fake):
    """More calls than a client may have under way: hung up on, or answered; never a crash."""
    c = connect(backend, attr_ttl_ms=1000)
    gate = Gate(fake, False, op="head")
    try:
        for i in range(60000):
            c.start("LOOKUP", parent=c.root, name="x")
    except OSError:
        pass
    gate.open()
    time.sleep(1)
    other = connect(backend, attr_ttl_ms=1000)
    assert other.ok("STATFS", ino=other.root).blocks > 0


def test_a_reader_goes_on_when_its_file_is_renamed(pair, fake):
    one, two = pair
    big = os.urandom(600000)
    fake.put("b", "f", big)
    ino = two.lookup("f").attr["ino"]
    one.lookup("f")
    two.ok("OPEN", ino=ino, fh=1, flags=0).close()
    gate = Gate(fake, False, op="get")
    reading = two.start("READ", fh=1, offset=0, size=1000, want_inline=1)
    gate.wait()
    moved = rename(one, "f", "g")
    assert not one.wait(moved).error
    gate.open()
    a = two.wait(reading)
    a.close()
    assert not a.error and a.payload == big[:1000]


@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_a_save_that_failed_with_effect_leaves_no_object(backend, fake, box, how):
    """The store took the object and said no: it is there all the same, and goes with the file."""
    box.watch.expect("is not saved and kept in the spool")
    c = connect(backend, attr_ttl_ms=600000)
    fake.on("PUT", op="put").after_effect().status(403, "AccessDenied")
    create(c, "f", 1, b"data", flush=False)
    assert c.ask("FLUSH", fh=1).error
    assert fake.keys() == ["f"]
    fake.calm()
    if how == "unlink":
        c.ok("UNLINK", parent=c.root, name="f")
        assert fake.keys() == []
    else:
        assert not c.wait(rename(c, "f", "g")).error
        c.ok("FLUSH", fh=1)
        assert fake.keys() == ["g"] and fake.get("b", "g") == b"data"


def test_a_marker_that_could_not_be_written_is_tried_again(backend, fake):
    """d exists because of d/f only; before f goes, a marker is needed."""
    fake.put("b", "d/f", b"x")
    c = connect(backend, attr_ttl_ms=600000)
    d = c.lookup("d").attr["ino"]
    fake.on("PUT", op="put", nth=1).status(403, "AccessDenied")
    assert c.ask("UNLINK", parent=d, name="f").error
    c.ok("UNLINK", parent=d, name="f")
    assert fake.keys() == ["d/"]


def test_the_longest_key_is_asked_for(backend, fake):
    """As a directory it would be too long, so that it cannot be one."""
    key = "/".join(["k" * 200] * 5) + "/" + "f" * 19
    assert len(key) == 1024
    fake.put("b", key, b"x")
    c = connect(backend, attr_ttl_ms=100)
    at = c.root
    for name in key.split("/"):
        a = c.lookup(name, at)
        assert not a.error and a.attr["ino"]
        at = a.attr["ino"]
    assert a.attr["size"] == 1
