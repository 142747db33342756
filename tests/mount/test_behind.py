# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What a reader streamed through leaves the kernel's cache behind him, once; what is wanted again stays."""
import mmap
import random
import threading

import pytest

from helpers import noise
from util import run, wait_until

MIB = 1 << 20
SIZE = 64 * MIB
MOST = 32 * MIB  # what may stay of a file read once: the lag, a step, the last requests
DATA = noise(SIZE)


def resident(m):
    return int(run(["fincore", "-b", "-n", "-o", "RES", str(m / "f")]).stdout)


def stream(m, piece=MIB):
    with open(m / "f", "rb", buffering=0) as f:
        for at in range(0, SIZE, piece):
            assert f.read(piece) == DATA[at:at + piece]


@pytest.fixture
def far(box, file_store):
    file_store.put("f", DATA)
    return box.mount_store(file_store)


def test_the_first_reader_leaves_little_behind(far):
    stream(far)
    wait_until("the kernel to forget what was read", lambda: resident(far) <= MOST)
    assert far.read("f") == DATA


@pytest.mark.parametrize("piece", [4096, 128 << 10, SIZE])
def test_what_is_read_again_stays(far, piece):
    stream(far, piece)
    wait_until("the kernel to forget what was read", lambda: resident(far) <= MOST)
    stream(far, piece)
    assert resident(far) >= SIZE - MOST
    stream(far, piece)
    assert resident(far) >= SIZE - 2 * MIB


def test_what_is_read_here_and_there_stays(far):
    rand = random.Random(11)
    places = [rand.randrange(SIZE // MIB) * MIB for _ in range(40)]
    with open(far / "f", "rb", buffering=0) as f:
        for at in places:
            f.seek(at)
            assert f.read(65536) == DATA[at:at + 65536]
    assert resident(far) >= len(set(places)) * 65536


def test_mapped_and_read_at_once(far):
    """A page that is mapped is taken away and comes back."""
    with open(far / "f", "rb") as f, mmap.mmap(f.fileno(), SIZE, prot=mmap.PROT_READ) as m:
        readers = [threading.Thread(target=stream, args=(far, piece)) for piece in (MIB, 65536)]
        for t in readers:
            t.start()
        for _ in range(3):
            assert m[:] == DATA
        for t in readers:
            t.join()
        assert m[:] == DATA
    assert resident(far) >= SIZE - 2 * MIB
