# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Reading far and fast while the store, the disk or the cache misbehave: the bytes are right, each is
fetched once, a range that stalls is asked for again, and a disk that fails costs speed only."""
import errno
import os
import re
import shutil
import threading
import time

import pytest

from faulty import alive
from helpers import errno_of, noise

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 16 * KIB
REQUEST = 8 * MIB


def ranges(fake, key="o"):
    """[first, last] of each ranged GET of the key."""
    out = []
    for r in fake.requests(op="get", key=key):
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", r.headers.get("range", ""))
        if m:
            out.append((int(m[1]), int(m[2])))
    return out


def fetched(fake, key="o"):
    return sum(last - first + 1 for first, last in ranges(fake, key))


# --- ranges ------------------------------------------------------------------------------------------
# Blocks, what OPEN brings, what the kernel asks for, what is passed to it, windows and requests.
EDGES = sorted({n + d for n in (4 * KIB, BLOCK, 64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, 64 * BLOCK,
                                4 * MIB, REQUEST, 2 * REQUEST) for d in (-1, 0, 1)})


def test_sizes_at_every_edge(fm, fake):
    for n in [0, 1] + EDGES:
        fake.put("b", "o%d" % n, noise(n, n))
    fm.ls()
    for n in [0, 1] + EDGES:
        assert fm.read("o%d" % n) == noise(n, n), n
        with open(fm / ("o%d" % n), "rb", buffering=0) as f:
            assert os.pread(f.fileno(), 10, n) == b""


def test_reads_around_every_edge(fm, fake):
    data = noise(20 * MIB + 5)
    fake.put("b", "o", data)
    with open(fm / "o", "rb", buffering=0) as f:
        for at in reversed(EDGES + [len(data)]):
            for offset, n in ((at - 3, 6), (at, 1), (at - 1, 1)):
                assert os.pread(f.fileno(), n, offset) == data[offset:offset + n], (offset, n)
    assert fetched(fake) < 3 * MIB, "single reads fetch about what they want"


@pytest.mark.slow
@pytest.mark.parametrize("d", [-1, 0, 1])
def test_size_of_the_largest_window(fm, fake, d):
    data = noise(16 * REQUEST + d)
    fake.put("b", "o", data)
    fm.ls()
    assert fm.read("o") == data
    assert fetched(fake) == len(data)


def test_sixty_four_readers_fetch_each_byte_once(fm, fake):
    data = noise(24 * MIB + 12345)
    fake.put("b", "o", data)
    fm.ls()
    wrong = []

    def reader(i):
        with open(fm / "o", "rb", buffering=0) as f:
            at = i * len(data) // 64
            for offset in [*range(at, len(data), 256 * KIB), *range(0, at, 256 * KIB)]:
                if os.pread(f.fileno(), 256 * KIB, offset) != data[offset:offset + 256 * KIB]:
                    wrong.append((i, offset))

    threads = [threading.Thread(target=reader, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert fetched(fake) == len(data)
    covered = sorted(ranges(fake))
    assert all(a[1] < b[0] for a, b in zip(covered, covered[1:])), "no byte twice"


def test_backward_and_strided_readers(fm, fake):
    data = noise(32 * MIB)
    fake.put("b", "back", data)
    fake.put("b", "stride", data)
    with open(fm / "back", "rb", buffering=0) as f:
        for at in range(len(data) - 64 * KIB, -1, -64 * KIB):
            assert os.pread(f.fileno(), 64 * KIB, at) == data[at:at + 64 * KIB]
    assert len(ranges(fake, "back")) < 60, "512 reads"
    with open(fm / "stride", "rb", buffering=0) as f:
        for at in range(MIB // 2, len(data), MIB):
            assert os.pread(f.fileno(), 5000, at) == data[at:at + 5000]
    assert fetched(fake, "stride") < 3 * MIB


# --- the store ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("at", [0, 1, BLOCK, 300 * KIB + 7])
def test_a_range_that_stalls_is_asked_for_again(fm, fake, at, nth):
    """Long before the 20 s after which a silent connection is given up; and only what is missing."""
    data = noise(6 * MIB)
    fake.put("b", "o", data)
    fm.ls()
    rule = fake.on(op="get", key="o", nth=nth).stall_at(at, 60)
    begin = time.monotonic()
    assert fm.read("o") == data
    assert time.monotonic() - begin < 15 and rule.used == 1
    sizes = sorted(ranges(fake))
    assert fetched(fake) < len(data) + REQUEST, sizes


def test_a_slow_line_is_not_a_stall(fm, fake):
    """Bytes come all the time, if few: asking twice would make it slower still."""
    data = noise(400 * KIB)
    fake.put("b", "o", data)
    fm.ls()
    fake.on(op="get", key="o").trickle(60 * KIB)
    assert fm.read("o") == data
    assert fetched(fake) == len(data)


def test_503_storm(fm, fake):
    data = noise(40 * MIB)
    fake.put("b", "o", data)
    fm.ls()
    fake.on(op="get", key="o", times=12).status(503, "SlowDown")
    assert fm.read("o") == data
    alive(fm, fake)


@pytest.mark.parametrize("how", ["replaced", "shorter", "gone"])
def test_changed_between_two_ranges(fm, fake, how):
    """The old version's bytes or ESTALE; never zeros, a mixture or a short file that looks whole."""
    old = noise(64 * MIB, 1)
    fake.put("b", "o", old)
    fm.ls()
    with open(fm / "o", "rb", buffering=0) as f:
        got = f.read(MIB)
        if how == "replaced":
            fake.put("b", "o", noise(64 * MIB, 2))
        elif how == "shorter":
            fake.put("b", "o", noise(5 * MIB, 3))
        else:
            del fake.ops.buckets["b"]["o"]
        try:
            while len(got) < len(old):
                more = f.read(MIB)
                assert more, "the end, %d bytes too early" % (len(old) - len(got))
                got += more
                assert got == old[:len(got)]
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.ENOENT)
            assert got == old[:len(got)]


def test_cut_by_ourselves_while_it_is_read(fm, fake):
    """What is read ahead of the longer version is nothing to the shorter one."""
    data, size = noise(40 * MIB), 4 * MIB + 20 * KIB
    fake.put("b", "o", data)
    fm.ls()
    with open(fm / "o", "rb", buffering=0) as f:
        got = b"".join(f.read(128 * KIB) for _ in range(32))
        with open(fm / "o", "r+b", buffering=0) as w:
            w.truncate(size)
        assert len(fake.get("b", "o")) == size
        while more := f.read(128 * KIB):
            got += more
        assert got == data[:size]
    alive(fm, fake)


# --- the disk ----------------------------------------------------------------------------------------
def mounted(box, fake, *args):
    b = box.backend(args=args)
    return b, box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)


def test_cache_much_smaller_than_the_file(box, fake):
    data = noise(160 * MIB)
    fake.put("b", "o", data)
    b, m = mounted(box, fake, "--cache-size", "16M")
    with open(m / "o", "rb", buffering=0) as f:
        for at in range(0, len(data), MIB):
            assert f.read(MIB) == data[at:at + MIB], at
    assert fetched(fake) < len(data) + 32 * MIB
    used = sum(os.stat(p).st_blocks * 512 for p in objects(b))
    assert used <= 17 * MIB
    with open(m / "o", "rb", buffering=0) as f:  # and from behind, by leaps
        for at in range(len(data) - MIB, 0, -7 * MIB):
            assert os.pread(f.fileno(), MIB, at) == data[at:at + MIB], at


def objects(backend, end=".data"):
    return [os.path.join(root, name) for root, _, names in os.walk(backend.cache_dir) for name in names
            if name.endswith(end)]


def drop_pages(m):
    """Of the mount: by a new one, as the kernel's cache would answer."""
    m.unmount()
    m.wait_end()
    return m.start()


def reboot(backend):
    """Sidecars of another boot: what lies in the cache must be verified before it is used."""
    for path in objects(backend, ".side"):
        with open(path, "r+b") as f:
            f.seek(24)
            f.write(b"another boot ID.")


def kept(box, fake):
    """Backend and mount are gone, and the object "o" lies in the cache."""
    data = noise(9 * MIB + 77)
    fake.put("b", "o", data)
    b, m = mounted(box, fake)
    assert m.read("o") == data
    m.unmount()
    m.wait_end()
    b.stop()
    return b, m, data


def test_damage_is_found_after_a_reboot(box, fake):
    b, m, data = kept(box, fake)
    reboot(b)
    (path,) = objects(b)
    with open(path, "r+b") as f:
        for at in (5, 3 * MIB, len(data) - 1):
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 1]))
    fake.forget_log()
    b.start()
    m.start()
    assert m.read("o") == data
    assert fetched(fake) == 2 * BLOCK + len(data) % BLOCK, "the three damaged blocks, and no other"


@pytest.mark.parametrize("end", [".data", ".side"])
@pytest.mark.parametrize("size", [0, 5000, 5 * MIB])
def test_files_cut_while_the_backend_is_away(box, fake, end, size):
    b, m, data = kept(box, fake)
    for path in objects(b, end):
        os.truncate(path, size)
    b.start()
    m.start()
    assert m.read("o") == data


def test_a_data_file_cut_under_a_reader(box, fake):
    """Somebody plays with the cache: an error or the right bytes, never zeros or a short file."""
    data = noise(9 * MIB + 77)
    fake.put("b", "o", data)
    b, m = mounted(box, fake)
    m = drop_pages(m)
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(MIB) == data[:MIB]
        time.sleep(0.5)
        for path in objects(b):
            os.truncate(path, 4 * MIB)
        got = bytearray(data[:MIB])
        try:
            while len(got) < len(data):
                more = f.read(MIB)
                assert more, "a short file that looks whole"
                got += more
        except OSError as e:
            assert e.errno == errno.EIO
        assert got == data[:len(got)]
    m = drop_pages(m)
    assert m.read("o") == data, "opened anew, the file is made anew"


@pytest.mark.parametrize("what", ["objects", "all"])
def test_the_cache_directory_is_deleted(box, fake, what):
    data = noise(3 * MIB)
    fake.put("b", "o", data)
    fake.put("b", "p", data)
    b, m = mounted(box, fake)
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(MIB) == data[:MIB]
        shutil.rmtree(b.cache_dir if what == "all" else os.path.join(b.cache_dir, "objects"))
        assert f.read() + f.read() == data[MIB:], "what is open goes on"
    box.watch.expect("cache")
    assert m.read("p") == data
    assert m.read("o") == data


def test_the_cache_disk_is_full_of_others(box, fake):
    """What cannot be kept can be read all the same, or says so; and works again when there is room."""
    data = noise(6 * MIB)
    for name in "op":
        fake.put("b", name, data)
    disk = box.mkdir("cache-p")
    box.sh("mount -t tmpfs -o size=8M,mode=700 none " + disk)
    box.cleanups.append(lambda: box.sh("umount -l " + disk))
    b, m = mounted(box, fake)
    assert m.read("o") == data
    box.watch.expect("No space", "ENOSPC")
    with open(os.path.join(disk, "other"), "wb") as other:
        try:
            other.write(bytes(7 * MIB))
        except OSError:
            pass
        try:
            assert m.read("p") == data
        except OSError as e:
            assert e.errno == errno.ENOSPC
        assert m.ls() == ["o", "p"]
    os.unlink(os.path.join(disk, "other"))
    assert m.read("p") == data and m.read("o") == data


def test_killed_while_a_large_file_is_read(box, fake):
    data = noise(48 * MIB)
    fake.put("b", "o", data)
    b, m = mounted(box, fake)
    got = bytearray()
    with open(m / "o", "rb", buffering=0) as f:
        for i in range(48):
            if i in (5, 20):
                b.restart()
            got += f.read(MIB)
    assert got == data
    assert fetched(fake) < len(data) + 40 * MIB


def test_a_file_of_half_a_mib_is_one_request(fm, fake):
    """Whatever pieces the kernel asks for: it cannot be replaced between two of them."""
    for n in (70000, 150064, 500000):
        fake.put("b", "o%d" % n, noise(n, n))
    fm.ls()
    for n in (70000, 150064, 500000):
        assert fm.read("o%d" % n) == noise(n, n)
        assert fake.count(op="get", key="o%d" % n) == 1, n
