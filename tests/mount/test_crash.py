# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""kill -9: of the backend under a mount it gives errors or waits, never wrong data, and the next request
after its restart works; of the daemon it gives ENOTCONN and leaves a mount point that can be unmounted."""
import errno
import os
import threading
import time

import pytest

from helpers import errno_of, noise
from s3server import S3Server, S3Store
from util import alive, mount_at, wait_until, zombies_of

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def pair(box, store):
    b = box.backend()
    return b, box.mount_store(store, "--socket", b.socket)


def test_next_request_after_restart_works(pair, store):
    b, m = pair
    m.write("f", b"before")
    b.restart()
    assert m.read("f") == b"before" and m.ls() == ["f"]
    m.write("g", b"after")
    assert store.get("g") == b"after"


def test_requests_wait_for_the_restart(pair, store):
    b, m = pair
    store.put("f", b"data")
    b.kill()
    got = []
    t = threading.Thread(target=lambda: got.append(m.read("f")))
    t.start()
    time.sleep(1)
    assert not got, "answered by nobody?"
    b.start()
    t.join(20)
    assert got == [b"data"]


def test_requests_end_after_timeo(box, store):
    b = box.backend()
    store.put("f", b"data")
    m = box.mount_store(store, "--socket", b.socket, "-o", "timeo=2")
    b.kill()
    start = time.monotonic()
    assert errno_of(open, m / "f", "rb") in (errno.EIO, errno.ETIMEDOUT)
    assert 1 < time.monotonic() - start < 10
    b.start()
    wait_until("the mount to work again", lambda: m.read("f") == b"data", 10)


def test_read_handles_go_on(pair, store):
    b, m = pair
    data = noise(20 << 20)
    store.put("o", data)
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(1000) == data[:1000]
        b.restart()
        assert f.read(1000) == data[1000:2000]
        f.seek(15 << 20)
        assert f.read(100) == data[15 << 20:(15 << 20) + 100]


def test_what_was_removed_stays_removed(pair, store):
    b, m = pair
    store.put("d/x", b"1")
    store.put("d/y", b"2")
    os.mkdir(m / "d/e")
    assert m.ls("d") == ["e", "x", "y"]
    os.unlink(m / "d/x")
    os.rmdir(m / "d/e")
    b.restart()
    assert m.ls("d") == ["y"]


def test_read_handle_on_a_replaced_object_is_stale(pair, store):
    b, m = pair
    store.put("o", noise(20 << 20, 1))
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(10)
        b.kill()
        store.put("o", noise(20 << 20, 2))
        b.start()
        try:
            # What the daemon holds by descriptor may still be served; it is the old version, whole.
            assert os.pread(f.fileno(), 100, 15 << 20) == noise(20 << 20, 1)[15 << 20:(15 << 20) + 100]
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.EIO)


def test_unsaved_data_is_an_error_until_close(pair, store):
    b, m = pair
    store.put("f", b"old")
    fd = os.open(m / "f", os.O_RDWR)
    os.write(fd, b"unsaved!")
    b.restart()
    assert errno_of(os.write, fd, b"more") == errno.EIO
    assert errno_of(os.fsync, fd) == errno.EIO
    assert errno_of(os.close, fd) == errno.EIO, "close must not say that all is well"
    assert store.get("f") == b"old" and m.read("f") == b"old"
    m.write("f", b"new")
    assert store.get("f") == b"new"


def test_saved_data_is_there(pair, store):
    b, m = pair
    with open(m / "f", "wb") as f:
        f.write(b"saved")
        f.flush()
        os.fsync(f.fileno())
        b.restart()
        try:
            f.close()
        except OSError as e:
            assert e.errno == errno.EIO
    assert store.get("f") == b"saved" and m.read("f") == b"saved"


def test_readers_never_get_wrong_data(box, pair, store):
    """The backend is killed again and again under readers, writers and a lister."""
    b, m = pair
    data = {"o%d" % i: noise((1 << 20) + i, i) for i in range(6)}
    for name, d in data.items():
        store.put(name, d)
    wrong, reads, stop = [], [0], threading.Event()

    def reader(seed):
        i = seed
        while not stop.is_set():
            name = "o%d" % (i % 6)
            i += 1
            try:
                if m.read(name) != data[name]:
                    wrong.append(name)
                reads[0] += 1
            except OSError:
                pass

    def writer():
        i = 0
        while not stop.is_set():
            try:
                m.write("w%d" % (i % 3), b"%d" % i * 1000)
                i += 1
                got = m.read("w%d" % ((i - 1) % 3))
                if got != b"%d" % (i - 1) * 1000:
                    wrong.append("w after close: %r" % got[:20])
            except OSError:
                i += 1

    threads = [threading.Thread(target=reader, args=(0,)), threading.Thread(target=reader, args=(3,)),
               threading.Thread(target=writer)]
    with box.limit(120):
        for t in threads:
            t.start()
        for _ in range(6):
            time.sleep(0.7)
            b.restart()
        time.sleep(1)
        stop.set()
        for t in threads:
            t.join()
    assert not wrong, wrong
    assert reads[0] > 20
    assert m.read("o1") == data["o1"]


def test_private_backend_comes_back_with_its_keys(box, store):
    """The keeper starts it again and attaches with keys from its locked memory."""
    m = box.mount_store(store, daemon=True)
    m.write("f", b"before")
    old, = box.private_backends()
    os.kill(old, 9)
    assert m.read("f") == b"before"
    m.write("g", b"after")
    assert store.get("g") == b"after"
    new, = box.private_backends()
    assert new != old


def test_dead_private_backends_leave_no_zombies(box, file_store):
    """The keeper started them, so it must wait for each, also for one that was slower to end than its
    successor was to start."""
    m = box.mount_store(file_store, daemon=True)
    m.write("f", b"x")
    for sig in [9, 15] * 4:
        pid, = box.private_backends()
        os.kill(pid, sig)
        assert m.read("f") == b"x"
    assert len(m.pids()) > 1, "no keeper?"
    wait_until("the dead backends to be waited for",
               lambda: not [c for pid in m.pids() for c in zombies_of(pid)], 5)


def test_daemon_killed_is_enotconn(box, store):
    m = box.mount_store(store, daemon=True)
    m.write("f", b"x")
    m.kill()
    wait_until("ENOTCONN", lambda: errno_of(os.stat, m / "f") == errno.ENOTCONN, 10)
    time.sleep(0.5)
    assert mount_at(m.at), "without auto-unmount the mount stays, an empty directory would be a lie"
    m.unmount()
    wait_until("the processes of the mount to end", lambda: not m.pids(), 15)
    m2 = box.mount_store(store, daemon=True)
    assert m2.read("f") == b"x"


def test_daemon_killed_with_auto_unmount(box, store):
    m = box.mount_store(store, "--auto-unmount", daemon=True)
    m.write("f", b"x")
    m.kill()
    wait_until("the mount to go", lambda: not mount_at(m.at), 15)
    wait_until("the processes of the mount to end", lambda: not m.pids(), 15)


def test_daemon_terminated_unmounts(box, store):
    m = box.mount_store(store)
    m.write("f", b"x")
    os.kill(m.proc.pid, 15)
    wait_until("the mount to go", lambda: not mount_at(m.at), 15)
    m.wait_end()
    assert store.get("f") == b"x"


def test_umount_of_a_busy_mount_is_refused(box, store):
    m = box.mount_store(store)
    with open(m / "f", "wb") as f:
        f.write(b"x")
        assert m.unmount(check=False).returncode != 0
    assert m.read("f") == b"x"
    m.unmount()
    m.wait_end()
    assert store.get("f") == b"x"


def test_crashed_spool_is_not_taken_for_data(pair, store):
    """What a killed backend had not uploaded is kept aside, never shown as the object."""
    b, m = pair
    store.put("f", b"old")
    with open(m / "f", "r+b", buffering=0) as f:
        f.write(noise(3 << 20))
        b.restart()
        with pytest.raises(OSError):
            f.write(b"x")
        with pytest.raises(OSError):
            os.fsync(f.fileno())
        try:
            f.close()
        except OSError:
            pass
    assert m.read("f") == b"old"


def lists(m):
    try:
        return m.ls("d") == ["g"]
    except OSError:
        return False


def test_server_gone_and_back(box, root_dir):
    """The S3 server is killed and started again: errors meanwhile, no remount needed."""
    server = S3Server("versitygw", box.mkdir("own-server"))
    box.cleanups.append(server.stop)
    store = S3Store(server, "bucket1")
    store.put("f", b"data")
    store.put("d/g", b"x")
    m = box.mount_store(store, "--attr-ttl", "1")
    box.watch.expect("connect", "EIO", "retr", "endpoint", "store")
    assert m.read("f") == b"data"
    server.kill()
    time.sleep(1.2)
    with box.limit(100):
        assert errno_of(m.ls, "d") in (errno.EIO, errno.ETIMEDOUT, errno.EHOSTUNREACH)
        server.start()
        wait_until("the listing", lambda: lists(m), 30)
    m.write("new", b"y")
    assert store.get("new") == b"y"


def test_backend_ends_when_idle(box, file_store):
    """Nobody connected: a private backend goes after its time, not before."""
    m = box.mount_store(file_store, daemon=True)
    pid, = box.private_backends()
    m.unmount()
    time.sleep(3)
    assert alive(pid), "it stays a minute for the next mount"
    m = box.mount_store(file_store, daemon=True)
    assert box.private_backends() == [pid]


@pytest.mark.slow
def test_backend_really_ends_when_idle(box, file_store):
    m = box.mount_store(file_store, daemon=True)
    pid, = box.private_backends()
    m.unmount()
    wait_until("the idle backend to end", lambda: not alive(pid), 80)
