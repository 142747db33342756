# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Files the kernel reads by itself: read-only mounts of root, complete versions, and everything that can
become of the cache file below a reader. What the daemon moved is counted in /proc/PID/io."""
import json
import mmap
import os
import platform
import re
import signal
import subprocess
import time

import pytest

from helpers import noise
from util import kill, run, wait_until

MIB = 1 << 20
SIZE = 8 * MIB + 12345


def kernel_passes():
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", platform.release()).groups())) >= (6, 9)


pytestmark = pytest.mark.skipif(not kernel_passes(), reason="FUSE passthrough needs Linux 6.9")


def test_the_build_has_the_half_for_its_libfuse():
    """By libfuse's own words from 3.17 on, by hand before; tests/run says which it means to test."""
    version = run(["pkg-config", "--modversion", "fuse3"]).stdout
    half = "lib" if tuple(map(int, version.split(".")[:2])) >= (3, 17) else "hand"
    library = os.path.join(os.environ["HAFIZ_BUILD"], "fused", "libfused.a")
    halves = re.findall(r"\bpass-(lib|hand)\.c\.o$", run(["ar", "t", library]).stdout, re.M)
    assert halves == [half]
    assert os.environ.get("HAFIZ_TEST_PASS", half) == half


def moved(m):
    """Bytes the mount's daemon read and wrote until now, by any descriptor."""
    total = 0
    for pid in m.fuse_pids():
        with open("/proc/%d/io" % pid, encoding="ascii") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith(("rchar", "wchar")))
    return total


def passed(m, name, data):
    """Was that read without the daemon?"""
    before = moved(m)
    assert m.read(name) == data
    cost = moved(m) - before
    assert cost < 100000 or cost > len(data) // 2, "neither nor: %d bytes" % cost
    return cost < 100000


def settled():
    """RELEASE is sent after close, by and by."""
    time.sleep(0.3)


@pytest.fixture
def ro(box, store, need_root):
    backend = box.backend()
    m = box.mount_store(store, "--socket", backend.socket, rw=False)
    m.backend = backend
    return m


@pytest.fixture
def fro(box, file_store, need_root):
    backend = box.backend(config="[s3proxyd]\ncache_size = 64M\nmin_free = 0\n")
    m = box.mount_store(file_store, "--socket", backend.socket, rw=False)
    m.backend, m.store = backend, file_store
    return m


def warm(m, name, data):
    assert m.read(name) == data
    settled()


def test_a_complete_file_is_read_without_the_daemon(ro, store):
    data = noise(SIZE)
    store.put("f", data)
    warm(ro, "f", data)
    for _ in range(3):
        assert passed(ro, "f", data)
        settled()
    with open(ro / "f", "rb") as f:
        for at in (0, 1, 16383, 16384, SIZE - 1, SIZE, SIZE + 5):
            f.seek(at)
            assert f.read(100000) == data[at:at + 100000]
        assert os.fstat(f.fileno()).st_size == SIZE


def test_status_says_what_is_passed(fro):
    data = noise(SIZE)
    fro.store.put("f", data)
    warm(fro, "f", data)
    status = ["--socket", fro.backend.socket, "status"]
    assert "passthrough" not in fro.box.ctl(*status).stdout
    assert passed(fro, "f", data)
    assert "passthrough" in fro.box.ctl(*status).stdout
    assert SIZE <= json.loads(fro.box.ctl(*status, "--json").stdout)["cache"]["passed_bytes"] <= SIZE + MIB


def test_two_mounts_share(box, ro, store):
    data = noise(SIZE)
    store.put("f", data)
    warm(ro, "f", data)
    other = box.mount_store(store, "--socket", ro.backend.socket, rw=False)
    assert passed(other, "f", data) and passed(ro, "f", data)
    with open(ro / "f", "rb") as a, open(other / "f", "rb") as b:
        assert a.read() == b.read() == data


def test_option_off_and_other_mounts_read_as_before(box, fro, users):
    data = noise(SIZE)
    fro.store.put("f", data)
    warm(fro, "f", data)
    assert passed(fro, "f", data)
    socket = ["--socket", fro.backend.socket]
    off = box.mount_store(fro.store, *socket, "-o", "passthrough=off", rw=False)
    direct = box.mount_store(fro.store, *socket, "--direct-io", rw=False)
    rw = box.mount_store(fro.store, *socket)
    for m in off, direct, rw:
        assert not passed(m, "f", data)
        assert len(m.fuse_pids()) == 1, "no broker there"
    assert len(fro.fuse_pids()) == 2


def test_an_ordinary_users_mount_reads_as_before(box, file_store, users):
    data = noise(SIZE)
    file_store.put("f", data)
    os.chmod(file_store.directory, 0o755)
    m = box.mount(file_store.source, user=users[0], daemon=True)
    for _ in range(2):
        assert box.sh("cmp %s/f %s/f && echo same" % (m.at, file_store.directory),
                      user=users[0]).stdout == "same\n"
        settled()
    assert len(m.fuse_pids()) == 1


def test_mixed_opens_follow_the_first(fro):
    """The kernel refuses an open that does not go the way of those that live."""
    data = noise(SIZE)
    fro.store.put("f", data)
    with open(fro / "f", "rb") as first:  # not complete: not passed
        assert first.read() == data
        with open(fro / "f", "rb") as second:  # it would be, but the first one is not
            assert second.read() == data
        assert fro.read("f") == data
    settled()
    with open(fro / "f", "rb") as first:
        assert passed(fro, "f", data)
        with open(fro / "f", "rb") as second:
            assert first.read() == second.read() == data
    settled()
    for i in range(200):  # opens and closes that overtake each other
        with open(fro / "f", "rb") as f:
            assert f.read(10) == data[:10]
        if i % 7 == 0:
            os.stat(fro / "f")


def test_many_open_and_close_at_once(box, fro):
    for i in range(4):
        fro.store.put("f%d" % i, noise(300000, i))
    box.sh("cat %s/f? > /dev/null" % fro.at)
    script = "for i in $(seq 60); do cmp %s/f$((i %% 4)) %s/f$((i %% 4)) || exit 1; done" % (
        fro.at, fro.store.directory)
    crowd = [subprocess.Popen(["bash", "-c", script]) for _ in range(6)]
    assert [p.wait(60) for p in crowd] == [0] * 6


def cache_files(backend):
    return [os.path.join(d, n) for d, _, names in os.walk(backend.cache_dir) for n in names
            if n.endswith(".data")]


def press(fro):
    """Much more than the cache holds, each time other files."""
    for i in range(20):
        fro.pressed = getattr(fro, "pressed", 0) + 1
        name = "p%d" % fro.pressed
        data = noise(8 * MIB, 1000 + i)
        fro.store.put(name, data)
        assert fro.read(name) == data
        fro.store.delete(name)


def test_mapped_after_close_survives_eviction(fro):
    data = noise(SIZE)
    fro.store.put("f", data)
    warm(fro, "f", data)
    fd = os.open(fro / "f", os.O_RDONLY)
    mapping = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    os.close(fd)
    settled()
    press(fro)
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("1")
    assert mapping[:] == data
    used = int(run(["du", "-s", "--block-size=1", fro.backend.cache_dir]).stdout.split()[0])
    assert used <= 64 * MIB + MIB
    mapping.close()
    press(fro)
    assert not any(os.path.getsize(p) == SIZE for p in cache_files(fro.backend)), "free again"


def test_open_survives_eviction(fro):
    data = noise(SIZE)
    fro.store.put("f", data)
    warm(fro, "f", data)
    with open(fro / "f", "rb") as f:
        press(fro)
        assert f.read() == data


def test_backend_killed_while_files_are_passed(fro):
    data = noise(SIZE)
    fro.store.put("f", data)
    warm(fro, "f", data)
    with open(fro / "f", "rb") as f, open(fro / "f", "rb") as g:
        mapping = mmap.mmap(g.fileno(), 0, prot=mmap.PROT_READ)
        g.close()
        assert f.read(MIB) == data[:MIB]
        fro.backend.kill()
        assert f.read(MIB) == data[MIB:2 * MIB], "nobody but the kernel is needed"
        fro.backend.start()
        press(fro)
        assert f.read() == data[2 * MIB:]
        assert mapping[:] == data
        assert passed(fro, "f", data)
    press(fro)
    assert mapping[:] == data


def test_daemon_killed_leaves_errors_not_hangs(fro):
    data = noise(SIZE)
    fro.store.put("f", data)
    warm(fro, "f", data)
    with open(fro / "f", "rb") as f:
        assert f.read(10) == data[:10]
        fro.box.watch.expect("the daemon of .* ended by signal")
        fro.killed = True
        daemon = max(fro.fuse_pids(), key=lambda p: len(os.listdir("/proc/%d/fd" % p)))
        kill(daemon, signal.SIGKILL)
        wait_until("the broker to go", lambda: not fro.fuse_pids(), timeout=10)
        with pytest.raises(OSError):
            os.stat(fro / "f2")


def test_broker_killed_means_reading_as_before(fro):
    data, more = noise(SIZE), noise(SIZE, 2)
    fro.store.put("f", data)
    fro.store.put("g", more)
    warm(fro, "f", data)
    warm(fro, "g", more)
    with open(fro / "f", "rb") as f:
        fro.box.watch.expect("no file is passed to the kernel")
        broker = min(fro.fuse_pids(), key=lambda p: len(os.listdir("/proc/%d/fd" % p)))
        kill(broker, signal.SIGKILL)
        wait_until("the broker to go", lambda: len(fro.fuse_pids()) == 1, timeout=10)
        assert fro.read("g") == more
        assert f.read() == data
    settled()
    assert not passed(fro, "f", data)


def test_another_mount_changes_what_is_passed(box, fro):
    """The open handle keeps its version; who opens now reads the new one, whoever else has it open."""
    data, new = noise(SIZE), noise(SIZE, 2)
    fro.store.put("f", data)
    warm(fro, "f", data)
    rw = box.mount_store(fro.store, "--socket", fro.backend.socket)
    with open(fro / "f", "rb") as f:
        assert f.read(MIB) == data[:MIB]
        rw.write("f", new)
        wait_until("the new data", lambda: fro.read("f") == new, timeout=5)
        assert f.read() == data[MIB:]
        for _ in range(3):
            assert fro.read("f") == new
    settled()
    warm(fro, "f", new)
    assert fro.read("f") == new


def test_replaced_and_deleted_behind_our_back(fro):
    data, new = noise(SIZE), noise(SIZE - 5, 2)
    fro.store.put("f", data)
    warm(fro, "f", data)
    with open(fro / "f", "rb") as f:
        fro.store.put("f", new)
        fro.box.ctl("--socket", fro.backend.socket, "refresh", str(fro / "f"))
        wait_until("the new data", lambda: fro.read("f") == new, timeout=40)
        assert f.read() == data
        fro.store.delete("f")
        f.seek(0)
        assert f.read() == data


def test_programs_run_from_it(fro):
    with open("/bin/true", "rb") as f:
        program = f.read() + b"\0" * 100000
    fro.store.put("prog", program)
    warm(fro, "prog", program)
    with open(fro / "prog", "rb") as f:
        assert f.read() == program
    m = fro.box.mount_store(fro.store, "--socket", fro.backend.socket, "--file-mode", "0755", rw=False)
    assert run([str(m / "prog")]).returncode == 0


def test_a_registered_file_cannot_be_written(box, fro):
    """The daemon is taken over and mounts what it likes: the broker's registration is for reading."""
    data = noise(SIZE)
    fro.store.put("f", data)
    warm(fro, "f", data)
    assert passed(fro, "f", data)
    target, = [p for p in cache_files(fro.backend) if os.path.getsize(p) == SIZE]
    at = box.path("harm")
    with open(at, "wb"):
        pass
    program = os.path.join(os.environ["HAFIZ_BUILD"], "tests/mount/broker-write")
    out = run([program, target, at], timeout=30).stdout
    assert out.splitlines() == ["register 0", "read 4096", "write -5", "truncate -5"]
    with open(target, "rb") as f:
        assert f.read() == data


def test_the_broker_has_one_capability(fro):
    caps = []
    # The keeper has it, too, until both are there.
    wait_until("daemon and broker", lambda: len(set(fro.fuse_pids()) - {fro.proc.pid}) == 2)
    for pid in set(fro.fuse_pids()) - {fro.proc.pid}:
        with open("/proc/%d/status" % pid, encoding="ascii") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        caps.append(int(status["CapPrm"], 16))
        assert status["Uid"].split()[0] == "65534" and status["NoNewPrivs"] == "1"
        assert int(status["CapBnd"], 16) in (0, 1 << 21)
        if not fro.box.programs.sanitized:
            assert status["Seccomp"] == "2"
    assert sorted(caps) == [0, 1 << 21]
