# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A store that says nothing must not take the mount with it: an interrupted cat returns, and everything
else on the mount goes on meanwhile."""
import os
import signal
import subprocess
import time

import pytest

from helpers import noise
from util import wait_until


@pytest.fixture
def silent(box, fake):
    fake.put("b", "big", noise(4 << 20))
    fake.put("b", "d/other", b"fine")
    fake.put("b", "small", b"tiny")
    b = box.backend()
    m = box.mount("s3://b", "--rw", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
    return m, fake


def start_cat(m, fake, name="big", count=1):
    cats = [subprocess.Popen(["cat", str(m / name)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL) for _ in range(count)]
    wait_until("the GET to reach the store", lambda: fake.count(op="get", key=name) > 0)
    time.sleep(0.3)
    assert all(c.poll() is None for c in cats), "cat is over before it was interrupted"
    return cats


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_cat_returns(box, silent, sig):
    m, fake = silent
    fake.on("GET", op="get", key="big").silence(12)
    cat, = start_cat(m, fake)
    start = time.monotonic()
    cat.send_signal(sig)
    assert cat.wait(10) == -sig
    assert time.monotonic() - start < 2
    assert m.ls() == ["big", "d", "small"]
    fake.calm()
    with box.limit(40):
        assert m.read("big") == noise(4 << 20)


def test_ls_and_small_reads_work_meanwhile(box, silent):
    m, fake = silent
    fake.on("GET", op="get", key="big").silence()
    # More stuck readers than any number of workers the daemon may have.
    cats = start_cat(m, fake, count=24)
    try:
        with box.limit(15):
            start = time.monotonic()
            assert m.ls() == ["big", "d", "small"] and m.ls("d") == ["other"]
            assert m.read("d/other") == b"fine" and m.read("small") == b"tiny"
            m.write("new", b"written meanwhile")
            os.unlink(m / "new")
            assert time.monotonic() - start < 5
            assert (m / "big").stat().st_size == 4 << 20
    finally:
        for c in cats:
            c.send_signal(signal.SIGINT)
        for c in cats:
            assert c.wait(10) == -signal.SIGINT


def test_interrupted_ls_on_a_silent_listing(box, silent):
    m, fake = silent
    fake.put("b", "e/x", b"")
    fake.on("GET", op="list", key="").call(lambda r: None if "e/" not in r.query.get("prefix", "") else
                                          time.sleep(30))
    ls = subprocess.Popen(["ls", str(m / "e")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    if ls.poll() is None:
        ls.send_signal(signal.SIGINT)
        assert ls.wait(10) == -signal.SIGINT
    assert m.read("small") == b"tiny"


def test_interrupted_write_is_not_lost_silently(box, silent):
    """Ctrl-C while close waits for a silent upload: cp says that it was interrupted or failed; the store
    holds the old object or the new one, whole."""
    m, fake = silent
    fake.put("b", "target", b"old")
    fake.on("PUT", op="put", key="target").silence(5)
    cp = subprocess.Popen(["cp", "/etc/hosts", str(m / "target")], stderr=subprocess.DEVNULL)
    wait_until("the PUT", lambda: fake.count(op="put", key="target") > 0)
    cp.send_signal(signal.SIGINT)
    assert cp.wait(60) != 0
    fake.calm()
    with open("/etc/hosts", "rb") as f:
        assert fake.get("b", "target") in (b"old", f.read())


def test_forget_and_umount_while_a_reader_is_stuck(box, silent):
    m, fake = silent
    fake.on("GET", op="get", key="big").silence()
    cat, = start_cat(m, fake)
    for i in range(50):
        (m / ("n%d" % i)).write_bytes(b"")
        os.unlink(m / ("n%d" % i))
    assert m.unmount(check=False).returncode != 0
    cat.kill()
    cat.wait(10)
    wait_until("umount", lambda: m.unmount(check=False).returncode == 0, 10)
    m.wait_end()
