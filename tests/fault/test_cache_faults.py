# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The cache's files and their disk misbehave, below a running backend or while it is away: the bytes are
right or there is an error, and the mount lives. (Full and deleted: test_read_engine.py.)"""
import errno
import os
import time

import pytest

from helpers import noise
from util import alive, wait_until

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 16 * KIB
DATA = noise(9 * MIB + 77)
LIVES = (errno.EIO, errno.EROFS, errno.ENOSPC, errno.ESTALE)


def objects(backend, end=".data"):
    return [os.path.join(root, name) for root, _, names in os.walk(backend.cache_dir) for name in names
            if name.endswith(end)]


@pytest.fixture
def pair(box, fake):
    fake.put("b", "o", DATA)
    b = box.backend()
    m = box.mount("s3://b", "--rw", "--socket", b.socket, "--attr-ttl", "1", *fake.mount_args,
                  env=fake.mount_env)
    return b, m


def remount(m):
    """What the kernel has of the files is gone."""
    m.unmount()
    m.wait_end()
    m.start()


def right_or(m, name, want, errors=LIVES):
    """Reads from the start: everything as it should be, or the beginning and an error."""
    got = bytearray()
    try:
        with open(m / name, "rb", buffering=0) as f:
            while more := f.read(256 * KIB):
                got += more
        assert len(got) == len(want), "a short file that looks whole"
        whole = True
    except OSError as e:
        assert e.errno in errors, e
        whole = False
    assert got == want[:len(got)]
    return whole


def fine(b, m, fake):
    """Nobody died of it, and new things work."""
    assert b.proc.poll() is None and alive(m.proc.pid)
    fake.put("b", "new", b"thing")
    wait_until("a new object", lambda: "new" in m.ls(), 5)
    assert m.read("new") == b"thing"


# --- cut -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 4096, 5000])
def test_a_sidecar_cut_under_a_reader(pair, fake, size):
    """It is mapped by both programs: a look beyond its end would kill them."""
    b, m = pair
    assert m.read("o") == DATA
    remount(m)
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(MIB) == DATA[:MIB]
        time.sleep(0.3)
        for path in objects(b, ".side"):
            os.truncate(path, size)
        got = bytearray(DATA[:MIB])
        while more := f.read(MIB):
            got += more
        assert got == DATA, "of %d bytes" % len(got)
        assert os.pread(f.fileno(), 100, 5 * MIB) == DATA[5 * MIB:5 * MIB + 100]
        m.write("o", b"replaced")
    remount(m)
    assert m.read("o") == b"replaced"
    fake.put("b", "o", DATA)
    wait_until("the old object again", lambda: os.stat(m / "o").st_size == len(DATA), 5)
    assert m.read("o") == DATA
    fine(b, m, fake)


def test_a_sidecar_cut_while_its_object_is_fetched(box, pair, fake):
    b, m = pair
    fake.on(op="get", key="o").trickle(6 * MIB)
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(64 * KIB) == DATA[:64 * KIB]
        for path in objects(b, ".side"):
            os.truncate(path, 0)
        with box.limit(60):
            got = DATA[:64 * KIB] + b"".join(iter(lambda: f.read(MIB), b""))
        assert got == DATA
    remount(m)
    assert m.read("o") == DATA
    fine(b, m, fake)


def test_a_data_file_cut_while_closed(pair, fake):
    b, m = pair
    assert m.read("o") == DATA
    remount(m)
    for path in objects(b):
        os.truncate(path, 3 * MIB)
        os.truncate(path, len(DATA))
    assert m.read("o") == DATA, "not what the hole reads as"
    fine(b, m, fake)


# --- flipped ---------------------------------------------------------------------------------------------
def flip(path, *places):
    with open(path, "r+b") as f:
        for at in places:
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 0x10]))


@pytest.mark.parametrize("meanwhile", ["stopped", "killed", "running"])
def test_a_flipped_bit_in_the_data(pair, fake, meanwhile):
    """In the same boot: somebody wrote into a file that nobody had open. Only what it hit is fetched."""
    b, m = pair
    assert m.read("o") == DATA
    m.unmount()
    m.wait_end()
    time.sleep(0.1)
    if meanwhile == "stopped":
        b.stop()
    elif meanwhile == "killed":
        b.kill()
    flip(objects(b)[0], 0, 3 * MIB, len(DATA) - 1)
    fake.forget_log()
    if meanwhile != "running":
        b.start()
    m.start()
    assert m.read("o") == DATA
    assert 0 < fake.count(op="get", key="o") <= 3
    fine(b, m, fake)


@pytest.mark.parametrize("restart", ["stop", "kill"])
@pytest.mark.parametrize("part", ["head", "present", "stored", "checksums"])
def test_a_flipped_bit_in_the_sidecar(pair, fake, part, restart):
    """Half of the file was never fetched: a bit that says otherwise would show zeros."""
    b, m = pair
    with open(m / "o", "rb", buffering=0) as f:
        assert os.pread(f.fileno(), 5, 8 * MIB) == DATA[8 * MIB:8 * MIB + 5]
    m.unmount()
    m.wait_end()
    bitmap = (len(DATA) + BLOCK - 1) // BLOCK // 64 * 8 + 8
    begin, n = {"head": (0, 64), "present": (4096, bitmap), "stored": (4096 + bitmap, bitmap),
                "checksums": (4096 + 2 * bitmap, 4 * 577)}[part]
    for at in range(begin, begin + n, 8 if part == "head" else max(1, n // 8)):
        if restart == "stop":
            b.stop()
        else:
            b.kill()
        for path in objects(b, ".side"):
            flip(path, at, *([at + 1] if part != "head" else []))
        b.start()
        m.start()
        assert m.read("o") == DATA, at
        m.unmount()
        m.wait_end()
        for path in objects(b, ".side"):
            os.unlink(path)
        m.start()
        with open(m / "o", "rb", buffering=0) as f:
            assert os.pread(f.fileno(), 5, 8 * MIB) == DATA[8 * MIB:8 * MIB + 5]
        m.unmount()
        m.wait_end()
    m.start()
    fine(b, m, fake)


# --- read-only -------------------------------------------------------------------------------------------
@pytest.fixture
def disk(box, need_root):
    """A file system of the cache's own that can fail: (mount it, let it fail)."""
    image, at = box.path("disk.img"), box.mkdir("cache-p", mode=0o700)
    box.sh("truncate -s 96M %s && mkfs.ext4 -q %s" % (image, image))

    def start():
        box.sh("mount -o loop %s %s && chmod 700 %s" % (image, at, at))

    def end():
        box.sh("umount -l %s; e2fsck -fy %s" % (at, image), check=False)

    box.cleanups.append(lambda: box.sh("umount -l %s" % at, check=False))
    start()
    return start, lambda: box.sh("mount -o remount,abort %s" % at), end


@pytest.mark.timeout(200)
def test_the_cache_disk_becomes_read_only(box, disk, fake):
    """As the kernel makes it after an error of the disk; by hand it cannot while the backend is there."""
    start, fail, end = disk
    fake.put("b", "o", DATA)
    fake.put("b", "half", DATA)
    fake.put("b", "other", noise(3 * MIB, 3))
    b = box.backend()
    m = box.mount("s3://b", "--rw", "--socket", b.socket, "--attr-ttl", "1", *fake.mount_args,
                  env=fake.mount_env)
    box.watch.expect("read-only", "error", "cache")
    assert m.read("o") == DATA
    f = open(m / "half", "rb", buffering=0)
    assert f.read(100) == DATA[:100]
    box.sh("sync -f " + b.cache_dir)
    fail()
    with box.limit(60):
        try:
            while more := f.read(256 * KIB):
                at = f.tell()
                assert more == DATA[at - len(more):at]
            assert f.tell() == len(DATA)
        except OSError as e:
            assert e.errno in LIVES
        right_or(m, "other", noise(3 * MIB, 3))
        right_or(m, "o", DATA)
        assert sorted(m.ls()) == ["half", "o", "other"]
        m.write("o", b"new")
        assert fake.get("b", "o") == b"new"
        right_or(m, "o", b"new")
        fake.put("b", "o", b"newer")
        time.sleep(1.2)
        assert not right_or(m, "o", b"newer") or m.read("o") == b"newer"
        f.close()
    assert b.proc.poll() is None and alive(m.proc.pid)
    b.stop()
    end()
    start()
    b.start()
    assert m.read("half") == DATA and m.read("other") == noise(3 * MIB, 3) and m.read("o") == b"newer"
    fine(b, m, fake)


def test_a_read_only_cache_directory_is_refused(box, need_root):
    at = box.mkdir("cache-p", mode=0o700)
    box.sh("mount --bind %s %s && mount -o remount,bind,ro %s" % (at, at, at))
    box.cleanups.append(lambda: box.sh("umount -l " + at))
    done = box.sh("%s --socket %s --cache-dir %s --state-dir %s" %
                  (box.programs.backend, box.path("s"), at, box.mkdir("state-p", mode=0o700)), check=False)
    assert done.returncode == 1 or done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "read-only" in done.stderr.lower(), done.stderr
