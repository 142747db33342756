# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Reads that are under way when the store, its name, the reader or the backend goes: they go on when it comes
back, end with an error when it does not, and end at once for whoever does not want to wait."""
import errno
import os
import signal
import subprocess
import threading
import time

import pytest

from faulty import alive
from helpers import noise
from util import wait_until, with_own_mounts

KIB, MIB = 1 << 10, 1 << 20


class Reader(threading.Thread):
    """One read; result: the bytes or the errno."""

    def __init__(self, call, *args):
        super().__init__(daemon=True)
        self.call, self.args, self.result = call, args, None
        self.start()

    def run(self):
        try:
            self.result = self.call(*self.args)
        except OSError as e:
            self.result = e.errno


# --- the name --------------------------------------------------------------------------------------------
class Names:
    """What names mean to one backend: its own files over those in /etc, in a mount namespace of its own."""
    NAME = "store.hafiz.test"

    def __init__(self, box):
        self.hosts = box.path("hosts")
        files = {"hosts": "", "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
                 "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n"}
        for name, text in files.items():
            with open(box.path(name), "w", encoding="ascii") as f:
                f.write(text)
        self.known()
        over = " && ".join("mount --bind %s /etc/%s" % (box.path(name), name) for name in files)
        self.wrap = with_own_mounts(over + ' && exec "$@"')

    def known(self, yes=True):
        # The same file: that is what is mounted.
        with open(self.hosts, "w", encoding="ascii") as f:
            f.write("127.0.0.1 localhost\n" + ("127.0.0.1 %s\n" % self.NAME if yes else ""))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_name_is_gone_for_a_while(box, need_root, fake):
    """It takes a minute until libcurl asks again what a name means."""
    names = Names(box)
    data = noise(6 * MIB)
    fake.put("b", "o", data)
    fake.put("b", "d/x", b"there")
    fake.on().header("Connection", "close")
    b = box.backend(wrap=names.wrap)
    box.watch.expect("resolve", "retr", "store", "EIO")
    m = box.mount("s3://b", "--socket", b.socket, "--attr-ttl", "1", "--endpoint",
                  "http://%s:%d" % (names.NAME, fake.port), env=fake.mount_env)
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(100) == data[:100]
        names.known(False)
        time.sleep(62)
        asked = fake.count()
        with box.limit(200):
            given_up = [Reader(os.pread, f.fileno(), 1000, 4 * MIB), Reader(m.ls, "d")]
            time.sleep(5)
            assert not [r for r in given_up if r.result is not None], "given up at once"
            # Twice 45 s: the kernel reads a page again, a name is looked for in another way.
            for r in given_up:
                r.join(110)
                assert r.result in (errno.EIO, errno.ETIMEDOUT)
            patient = Reader(os.pread, f.fileno(), 1000, 5 * MIB)
            time.sleep(4)
            assert patient.result is None and fake.count() == asked, "asked whom?"
            names.known()
            patient.join(40)
            assert patient.result == data[5 * MIB:5 * MIB + 1000]
            wait_until("the listing", lambda: m.ls("d") == ["x"], 30)
        assert b"".join(iter(lambda: f.read(MIB), b"")) == data[100:]


# --- many ------------------------------------------------------------------------------------------------
def test_readers_of_three_mounts_fetch_each_byte_once(box, fake):
    """64 of them begin at one moment with one cold object; the store is slow enough for all to meet."""
    data = noise(24 * MIB + 4321)
    fake.put("b", "o", data)
    fake.on(op="get", key="o").trickle(24 * MIB)
    b = box.backend()
    mounts = [box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
              for _ in range(3)]
    gate = threading.Barrier(64)

    def whole(m):
        with open(m / "o", "rb", buffering=0) as f:
            gate.wait(20)
            return b"".join(iter(lambda: f.read(256 * KIB), b"")) == data

    readers = [Reader(whole, mounts[i % 3]) for i in range(64)]
    for r in readers:
        r.join(60)
    assert all(r.result is True for r in readers)
    asked = [r.headers["range"] for r in fake.requests(op="get", key="o")]
    ranges = sorted(tuple(map(int, text[len("bytes="):].split("-"))) for text in asked)
    assert ranges[0][0] == 0 and ranges[-1][1] == len(data) - 1
    assert all(a[1] + 1 == b[0] for a, b in zip(ranges, ranges[1:])), ranges


# --- the reader ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("at", [0, 300 * KIB + 7])
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL])
def test_a_stalled_reader_is_interrupted(box, fm, fake, at, sig):
    """Every range stops in its body, also those asked for again."""
    data = noise(6 * MIB)
    fake.put("b", "o", data)
    fm.ls()
    rule = fake.on(op="get", key="o").stall_at(at, 60)
    cat = subprocess.Popen(["cat", fm / "o"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until("a range that stalls", lambda: rule.used)
    time.sleep(1)
    assert cat.poll() is None
    begin = time.monotonic()
    cat.send_signal(sig)
    assert cat.wait(10) == -sig
    assert time.monotonic() - begin < 2.5
    fake.calm()
    with box.limit(60):
        assert fm.read("o") == data
        alive(fm, fake)


# --- the connection --------------------------------------------------------------------------------------
@pytest.mark.parametrize("at", [0, 1, 16 * KIB, 100 * KIB + 1, MIB])
def test_connections_break_all_the_time(fm, fake, at):
    """Nine times, each after so many bytes: what has come is kept, the rest is asked for."""
    data = noise(20 * MIB + 3)
    fake.put("b", "o", data)
    fm.ls()
    rule = fake.on(op="get", key="o", times=9).reset_at(at)
    assert fm.read("o") == data
    assert rule.used == 9
    alive(fm, fake)


# --- the backend -----------------------------------------------------------------------------------------
def test_killed_in_the_middle_of_a_read(box, fake):
    """The very call that waited is answered by the next backend, and so are those of another reader whose
    blocks were all there."""
    data = noise(20 * MIB)
    fake.put("b", "o", data)
    b = box.backend()
    m = box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
    with open(m / "o", "rb", buffering=0) as f:
        assert f.read(MIB) == data[:MIB]
        rule = fake.on(op="get", key="o").stall_at(100, 60)
        waits = Reader(os.pread, f.fileno(), 200 * KIB, 15 * MIB)
        wait_until("its range", lambda: rule.used)
        time.sleep(0.5)
        assert waits.result is None
        b.kill()
        fake.calm()
        assert os.pread(f.fileno(), 5000, 1000) == data[1000:6000], "what is there needs no backend"
        b.start()
        waits.join(30)
        assert waits.result == data[15 * MIB:15 * MIB + 200 * KIB]
        assert f.read(MIB) + b"".join(iter(lambda: f.read(MIB), b"")) == data[MIB:]


def test_killed_again_and_again_under_readers(box, fake):
    data = noise(32 * MIB + 1)
    fake.put("b", "o", data)
    fake.on(op="get", key="o").trickle(8 * MIB)
    b = box.backend()
    m = box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)

    def whole(step):
        with open(m / "o", "rb", buffering=0) as f:
            return b"".join(iter(lambda: f.read(step), b""))

    readers = [Reader(whole, step) for step in (64 * KIB, 100 * KIB + 1, MIB)]
    with box.limit(100):
        for _ in range(5):
            time.sleep(0.6)
            b.restart()
        for r in readers:
            r.join(60)
    assert all(r.result == data for r in readers)
    assert m.ls() == ["o"], "attached again, while there is a store"
