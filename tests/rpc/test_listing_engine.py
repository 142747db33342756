# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The listing engine: what a lookup, a listing and a walk through a tree cost in requests, and that none of
the ways in which it asks ahead loses a name or brings one back."""
import contextlib
import errno
import json
import random
import threading
import time

import pytest

from listing import DIR, Gate, connect, fill, fresh, ino, lists, names, of, refresh, there, walk
from proto import Client
from scripted_s3_ops import error_reply


@pytest.fixture
def c(backend):
    client = connect(backend)
    yield client
    client.close()


# --- what it costs -----------------------------------------------------------------------------------

def test_any_number_of_names_in_a_small_directory_is_one_request(c, fake):
    fill(fake, "d/f%03d", 200)
    d = ino(c, "d")
    fresh(fake)
    for i in range(200):
        assert there(c, "f%03d" % i, d)
    assert len(fake.requests()) == 1


def test_an_absent_name_is_asked_for_until_somebody_reads_the_directory(c, fake):
    """Other hosts may make it, and who waits for it did not ask for a listing."""
    fill(fake, "d/f%03d", 20)
    d = ino(c, "d")
    fresh(fake)
    assert not there(c, "new", d) and len(fake.requests()) == 1
    fake.put("b", "d/other", b"x")
    assert there(c, "other", d) and len(fake.requests()) == 2
    time.sleep(1.1)
    fake.put("b", "d/new", b"x")
    assert there(c, "new", d) and len(fake.requests()) == 3
    fake.put("b", "d/late", b"x")
    assert "late" in c.readdir(d) and len(fake.requests()) == 4
    fresh(fake)
    for i in range(50):
        assert there(c, "f000", d) and not there(c, "absent%d" % i, d)
    assert not fake.requests()


def test_a_listed_directory_is_not_asked_about_names(c, fake):
    fill(fake, "d/f%04d", 2500)
    assert len(names(c, "d")) == 2500
    fresh(fake)
    d = ino(c, "d")
    assert there(c, "f0000", d) and there(c, "f2499", d) and not there(c, "f2499a", d)
    assert not fake.requests()


def test_a_large_directory_is_asked_name_by_name(c, fake):
    fill(fake, "d/f%04d", 2500)
    d = ino(c, "d")
    fresh(fake)
    assert not there(c, "f0001a", d) and there(c, "f0001", d), "the first page decides these"
    assert len(fake.requests()) == 1
    assert there(c, "f2400", d) and not there(c, "f2400a", d) and there(c, "f2401", d)
    # HEAD and a listing of one key for each of the three names.
    assert lists(fake) == 4 and fake.count("HEAD") == 3
    assert all(q.get("max-keys") == "1" for q in [r.query for r in fake.requests(op="list")][1:])


def test_a_long_path_costs_no_request_for_each_component(c, fake):
    fake.put("b", "a/b/c/d/e/f/g/file", b"x")
    fake.put("b", "a/b/other", b"x")
    fresh(fake)
    ino(c, "a/b/c/d/e/f/g/file")
    assert len(fake.requests()) <= 4
    fresh(fake)
    ino(c, "a/b/c/d/e/f/g/file")
    assert not fake.requests()


def test_a_path_through_large_trees(c, fake):
    """What lies below is more than a page each time, and begins with something else."""
    path, keys = "", []
    for name in "abcdef":
        path += name + "/"
        keys += fill(fake, path + "0/x%04d", 1100)
    fake.put("b", path + "file", b"x")
    fresh(fake)
    ino(c, path + "file")
    assert len(fake.requests()) <= 7 + 3


def test_pages_of_a_large_directory_are_asked_side_by_side(c, fake):
    made = fill(fake, "d/file-%05d", 5000)
    fake.on("GET", op="list").delay(0.1)
    d = ino(c, "d")
    fresh(fake)
    began = time.monotonic()
    assert len(c.readdir(d)) == len(made)
    assert time.monotonic() - began < 1
    assert lists(fake) <= 14


def test_a_walk_through_a_tree_is_a_few_requests(backend, c, fake):
    made = [k for d in range(100) for k in fill(fake, "t/d%03d/f%%02d" % d, 20)]
    fresh(fake)
    files, dirs = walk(c, "t")
    assert files == made and dirs == 100
    assert len(fake.requests()) <= 7
    fresh(fake)
    assert walk(c, "t") == (files, dirs) and not fake.requests()
    refresh(backend, c, "")
    with fake.lock:
        fake.ops.buckets["b"].pop("t/d050/f07")
    fake.put("b", "t/d051/new", b"x")
    files, dirs = walk(c, "t")
    assert set(files) ^ set(made) == {"t/d050/f07", "t/d051/new"} and dirs == 100
    assert len(fake.requests()) <= 7


def test_a_walk_through_nested_directories(c, fake):
    made = []
    for i in range(6):
        for j in range(6):
            made += fill(fake, "t/a%d/b%d/f%%d" % (i, j), 3) + fill(fake, "t/a%d/b%d/c/g%%d" % (i, j), 2)
        made += fill(fake, "t/a%d/top%%d" % i, 2)
    fresh(fake)
    files, dirs = walk(c, "")
    assert sorted(files) == sorted(made) and dirs == 1 + 6 + 36 * 2
    assert len(fake.requests()) <= 10


def test_files_opened_by_path_in_many_directories(c, fake):
    made = [k for d in range(60) for k in fill(fake, "t/d%03d/f%%02d" % d, 10)]
    fresh(fake)
    for key in made:
        ino(c, key)
    assert len(fake.requests()) <= 10


def test_large_directories_are_not_pulled_in_by_a_walk(c, fake):
    for d in range(8):
        fill(fake, "t/d%d/f%%05d" % d, 2500)
    t = ino(c, "t")
    top = c.readdir(t, plus=1)
    fresh(fake)
    for d in sorted(top)[:4]:
        assert len(c.readdir(top[d]["ino"])) == 2500
    flat = [r for r in fake.requests(op="list") if "delimiter" not in r.query]
    assert len(flat) <= 3, "pages that completed nothing"


def test_one_directory_of_many_is_not_a_walk(c, fake):
    for d in range(20):
        fill(fake, "t/d%02d/f%%d" % d, 5)
    top = c.readdir(ino(c, "t"), plus=1)
    fresh(fake)
    assert len(c.readdir(top["d07"]["ino"])) == 5
    time.sleep(0.3)
    assert len(fake.requests()) == 1


def test_a_walk_stops_when_nobody_follows(c, fake):
    for d in range(400):
        fill(fake, "t/d%03d/f%%02d" % d, 30)
    top = c.readdir(ino(c, "t"), plus=1)
    fresh(fake)
    for d in ("d000", "d001"):
        assert len(c.readdir(top[d]["ino"])) == 30
    time.sleep(0.5)
    assert len(fake.requests()) <= 4


def test_after_a_restart_a_young_listing_needs_no_request(backend, fake):
    fill(fake, "d/f%04d", 1500)
    fill(fake, "t/x%02d", 20)
    c = connect(backend)
    assert len(names(c, "d")) == 1500 and len(names(c, "t")) == 20
    c.close()
    backend.stop()
    backend.start()
    fresh(fake)
    c = connect(backend)
    fake.log = [r for r in fake.log if r.query.get("max-keys") != "1"]  # may we list here?
    assert len(names(c, "d")) == 1500 and there(c, "x07", ino(c, "t"))
    assert not there(c, "x99", ino(c, "t"))
    assert not fake.requests()
    c.close()


def test_an_old_listing_is_refreshed_in_exact_pieces(backend, c, fake):
    made = ["d/%s" % random.Random(i).getrandbits(60) for i in range(3000)]
    for key in made:
        fake.put("b", key, b"x")
    d = ino(c, "d")
    assert len(c.readdir(d)) == 3000
    refresh(backend, c, "d")
    fake.put("b", "d/new", b"x")
    fake.ops.buckets["b"].pop(made[7])
    fresh(fake)
    assert set(c.readdir(d)) == {k[2:] for k in made if k != made[7]} | {"new"}
    assert lists(fake) == 4


# --- what changes meanwhile ----------------------------------------------------------------------------

@contextlib.contextmanager
def being_listed(backend, c, d):
    """The body runs while "d" is listed again, by another client for whom every listing is too old; the
    store's answer is made before the body and arrives after it."""
    c.readdir(d)
    other = connect(backend, attr_ttl_ms=0)
    gate = Gate(backend.fake, of("d/"))
    call = other.start("READDIR", ino=d, max_bytes=65536)
    gate.wait()
    yield
    gate.open()
    assert not other.wait(call).error
    other.close()


def test_a_file_removed_during_a_listing_does_not_come_back(backend, c, fake):
    fill(fake, "d/f%d", 5)
    d = ino(c, "d")
    with being_listed(backend, c, d):
        c.ok("UNLINK", parent=d, name="f3")
    assert names(c, "d") == ["f0", "f1", "f2", "f4"] and not there(c, "f3", d)


def test_a_file_renamed_during_a_listing_has_one_name(backend, c, fake):
    fill(fake, "d/f%d", 5)
    d = ino(c, "d")
    with being_listed(backend, c, d):
        c.ok("RENAME", parent=d, name="f3", new_parent=d, new_name="moved")
    assert names(c, "d") == ["f0", "f1", "f2", "f4", "moved"]


def test_a_directory_removed_during_a_listing_does_not_come_back(backend, c, fake):
    fake.put("b", "d/sub/", b"")
    fill(fake, "d/f%d", 2)
    d = ino(c, "d")
    with being_listed(backend, c, d):
        c.ok("RMDIR", parent=d, name="sub")
    assert names(c, "d") == ["f0", "f1"]


def test_a_removed_name_that_came_again_is_there(backend, c, fake):
    fill(fake, "d/f%d", 3)
    d = ino(c, "d")
    with being_listed(backend, c, d):
        c.ok("UNLINK", parent=d, name="f1")
        c.ok("MKDIR", parent=d, name="f1", mode=0o755)
    assert names(c, "d") == ["f0", "f1", "f2"]
    assert c.lookup("f1", d).attr["mode"] & 0o170000 == DIR


def test_what_another_identity_did_during_a_listing_is_seen(backend, fake):
    """A listing that was asked before is not taken for one of after."""
    fill(fake, "d/f%d", 3)
    one, two = connect(backend), connect(backend, key="other")
    d1, d2 = ino(one, "d"), ino(two, "d")
    refresh(backend, one, "d")
    gate = Gate(fake, of("d/"))
    call = one.start("READDIR", ino=d1, max_bytes=65536)
    gate.wait()
    two.ok("MKDIR", parent=d2, name="made", mode=0o755)
    later = one.start("LOOKUP", parent=d1, name="made")
    gate.open()
    assert not one.wait(call).error
    assert one.wait(later).attr
    assert names(one, "d") == ["f0", "f1", "f2", "made"]
    one.close()
    two.close()


def test_a_name_found_during_a_listing_is_not_lost(backend, c, fake):
    """It came after its page was made, and somebody asked for it before the page arrived."""
    fill(fake, "d/f%04d", 1500)
    d, other = ino(c, "d"), connect(backend, attr_ttl_ms=0)
    gate = Gate(fake, lambda q: q.get("prefix") == "d/" and
                ("continuation-token" in q or "start-after" in q), times=8)
    call = other.start("READDIR", ino=d, max_bytes=1 << 20)
    gate.wait()
    fake.put("b", "d/f1400x", b"x")
    assert there(c, "f1400x", d)
    gate.open()
    assert not other.wait(call).error
    assert len(c.readdir(d)) == 1501 and there(c, "f1400x", d)
    other.close()


def test_a_late_answer_does_not_take_a_name_away(backend, c, fake):
    fill(fake, "d/f%04d", 1500)
    d, other = ino(c, "d"), connect(backend, attr_ttl_ms=0)
    assert there(c, "f1400", d)
    held, opened = threading.Event(), threading.Event()

    def hold(req):
        with fake.lock:
            reply = fake.ops.answer(req)
        held.set()
        opened.wait(20)
        return reply
    fake.on("HEAD", key="d/new", nth=1).call(hold)
    call = c.start("LOOKUP", parent=d, name="new")
    assert held.wait(10)
    fake.put("b", "d/new", b"x")
    assert "new" in other.readdir(d)
    opened.set()
    assert not c.wait(call).error
    assert there(c, "new", d) and "new" in names(c, "d")
    other.close()


def test_a_directory_keeps_its_number_beside_an_object_of_its_name(backend, c, fake):
    """The object is on the first page, the prefix on the second."""
    fake.put("b", "d/n", b"hidden behind the directory")
    fill(fake, "d/n-%04d", 1500)
    fake.put("b", "d/n/inside", b"x")
    d = ino(c, "d")
    first = c.readdir(d)["n"]
    assert first["mode"] & 0o170000 == DIR
    for _ in range(2):
        refresh(backend, c, "d")
        again = c.readdir(d)
        assert again["n"]["ino"] == first["ino"] and len(again) == 1501
    refresh(backend, c, "d")
    assert c.lookup("n", d).attr["ino"] == first["ino"]


WALKED = "t/"


def walking(c, fake, dirs=12, files=3):
    """A tree and a walker whose first flat page is held: its directories are asked, not answered."""
    for i in range(dirs):
        fill(fake, "t/d%02d/f%%d" % i, files)
    top = c.readdir(ino(c, "t"), plus=1)
    gate = Gate(fake, of(WALKED, flat=True))
    for known in ("d09", "d06", "d05"):  # these are known before; the walk lists them again
        c.readdir(top[known]["ino"], plus=1)
    c.readdir(top["d00"]["ino"], plus=1)
    gate.wait()
    return top, gate


def finished(c, fake, top, gate):
    """The held page arrives; a directory it brings shows that it has been merged."""
    call = c.start("READDIR", ino=top["d11"]["ino"], max_bytes=65536)
    gate.open()
    assert not c.wait(call).error
    time.sleep(0.2)


@pytest.mark.parametrize("what", ["unlink", "create", "mkdir", "rename", "move away", "move in"])
def test_changes_during_a_walk_stay(c, fake, what):
    top, gate = walking(c, fake)
    t, d5, d6 = ino(c, "t"), top["d05"]["ino"], top["d06"]["ino"]
    want5, want6 = {"f0", "f1", "f2"}, {"f0", "f1", "f2"}
    if what == "unlink":
        c.ok("UNLINK", parent=d5, name="f1")
        want5 -= {"f1"}
    elif what == "create":
        c.ok("CREATE", parent=d5, name="new", fh=1, flags=2, mode=0o644)
        c.ok("FLUSH", fh=1)
        want5 |= {"new"}
    elif what == "mkdir":
        c.ok("MKDIR", parent=d5, name="new", mode=0o755)
        want5 |= {"new"}
    elif what == "rename":
        c.ok("RENAME", parent=d5, name="f1", new_parent=d6, new_name="from5")
        want5, want6 = want5 - {"f1"}, want6 | {"from5"}
    elif what == "move away":
        c.ok("RENAME", parent=t, name="d05", new_parent=c.root, new_name="elsewhere")
    else:
        c.ok("RENAME", parent=t, name="d05", new_parent=d6, new_name="sub")
        want6 |= {"sub"}
    finished(c, fake, top, gate)
    assert set(c.readdir(d6)) == want6
    assert set(c.readdir(d5)) == want5
    if what == "move away":
        assert "d05" not in names(c, "t") and not there(c, "d05", t)
        assert set(names(c, "elsewhere")) == want5
    elif what == "move in":
        assert "d05" not in names(c, "t") and set(names(c, "t/d06/sub")) == want5


def test_a_directory_removed_during_a_walk_does_not_come_back(c, fake):
    fake.put("b", "t/d04x/", b"")
    top, gate = walking(c, fake)
    t = ino(c, "t")
    c.ok("RMDIR", parent=t, name="d04x")
    finished(c, fake, top, gate)
    assert "d04x" not in names(c, "t") and not there(c, "d04x", t)


def test_names_from_outside_seen_by_a_walk_are_right(c, fake):
    """What others make and remove while it goes on is shown as it was when the page was made."""
    for i in range(12):
        fill(fake, "t/d%02d/f%%d" % i, 3)
    top = c.readdir(ino(c, "t"), plus=1)
    gate = Gate(fake, of(WALKED, flat=True), late=True)
    c.readdir(top["d00"]["ino"], plus=1)
    gate.wait()
    fake.put("b", "t/d05/late", b"x")
    with fake.lock:
        fake.ops.buckets["b"].pop("t/d06/f0")
        for i in range(3):
            fake.ops.buckets["b"].pop("t/d07/f%d" % i)
    finished(c, fake, top, gate)
    assert set(c.readdir(top["d05"]["ino"])) == {"f0", "f1", "f2", "late"}
    assert set(c.readdir(top["d06"]["ino"])) == {"f1", "f2"}
    assert not set(c.readdir(top["d07"]["ino"]))


def test_hidden_keys_below_a_walk_are_counted(backend, c, fake):
    for i in range(12):
        fill(fake, "t/d%02d/f%%d" % i, 3)
    for key in ("t/d05//x", "t/d06/./y", "t/d07/sub/..", "t/d07/sub//", "t/d08/" + "n" * 300):
        fake.put("b", key, b"x")
    files, dirs = walk(c, "t")
    assert len(files) == 36 and dirs == 13
    status = Client(backend.socket)
    status.hello()
    assert json.loads(status.ok("STATUS").payload)["hidden_keys"] == 5
    status.close()
    assert c.ask("RMDIR", parent=ino(c, "t/d07"), name="sub").error == -errno.ENOTEMPTY


def test_a_walk_whose_pages_fail_only_costs_time(c, fake):
    for i in range(12):
        fill(fake, "t/d%02d/f%%d" % i, 3)
    fake.on("GET", op="list").call(
        lambda r: None if "delimiter" in r.query or r.query.get("max-keys") == "1" else
        error_reply(403, "AccessDenied", "not without a delimiter"))
    files, dirs = walk(c, "t")
    assert len(files) == 36 and dirs == 12


def test_a_rename_waits_for_no_walk(c, fake):
    """A held page of a walk holds up nobody who does not want its directories."""
    top, gate = walking(c, fake)
    c.ok("RENAME", parent=ino(c, "t"), name="d09", new_parent=c.root, new_name="away")
    finished(c, fake, top, gate)
    assert names(c, "away") == ["f0", "f1", "f2"]
