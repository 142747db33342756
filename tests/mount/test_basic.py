# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Files and directories on all three stores: what is written through the mount is read back behind it, and
the other way round."""
import errno
import hashlib
import os
import stat

import pytest

from helpers import errno_of, noise
from util import wait_until

MIB = 1 << 20


SIZES = [0, 1, 4095, 16383, 16384, 16385, 128 * 1024, 128 * 1024 + 1, 3 * MIB + 17]


def test_written_files_are_objects(m, store):
    for n in SIZES:
        m.write("f%d" % n, noise(n, n))
    wait_until("the empty object, saved at release", lambda: store.exists("f0"), 5)
    for n in SIZES:
        assert store.get("f%d" % n) == noise(n, n), n
        assert m.read("f%d" % n) == noise(n, n), n
    assert store.keys() == sorted("f%d" % n for n in SIZES)


def test_objects_are_files(m, store):
    for n in SIZES:
        store.put("o%d" % n, noise(n, n))
    assert m.ls() == sorted("o%d" % n for n in SIZES)
    for n in SIZES:
        assert (m / ("o%d" % n)).stat().st_size == n
        assert m.read("o%d" % n) == noise(n, n), n


def test_large_file_goes_in_parts_and_comes_back(m, store):
    data = noise(40 * MIB + 12345)
    m.write("large", data)
    assert store.size("large") == len(data)
    assert store.digest("large") == hashlib.sha256(data).hexdigest()
    assert not store.uploads()
    store.put("large2", data)
    assert m.read("large2") == data


def test_ranges(m, store):
    data = noise(5 * MIB)
    store.put("o", data)
    with open(m / "o", "rb") as f:
        for offset, n in ((0, 1), (MIB - 1, 2), (5 * MIB - 1, 10), (5 * MIB, 1), (6 * MIB, 1),
                          (128 * 1024 - 3, 6), (3 * MIB + 7, 300000), (0, 100)):
            assert os.pread(f.fileno(), n, offset) == data[offset:offset + n], (offset, n)


def test_overwrite_by_open_truncate(m, store):
    m.write("f", b"first and longer")
    m.write("f", b"second")
    assert m.read("f") == b"second" and store.get("f") == b"second"


def test_overwrite_inside(m, store):
    data = bytearray(noise(2 * MIB))
    store.put("o", bytes(data))
    with open(m / "o", "r+b") as f:
        for offset in (0, 100000, 2 * MIB - 5):
            f.seek(offset)
            f.write(b"HELLO")
            data[offset:offset + 5] = b"HELLO"
    assert store.get("o") == bytes(data)
    assert m.read("o") == bytes(data)


def test_append(m, store):
    store.put("o", b"one\n")
    for word in ("two", "three"):
        with open(m / "o", "ab") as f:
            f.write(word.encode() + b"\n")
    assert store.get("o") == b"one\ntwo\nthree\n"


def test_append_from_two_descriptors(m, store):
    with open(m / "log", "ab", buffering=0) as a, open(m / "log", "ab", buffering=0) as b:
        for i in range(20):
            (a if i % 2 else b).write(b"%02d\n" % i)
    assert store.get("log") == b"".join(b"%02d\n" % i for i in range(20))


def test_seek_past_the_end_leaves_zeros(m, store):
    with open(m / "s", "wb") as f:
        f.write(b"ab")
        f.seek(300000)
        f.write(b"z")
    want = b"ab" + bytes(299998) + b"z"
    assert store.get("s") == want and m.read("s") == want
    store.put("o", b"12345")
    with open(m / "o", "r+b") as f:
        f.seek(10)
        f.write(b"!")
    assert store.get("o") == b"12345" + bytes(5) + b"!"


@pytest.mark.parametrize("size", [0, 3, 1000000, 3000000])
def test_truncate(m, store, size):
    data = noise(MIB)
    store.put("o", data)
    os.truncate(m / "o", size)
    want = data[:size] + bytes(max(0, size - MIB))
    assert (m / "o").stat().st_size == size
    assert m.read("o") == want and store.get("o") == want


def test_truncate_down_then_up_gives_zeros(m, store):
    store.put("o", b"x" * 1000)
    with open(m / "o", "r+b") as f:
        f.truncate(10)
        f.truncate(20)
        assert os.fstat(f.fileno()).st_size == 20
    assert store.get("o") == b"x" * 10 + bytes(10)


def test_own_writes_are_read_before_close(m, store):
    with open(m / "f", "w+b") as f:
        f.write(b"a" * 200000)
        f.flush()
        assert os.pread(f.fileno(), 10, 199995) == b"a" * 5
        assert m.read("f") == b"a" * 200000, "another descriptor sees it at write()"
        assert os.fstat(f.fileno()).st_size == 200000
    assert store.size("f") == 200000


def test_fsync_makes_it_an_object(m, store):
    with open(m / "f", "wb") as f:
        f.write(b"so far")
        f.flush()
        os.fsync(f.fileno())
        assert store.get("f") == b"so far"
        f.write(b" so good")
    assert store.get("f") == b"so far so good"


def test_close_twice_by_fork_and_dup(m, store):
    fd = os.open(m / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"parent")
    pid = os.fork()
    if pid == 0:
        os.close(fd)
        os._exit(0)
    os.waitpid(pid, 0)
    second = os.dup(fd)
    os.close(fd)
    os.write(second, b" and more")
    os.close(second)
    assert store.get("f") == b"parent and more"


def test_rename_file(m, store):
    m.write("a", b"data")
    os.mkdir(m / "d")
    os.rename(m / "a", m / "d" / "b")
    assert m.read("d/b") == b"data" and store.get("d/b") == b"data"
    assert not store.exists("a") and errno_of(os.stat, m / "a") == errno.ENOENT


def test_rename_over_an_existing_file(m, store):
    m.write("a", b"new")
    store.put("b", b"old")
    os.rename(m / "a", m / "b")
    assert m.read("b") == b"new" and store.get("b") == b"new" and m.ls() == ["b"]


def test_rename_of_an_open_file_with_unsaved_data(m, store):
    with open(m / "a", "wb") as f:
        f.write(b"before ")
        f.flush()
        os.rename(m / "a", m / "b")
        f.write(b"after")
    assert store.get("b") == b"before after" and not store.exists("a")


def test_rename_noreplace(m, store):
    m.write("a", b"a")
    m.write("b", b"b")
    assert renameat2(m / "a", m / "b", 1) == errno.EEXIST
    assert renameat2(m / "a", m / "c", 1) == 0
    assert m.ls() == ["b", "c"] and store.get("b") == b"b" and store.get("c") == b"a"
    assert renameat2(m / "b", m / "c", 2) == errno.EINVAL, "RENAME_EXCHANGE is not offered"


def renameat2(old, new, flags):
    """0 or errno."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, bytes(old), -100, bytes(new), flags) == 0:
        return 0
    return ctypes.get_errno()


def test_rename_directory(m, store):
    for name in ("d/x", "d/y/z", "d/y/w", "other"):
        (m / name).parent.mkdir(parents=True, exist_ok=True)
        m.write(name, name.encode())
    os.rename(m / "d", m / "e")
    assert [k for k in store.keys() if not k.endswith("/")] == ["e/x", "e/y/w", "e/y/z", "other"]
    assert m.read("e/y/z") == b"d/y/z" and m.ls() == ["e", "other"] and m.ls("e/y") == ["w", "z"]


def test_rename_directory_rules(m, store):
    for d in ("a", "b", "full"):
        os.mkdir(m / d)
    m.write("full/x", b"")
    m.write("file", b"")
    assert errno_of(os.rename, m / "a", m / "full") in (errno.ENOTEMPTY, errno.EEXIST)
    assert errno_of(os.rename, m / "a", m / "file") == errno.ENOTDIR
    assert errno_of(os.rename, m / "file", m / "a") == errno.EISDIR
    assert errno_of(os.rename, m / "full", m / "full" / "in") == errno.EINVAL
    os.rename(m / "full", m / "b")
    assert m.ls() == ["a", "b", "file"] and m.ls("b") == ["x"]


def test_mkdir_rmdir(m, store):
    os.mkdir(m / "d")
    assert m.ls() == ["d"] and stat.S_ISDIR((m / "d").stat().st_mode)
    assert store.exists("d/")
    assert errno_of(os.mkdir, m / "d") == errno.EEXIST
    m.write("d/f", b"x")
    assert errno_of(os.rmdir, m / "d") == errno.ENOTEMPTY
    assert errno_of(os.rmdir, m / "d" / "f") == errno.ENOTDIR
    assert errno_of(os.unlink, m / "d") in (errno.EISDIR, errno.EPERM)
    os.unlink(m / "d" / "f")
    assert m.ls("d") == []
    os.rmdir(m / "d")
    assert m.ls() == [] and store.keys() == []
    assert errno_of(os.rmdir, m / "d") == errno.ENOENT


def test_directory_stays_when_its_last_file_goes(m, store):
    os.mkdir(m / "d")
    m.write("d/f", b"")
    os.unlink(m / "d" / "f")
    assert m.ls() == ["d"] and m.ls("d") == []


def test_rmdir_sees_what_others_put_there(m, store):
    os.mkdir(m / "d")
    assert m.ls("d") == []
    store.put("d/new", b"precious")
    assert errno_of(os.rmdir, m / "d") == errno.ENOTEMPTY
    assert store.get("d/new") == b"precious"


def test_unlink_of_an_open_file(m, store):
    m.write("f", noise(300000))
    with open(m / "f", "rb") as f:
        os.unlink(m / "f")
        assert m.ls() == [] and not store.exists("f")
        assert os.fstat(f.fileno()).st_size == 300000
        assert f.read() == noise(300000)
    with open(m / "g", "w+b") as f:
        f.write(b"never seen")
        f.flush()
        os.unlink(m / "g")
        assert os.pread(f.fileno(), 20, 0) == b"never seen"
    assert store.keys() == [] and m.ls() == []


def test_readdir_of_2500_entries(m, store):
    names = ["%s-%04d" % ("entry" * (i % 4), i) for i in range(2500)]
    if store.kind == "file":
        for n in names:
            store.put("d/" + n, b"1")
    else:
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: store.put("d/" + n, b"1"), names))
    assert m.ls("d") == sorted(names)
    with os.scandir(m / "d") as it:
        assert all(e.is_file() and e.stat().st_size == 1 for e in it)


def test_names_and_files_that_do_not_exist(m):
    assert errno_of(os.stat, m / "none") == errno.ENOENT
    assert errno_of(open, m / "none" / "f", "rb") == errno.ENOENT
    assert errno_of(open, m / "none" / "f", "wb") == errno.ENOENT
    m.write("f", b"")
    assert errno_of(os.stat, m / "f" / "x") == errno.ENOTDIR
    assert errno_of(open, m.at, "rb") == errno.EISDIR


def test_create_exclusive(m, store):
    fd = os.open(m / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.close(fd)
    assert errno_of(os.open, m / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY) == errno.EEXIST
    # A file nobody wrote to is saved at release, which close does not wait for.
    wait_until("the empty object", lambda: store.exists("lock"), 5)


def test_symlink_link_and_mknod_are_refused(m):
    m.write("f", b"")
    assert errno_of(os.symlink, "f", m / "l") == errno.EPERM
    assert errno_of(os.link, m / "f", m / "l") in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)
    assert errno_of(os.mkfifo, m / "p") in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)
    assert m.ls() == ["f"]


def test_statfs(m):
    v = os.statvfs(m.at)
    assert v.f_blocks > 0 and v.f_bavail > 0 and v.f_namemax == 255
    assert v.f_blocks * v.f_frsize >= 1 << 40, "a bucket is large"


def test_mmap_reads(m, store):
    import mmap
    data = noise(MIB + 5)
    store.put("o", data)
    with open(m / "o", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert view[:] == data


def test_read_only_mount(box, store):
    store.put("d/f", b"data")
    m = box.mount_store(store, rw=False)
    assert m.read("d/f") == b"data"
    for call, args in ((open, (m / "new", "wb")), (open, (m / "d/f", "ab")), (os.mkdir, (m / "n",)),
                       (os.unlink, (m / "d/f",)), (os.rename, (m / "d", m / "e")),
                       (os.rmdir, (m / "d",)), (os.truncate, (m / "d/f", 0)),
                       (os.chmod, (m / "d/f", 0o600)), (os.utime, (m / "d/f",))):
        assert errno_of(call, *args) == errno.EROFS, call
    assert store.keys() == ["d/f"] and store.get("d/f") == b"data"


def test_prefix_is_the_root(box, store):
    for key in ("team/a", "team/d/b", "team2/c", "other"):
        store.put(key, key.encode())
    m = box.mount(store.source + "/team", "--rw", *store.mount_args, env=store.mount_env)
    assert m.ls() == ["a", "d"] and m.read("d/b") == b"team/d/b"
    m.write("new", b"n")
    assert store.get("team/new") == b"n"


def test_everything_is_there_after_a_new_mount(box, store):
    m = box.mount_store(store)
    os.makedirs(m / "d" / "e")
    m.write("d/e/f", noise(500000))
    m.unmount()
    m.wait_end()
    m = box.mount_store(store)
    assert m.ls() == ["d"] and m.read("d/e/f") == noise(500000)


def test_the_kernel_reads_ahead_as_root_says(box, store):
    """128 KiB is the kernel's habit; each of its requests costs a wake-up."""
    def kib(mount):
        dev = os.stat(mount / ".").st_dev
        path = "/sys/class/bdi/%d:%d/read_ahead_kb" % (os.major(dev), os.minor(dev))
        with open(path, encoding="ascii") as f:
            return int(f.read())
    for words, want in (((), 512), (("--readahead", "1024"), 1024)):
        m = box.mount(store.source, *words, *store.mount_args, env=store.mount_env)
        wait_until("%d KiB" % want, lambda: kib(m) == want, timeout=5)  # said after the mount shows
