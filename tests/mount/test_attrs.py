# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What stat says, and what chmod, chown and utimens leave behind."""
import os
import stat
import time


def test_stat_of_files_and_directories(m, store):
    before = time.time() - 3
    store.put("d/f", b"12345")
    s = (m / "d" / "f").stat()
    assert stat.S_ISREG(s.st_mode) and s.st_size == 5 and s.st_nlink == 1
    assert s.st_blocks == 8 or s.st_blocks == 1, "blocks of 512 bytes"
    assert before <= s.st_mtime <= time.time() + 3, "the object's LastModified"
    d = (m / "d").stat()
    assert stat.S_ISDIR(d.st_mode) and d.st_nlink >= 1
    assert (s.st_uid, s.st_gid) == (os.geteuid(), os.getegid())
    assert len({s.st_ino, d.st_ino, os.stat(m.at).st_ino}) == 3
    assert os.stat(m.at).st_dev == s.st_dev


def test_mtime_moves_with_writes(m):
    m.write("f", b"1")
    first = (m / "f").stat().st_mtime_ns
    time.sleep(1.1)
    m.write("f", b"22")
    s = (m / "f").stat()
    assert s.st_mtime_ns > first and s.st_size == 2


def test_chmod_chown_utimens_are_remembered(box, store):
    backend = box.backend()
    m = box.mount_store(store, "--socket", backend.socket)
    m.write("f", b"x")
    os.mkdir(m / "d")
    os.chmod(m / "f", 0o640)
    os.chmod(m / "d", 0o700)
    os.utime(m / "f", ns=(1_000_000_000_000_000_001, 1_500_000_000_123_456_789))
    if os.geteuid() == 0:
        os.chown(m / "f", 1234, 4321)

    def check(mount):
        s = (mount / "f").stat()
        assert stat.S_IMODE(s.st_mode) == 0o640 and stat.S_IMODE((mount / "d").stat().st_mode) == 0o700
        assert s.st_mtime_ns == 1_500_000_000_123_456_789
        assert s.st_atime_ns == 1_000_000_000_000_000_001
        if os.geteuid() == 0:
            assert (s.st_uid, s.st_gid) == (1234, 4321)

    check(m)
    backend.restart()
    check(m)
    m.unmount()
    m.wait_end()
    check(box.mount_store(store, "--socket", backend.socket))


def test_utimens_does_not_lose_unsaved_data(m, store):
    with open(m / "f", "wb") as f:
        f.write(b"data")
        f.flush()
        os.utime(m / "f", (5, 5))
        os.chmod(m / "f", 0o600)
    assert store.get("f") == b"data" and (m / "f").stat().st_mtime == 5


def test_inode_numbers_are_stable_and_never_reused(box, store):
    backend = box.backend()
    m = box.mount_store(store, "--socket", backend.socket)
    numbers = {}
    for i in range(20):
        m.write("f%d" % i, b"x")
        numbers["f%d" % i] = (m / ("f%d" % i)).stat().st_ino
    assert len(set(numbers.values())) == 20
    backend.restart()
    assert (m / "f3").stat().st_ino == numbers["f3"]
    backend.restart()
    os.unlink(m / "f5")
    m.write("new", b"")
    assert (m / "new").stat().st_ino not in numbers.values()
    m.write("f5", b"")
    assert (m / "f5").stat().st_ino not in numbers.values()


def test_mode_and_owner_options(box, file_store):
    file_store.put("d/f", b"x")
    m = box.mount_store(file_store, "--uid", "12", "--gid", "34", "--file-mode", "0604", "--dir-mode",
                        "0705")
    f, d = (m / "d/f").stat(), (m / "d").stat()
    assert (f.st_uid, f.st_gid, stat.S_IMODE(f.st_mode)) == (12, 34, 0o604)
    assert (d.st_uid, d.st_gid, stat.S_IMODE(d.st_mode)) == (12, 34, 0o705)


def test_umask_option(box, file_store):
    file_store.put("d/f", b"x")
    m = box.mount_store(file_store, "--umask", "027")
    assert stat.S_IMODE((m / "d/f").stat().st_mode) & 0o027 == 0
    assert stat.S_IMODE((m / "d").stat().st_mode) & 0o027 == 0
