# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""cache=memory: what was read is in no file on a disk, stays within its bound, and is gone with its backend,
however that ends."""
import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import stat

import pytest

from helpers import disk_bytes, noise
from util import pss_kib, wait_until

MIB = 1 << 20
SHM = "/dev/shm"


@pytest.fixture
def user(users):
    """One whose directories below /dev/shm are of this test alone."""
    return users[2]


def places(user):
    prefix = "hafiz-%d-" % pwd.getpwnam(user).pw_uid
    return [os.path.join(SHM, name) for name in os.listdir(SHM) if name.startswith(prefix)]


@pytest.fixture(autouse=True)
def alone(users):
    """Other workers run these tests, too, and all look at one /dev/shm."""
    with open("/run/lock/hafiz-tests-memory", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for place in places(users[2]):  # of a run that was killed
            shutil.rmtree(place, ignore_errors=True)
        yield


def readable(box, store, names):
    for name, data in names.items():
        store.put(name, data)
    box.sh("chmod -R a+rX " + store.directory)


def small(box, store, user, *more):
    b = box.backend(args=("--cache", "memory", *more), user=user)
    m = box.mount_store(store, "--socket", b.socket, rw=False, user=user)
    return b, m


@pytest.fixture
def objects(box, file_store):
    data = {"o%d" % i: noise(12 * MIB + i, i) for i in range(4)}
    readable(box, file_store, data)
    return data


def read_as(box, m, user, name, want):
    got = box.sh("sha256sum < %s" % (m / name), user=user).stdout.split()[0]
    assert got == hashlib.sha256(want).hexdigest(), name


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_in_memory_and_gone_afterwards(box, file_store, objects, user, end):
    b, m = small(box, file_store, user)
    read_as(box, m, user, "o0", objects["o0"])
    place, = places(user)
    st = os.lstat(place)
    assert stat.S_IMODE(st.st_mode) == 0o700 and stat.S_ISDIR(st.st_mode)
    assert disk_bytes(place) > 12 * MIB and os.listdir(b.cache_dir) == []
    data, = [os.path.join(r, n) for r, _, names in os.walk(place) for n in names if n.endswith(".data")]
    os.unlink(os.path.join(file_store.directory, "o1"))
    m.unmount()
    m.wait_end()
    m.start()
    read_as(box, m, user, "o0", objects["o0"])
    if end == "stop":
        m.unmount()
        m.wait_end()
        b.stop()
        assert places(user) == []
        b.start()
        m.start()
    else:
        b.kill()
        assert places(user) == [place]
        b.start()
        assert place not in places(user) and len(places(user)) == 1
    assert not os.path.exists(data)
    read_as(box, m, user, "o0", objects["o0"])
    read_as(box, m, user, "o2", objects["o2"])
    m.unmount()
    m.wait_end()
    b.stop()
    assert places(user) == [] and os.listdir(b.cache_dir) == []


def test_a_reader_goes_on_when_the_backend_was_killed(box, file_store, objects):
    b = box.backend(args=("--cache", "memory"))
    m = box.mount_store(file_store, "--socket", b.socket)
    with open(m / "o0", "rb", buffering=0) as f:
        got = b""
        for i in range(12):
            if i in (3, 8):
                b.restart()
            got += f.read(MIB)
        assert got + f.read() == objects["o0"]
    with open(m / "new", "wb") as f:
        f.write(objects["o1"])
    assert m.read("new") == objects["o1"], "saved on disk, read from memory"


def test_the_bound_holds(box, file_store, objects, user):
    b, m = small(box, file_store, user, "--cache-size", "16M")
    place, = places(user)
    for _ in range(2):
        for name, data in objects.items():
            read_as(box, m, user, name, data)
            assert disk_bytes(place) <= 17 * MIB


def test_never_more_than_half_of_what_is_there(box, file_store, objects):
    with open("/proc/meminfo", encoding="ascii") as f:
        available = int(re.search(r"MemAvailable: *(\d+)", f.read())[1]) << 10
    b = box.backend(args=("--cache", "memory", "--cache-size", "900T"))
    m = box.mount_store(file_store, "--socket", b.socket)
    assert m.read("o0") == objects["o0"]
    said = json.loads(box.ctl("--socket", b.socket, "status", "--json").stdout)["cache"]
    assert said["dir"].startswith(SHM)
    assert 0.3 * available < said["size_bytes"] < 0.6 * available
    assert pss_kib(b.pid) < 400 << 10


def test_two_backends_of_one_user_leave_each_other_alone(box, file_store, objects, user):
    b, m = small(box, file_store, user)
    read_as(box, m, user, "o0", objects["o0"])
    before = places(user)
    other = box.backend(args=("--cache", "memory"), user=user, name="q")
    assert len(places(user)) == 2 and set(before) < set(places(user))
    assert disk_bytes(before[0]) > 12 * MIB
    other.kill()
    b.kill()
    b.start()
    assert len(places(user)) == 1, "what both left is gone"


def test_a_link_that_waits_there_is_not_followed(box, file_store, objects, user):
    """Anybody may make names in /dev/shm: only own closed directories are looked into."""
    mine = box.mkdir("mine", user, 0o700)
    with open(os.path.join(mine, "precious"), "w", encoding="ascii") as f:
        f.write("x")
    trap = "%s/hafiz-%d-trapped" % (SHM, pwd.getpwnam(user).pw_uid)
    os.symlink(mine, trap)
    box.cleanups.append(lambda: os.unlink(trap))
    b, m = small(box, file_store, user)
    assert os.listdir(mine) == ["precious"] and os.path.islink(trap)
    read_as(box, m, user, "o0", objects["o0"])


def test_a_private_backend(box, file_store, objects, user):
    """hafiz-mount -o cache=memory starts one; the keeper starts it again the same way."""
    m = box.mount_store(file_store, "-o", "cache=memory", rw=False, user=user, daemon=True)
    read_as(box, m, user, "o0", objects["o0"])
    assert len(places(user)) == 1
    pid, = box.private_backends()
    os.kill(pid, 9)
    read_as(box, m, user, "o1", objects["o1"])
    assert len(places(user)) == 1
    home = box.home(user)
    assert not [n for _, _, names in os.walk(home) for n in names if n.endswith(".data")]
    m.unmount()
    wait_until("the mount's processes to end", lambda: not m.pids())
    for pid in box.private_backends():
        os.kill(pid, 15)
    wait_until("nothing left", lambda: places(user) == [])


def test_words_that_are_not_understood(box, file_store):
    assert "disk or memory" in box.refused(file_store.source, "-o", "cache=tape")[1]
    assert "no directory" in box.refused(file_store.source, "--cache", "memory", "--data-dir", box.dir)[1]
