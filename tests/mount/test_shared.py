# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""One backend for many mounts and users: who may mount what, and that mounts of one bucket see each other."""
import os
import subprocess
import threading
import time
import uuid

import pytest

from helpers import errno_of, noise
from s3server import FileStore, S3Store
from util import wait_until

TTL = ["--attr-ttl", "600"]


def another(store, servers, box):
    if store.kind == "file":
        return FileStore(box.path("bucket2"))
    return S3Store(servers[store.kind], "u-" + uuid.uuid4().hex[:16])


def test_three_mounts_two_users_third_refused(box, store, servers, users):
    """Two volumes, one of them mounted twice, by two uids that hold no key; a third uid is refused."""
    t1, t2, t3 = users
    other = another(store, servers, box)
    allowed = "%s,%s" % (t1, t2)
    b = box.backend(config="[s3proxyd]\n" + store.section("models", users=allowed) +
                    other.section("data", users=t1))
    args = ["--rw", "--socket", b.socket, *TTL]
    a1 = box.mount("models", *args, user=t1, daemon=True)
    a2 = box.mount("models", *args, user=t2, daemon=True)
    d1 = box.mount("data", *args, user=t1, daemon=True)
    box.sh("echo from one > %s/f && mkdir -m 777 %s/d && echo data > %s/x" % (a1.at, a1.at, d1.at), user=t1)
    assert box.sh("cat %s/f; ls %s" % (a2.at, a2.at), user=t2).stdout == "from one\nd\nf\n"
    r = box.sh("echo two > %s/d/g && echo no > %s/f" % (a2.at, a2.at), user=t2, check=False)
    assert r.returncode != 0 and "ermission" in r.stderr, "the first user's file is 0644"
    out = box.sh("cat %s/d/g %s/x %s/f" % (a1.at, d1.at, a1.at), user=t1).stdout
    assert out == "two\ndata\nfrom one\n"
    assert store.get("d/g") == b"two\n" and other.get("x") == b"data\n"
    code, line = box.refused("models", *args, user=t3)
    assert code in (1, 32) and "models" in line and ("refused" in line or "not allowed" in line or
                                                    "may not" in line or "permission" in line.lower())
    code, line = box.refused("data", *args, user=t2)
    assert "data" in line
    for pid in box.ours():
        with open("/proc/%d/environ" % pid, "rb") as f:
            assert b"hafiz/test+secret" not in f.read()
    status = box.ctl("--socket", b.socket, "status").stdout
    assert "models" in status and "data" in status


def test_a_read_only_volume_stays_read_only(box, file_store, users):
    file_store.put("f", b"x")
    b = box.backend(config="[s3proxyd]\n" + file_store.section("ro", rw=False, users=users[0]))
    code, line = box.refused("ro", "--rw", "--socket", b.socket, user=users[0])
    assert "ro" in line and "read-only" in line
    m = box.mount("ro", "--socket", b.socket, user=users[0])
    assert box.sh("cat %s/f" % m.at, user=users[0]).stdout == "x"


def test_other_users_may_not_bring_keys(box, s3_store, users):
    """Only clients of the backend's own uid may bring an endpoint and keys."""
    b = box.backend()
    code, line = box.refused(s3_store.source, "--socket", b.socket, *s3_store.mount_args,
                             env=s3_store.mount_env, user=users[0])
    assert s3_store.bucket in line or "key" in line or "allowed" in line


def test_an_unknown_word_names_both_possibilities(box, file_store):
    b = box.backend(config="[s3proxyd]\n" + file_store.section("models"))
    code, line = box.refused("modles", "--socket", b.socket)
    assert "modles" in line and "volume" in line and "bucket" in line


@pytest.fixture
def two(box, store):
    b = box.backend()
    args = ["--socket", b.socket, *TTL]
    return box.mount_store(store, *args), box.mount_store(store, *args)


def soon(what, check):
    """Within the second that is promised in every case."""
    start = time.monotonic()
    wait_until(what, check, timeout=1.0, step=0.005)
    return time.monotonic() - start


def exists(path):
    try:
        os.stat(path)
        return True
    except FileNotFoundError:
        return False


def test_new_files_are_seen(two, store):
    a, b = two
    assert b.ls() == [] and not exists(b / "f")  # both the listing and the absence are cached now
    a.write("f", b"one")
    soon("the new name", lambda: b.ls() == ["f"])
    soon("the file", lambda: exists(b / "f"))
    assert b.read("f") == b"one"


def test_new_data_is_seen(two, store):
    a, b = two
    for i in range(5):
        data = noise(200000 + i, i)
        a.write("f", data)
        soon("the new size", lambda: (b / "f").stat().st_size == len(data))
        assert b.read("f") == data
        a, b = b, a


def test_data_is_seen_at_write(two, store):
    a, b = two
    a.write("f", b"0" * 300000)
    assert b.read("f") == b"0" * 300000
    with open(a / "f", "r+b", buffering=0) as f, open(b / "f", "rb", buffering=0) as g:
        assert g.read(10) == b"0" * 10
        f.write(b"1" * 10)
        soon("the written bytes", lambda: os.pread(g.fileno(), 10, 0) == b"1" * 10)
        f.seek(300000)
        f.write(b"more")
        soon("the appended bytes", lambda: os.pread(g.fileno(), 10, 300000) == b"more")


def test_unlink_rename_mkdir_are_seen(two, store):
    a, b = two
    a.write("f", b"x")
    os.mkdir(a / "d")
    soon("both", lambda: b.ls() == ["d", "f"])
    os.rename(a / "f", a / "d" / "g")
    soon("the old name gone", lambda: not exists(b / "f") and b.ls() == ["d"])
    soon("the new name", lambda: b.ls("d") == ["g"])
    assert b.read("d/g") == b"x"
    os.rename(a / "d", a / "e")
    soon("the directory's new name", lambda: b.ls() == ["e"] and b.ls("e") == ["g"])
    os.unlink(a / "e" / "g")
    soon("no file", lambda: b.ls("e") == [])
    os.rmdir(a / "e")
    soon("nothing", lambda: b.ls() == [])


def test_attributes_are_seen(two, store):
    a, b = two
    a.write("f", b"12345")
    soon("the file", lambda: exists(b / "f"))
    os.truncate(a / "f", 2)
    soon("size", lambda: (b / "f").stat().st_size == 2)
    os.chmod(a / "f", 0o600)
    soon("mode", lambda: (b / "f").stat().st_mode & 0o777 == 0o600)


def test_two_mounts_in_one_directory_do_not_deadlock(box, two, store):
    """CREATE holds the directory's lock in each kernel mount while INVALIDATE wants it."""
    a, b = two
    os.mkdir(a / "d")
    soon("d", lambda: exists(b / "d"))
    failed = []

    def work(mount, who):
        try:
            for i in range(40):
                (mount / "d" / ("%s%d" % (who, i))).write_bytes(b"x")
                if i % 4 == 3:
                    os.unlink(mount / "d" / ("%s%d" % (who, i)))
        except OSError as e:
            failed.append(e)

    with box.limit(60):
        threads = [threading.Thread(target=work, args=(m, w)) for m, w in ((a, "a"), (b, "b"), (a, "c"))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not failed, failed
    want = sorted("%s%d" % (w, i) for w in "abc" for i in range(40) if i % 4 != 3)
    soon("all names", lambda: a.ls("d") == want and b.ls("d") == want)


def test_exclusive_create_has_one_winner(two, store):
    a, b = two
    for i in range(10):
        wins = []

        def attempt(mount):
            try:
                os.close(os.open(mount / ("lock%d" % i), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins.append(mount)
            except FileExistsError:
                pass

        threads = [threading.Thread(target=attempt, args=(x,)) for x in (a, b)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(wins) == 1


def test_private_backend_is_shared_and_survives_the_first_mount(box, store):
    a = box.mount_store(store, daemon=True)
    b = box.mount_store(store, daemon=True)
    assert len(box.private_backends()) == 1
    a.write("f", b"x")
    soon("f", lambda: exists(b / "f"))
    a.unmount()
    assert b.read("f") == b"x"


def test_many_mounts_at_once_start_one_backend(box, file_store):
    """The start lock: mounts that begin together share one backend."""
    file_store.put("f", b"x")
    at = [box.mkdir("p%d" % i) for i in range(5)]
    procs = [subprocess.Popen([box.programs.mount, file_store.source, p], env=box.env(),
                              stderr=subprocess.PIPE) for p in at]
    for p in procs:
        err = p.communicate(timeout=60)[1]
        assert p.returncode == 0, err
    try:
        assert [os.listdir(p) for p in at] == [["f"]] * 5
        assert len(box.private_backends()) == 1
    finally:
        for p in at:
            subprocess.run(["umount", p], check=True)


# --- what other hosts do -------------------------------------------------------------------------------
def test_attr_ttl(box, store):
    store.put("f", b"1")
    m = box.mount_store(store, "--attr-ttl", "2")
    assert m.read("f") == b"1"
    store.put("f", b"22")
    store.put("g", b"new")
    wait_until("the other host's changes", lambda: m.read("f") == b"22" and m.ls() == ["f", "g"], 5)


def test_configured_attr_ttl_holds_where_a_mount_does_not_choose(box):
    """An outside change shows after the backend's attr_ttl and not before; --attr-ttl wins over it."""
    stores = {name: FileStore(box.path(name)) for name in ("plain", "short", "long")}
    b = box.backend(config="[s3proxyd]\nattr_ttl = 4\n" + "".join(s.section(n) for n, s in stores.items()))
    chosen = {"plain": [], "short": ["--attr-ttl", "1"], "long": TTL}
    mounts = {n: box.mount(n, "--socket", b.socket, *args) for n, args in chosen.items()}
    asked, seen = {}, {}
    for name, s in stores.items():
        s.put("f", b"1")
        asked[name] = time.monotonic()
        assert (mounts[name] / "f").stat().st_size == 1
        s.put("f", b"22")
    while "plain" not in seen and time.monotonic() < asked["plain"] + 15:
        for name, at in mounts.items():
            if name not in seen and (at / "f").stat().st_size == 2:
                seen[name] = time.monotonic() - asked[name]
        time.sleep(0.1)
    assert sorted(seen) == ["plain", "short"], seen
    assert 0.9 < seen["short"] < seen["plain"] and 3.9 < seen["plain"] < 10, seen
    time.sleep(1)
    assert (mounts["long"] / "f").stat().st_size == 1


def test_long_ttl_holds_until_refresh(box, store):
    b = box.backend()
    store.put("d/f", b"1")
    m = box.mount_store(store, "--socket", b.socket, *TTL)
    assert m.ls("d") == ["f"] and (m / "d/f").stat().st_size == 1
    store.put("d/f", b"22")
    store.put("d/g", b"x")
    time.sleep(1.5)
    assert m.ls("d") == ["f"] and (m / "d/f").stat().st_size == 1, "cached for 600 s"
    box.ctl("--socket", b.socket, "refresh", str(m / "d"))
    soon("after refresh", lambda: m.ls("d") == ["f", "g"] and m.read("d/f") == b"22")


def test_cto_asks_at_every_open(box, store):
    store.put("f", b"1")
    m = box.mount_store(store, "-o", "cto", *TTL)
    assert m.read("f") == b"1"
    time.sleep(1.1)
    store.put("f", b"another")
    assert m.read("f") == b"another"


def test_absence_is_forgotten_after_a_second(box, store):
    m = box.mount_store(store, *TTL)
    assert not exists(m / "lock")
    store.put("lock", b"x")
    wait_until("the name that was absent", lambda: exists(m / "lock"), 4)


def test_replaced_object_under_an_open_handle_is_never_mixed(box, s3_store):
    """An open handle reads its own version or fails with ESTALE."""
    old, new = noise(8 << 20, 1), noise(8 << 20, 2)
    s3_store.put("o", old)
    m = box.mount_store(s3_store, "--attr-ttl", "1")
    with open(m / "o", "rb", buffering=0) as f:
        assert os.pread(f.fileno(), 100, 0) == old[:100]
        s3_store.put("o", new)
        time.sleep(1.2)
        for offset in (6 << 20, 7 << 20, 3 << 20):
            try:
                assert os.pread(f.fileno(), 4096, offset) == old[offset:offset + 4096]
            except OSError as e:
                assert e.errno == 116
    wait_until("the new version at a new open", lambda: m.read("o") == new, 5)
    assert errno_of(os.stat, m / "nothing") == 2
