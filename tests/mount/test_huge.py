# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Files far larger than the cache, and than any disk: what is read is right, the cache keeps its bound,
and neither memory nor disk grows with the size of the object."""
import os
import random
import subprocess
import threading

import pytest

from helpers import disk_bytes, noise
from util import pss_kib

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
BLOCK = 16 * KIB
SIZE = 5 * TIB
# A stream nobody can compress, made as fast as it is read.
STREAM = "openssl enc -aes-128-ctr -nosalt -K 00112233445566778899aabbccddeeff -iv %032d -in /dev/zero " \
         "2>/dev/null | head -c %d > %s"


@pytest.fixture
def huge(box, file_store):
    """An object of 5 TiB, the most S3 has, with a few bytes in it: [(offset, bytes)]."""
    marks = [(at, noise(5000, at & 0xffff)) for at in
             (0, SIZE // 2 - 2500, SIZE // 2 + 10 * GIB + 1, 4 * TIB - 1, SIZE - 5000)]
    path = os.path.join(file_store.directory, "huge")
    with open(path, "wb") as f:
        try:
            f.truncate(SIZE)
        except OSError:
            pytest.skip("no file of 5 TiB can be made here")
        for at, data in marks:
            f.seek(at)
            f.write(data)
    file_store.put("small", noise(3 * MIB))
    return marks


def test_five_tib(box, file_store, huge):
    """Also with a cache that could not hold a checksum for each of its blocks (1.3 GiB)."""
    b = box.backend(args=("--cache-size", "64M"))
    m = box.mount_store(file_store, "--socket", b.socket)
    assert m.read("small") == noise(3 * MIB)
    before = pss_kib(b.pid) + sum(pss_kib(p) for p in m.pids())
    assert os.stat(m / "huge").st_size == SIZE
    with open(m / "huge", "rb", buffering=0) as f:
        for at, data in huge:
            assert os.pread(f.fileno(), len(data), at) == data, at
            edge = os.pread(f.fileno(), 100 + len(data), max(0, at - 100))
            assert edge.strip(b"\0") == data.strip(b"\0")
        assert os.pread(f.fileno(), 100, SIZE - 50) == huge[-1][1][-50:]
        assert os.pread(f.fileno(), 100, SIZE) == b"" == os.pread(f.fileno(), 1, SIZE + GIB)
        f.seek(SIZE - 70 * MIB)  # as a stream, with all that is read ahead, up to the end
        rest = b"".join(iter(lambda: f.read(MIB), b""))
        assert len(rest) == 70 * MIB and rest[-5000:] == huge[-1][1] and not rest[:-5000].strip(b"\0")
        assert disk_bytes(b.cache_dir) < 66 * MIB
        after = pss_kib(b.pid) + sum(pss_kib(p) for p in m.pids())
    assert after < before + 64 * KIB, "%d KiB more memory" % (after - before)
    assert m.read("small") == noise(3 * MIB)


def test_five_tib_survive_a_restart(box, file_store, huge):
    b = box.backend(args=("--cache-size", "64M"))
    m = box.mount_store(file_store, "--socket", b.socket)
    for restart in (b.restart, lambda: (b.stop(), b.start())):
        with open(m / "huge", "rb", buffering=0) as f:
            assert all(os.pread(f.fileno(), len(data), at) == data for at, data in huge)
            restart()
            assert all(os.pread(f.fileno(), len(data), at) == data for at, data in huge)
        assert disk_bytes(b.cache_dir) < 66 * MIB


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_gib_through_a_cache_of_64_mib(box, file_store):
    path = os.path.join(file_store.directory, "big")
    box.sh(STREAM % (1, GIB, path))
    b = box.backend(args=("--cache-size", "64M"))
    m = box.mount_store(file_store, "--socket", b.socket)
    top, stop = [0], threading.Event()

    def look():
        while not stop.wait(0.1):
            top[0] = max(top[0], disk_bytes(b.cache_dir))

    looker = threading.Thread(target=look)
    looker.start()
    subprocess.run(["cmp", path, m / "big"], check=True, timeout=300)
    box.sh("echo 1 > /proc/sys/vm/drop_caches", check=False)
    with open(path, "rb", buffering=0) as want, open(m / "big", "rb", buffering=0) as got:
        where = random.Random(5)
        for _ in range(1500):
            at, n = where.randrange(GIB), where.choice((1, 4096, BLOCK + 1, 200 * KIB))
            assert os.pread(got.fileno(), n, at) == os.pread(want.fileno(), n, at), (at, n)
    stop.set()
    looker.join()
    assert MIB < top[0] <= 65 * MIB, "%.1f MiB of 64" % (top[0] / MIB)
