# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""hafizctl warm while the store changes, refuses, or takes its time."""
import json
import signal
import subprocess
import time

import pytest

from helpers import noise
from util import wait_until


@pytest.fixture
def w(box, fake):
    """A mount of six objects, and warm() of it."""
    b = box.backend()
    box.watch.expect("retr", "scripted", "store", "s3", "EIO", "warm")
    for i in range(6):
        fake.put("b", "k%d" % i, noise(50000, seed=i))
    m = box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
    m.backend = b
    m.argv_warm = [box.programs.ctl, "--socket", b.socket, "warm", m.at]
    m.warm = lambda *args: box.ctl(*m.argv_warm[1:], *args, check=False)
    m.status = lambda: json.loads(box.ctl("--socket", b.socket, "status", "--json").stdout)
    return m


def fetched(fake):
    return {r.key for r in fake.requests(op="get")}


def test_replaced_and_removed_meanwhile(w, fake):
    """Listed, and another version or gone when it is fetched: counted, and not fatal."""
    fake.on("GET", key="k1", nth=1).status(412, "PreconditionFailed")
    fake.on("GET", key="k2", nth=1).status(404, "NoSuchKey")
    r = w.warm()
    assert r.returncode == 0 and "4 objects" in r.stdout, r
    assert "2 replaced or removed" in r.stdout, r.stdout
    assert "6 objects" in w.warm().stdout, "the next one brings them"


def test_what_cannot_be_fetched_is_listed(w, fake):
    fake.on("GET", key="k3").status(403, "AccessDenied")
    r = w.warm()
    assert r.returncode == 1 and "5 objects" in r.stdout, r
    assert "k3: Permission denied" in r.stderr and "1 of 6 objects" in r.stderr, r.stderr
    assert fetched(fake) == {"k%d" % i for i in range(6)}


def test_a_store_that_refuses_all_is_left_alone(w, fake):
    for i in range(300):
        fake.put("b", "many/%03d" % i, b"x" * 100)
    fake.on("GET", op="get").status(403, "AccessDenied")
    r = w.warm()
    assert r.returncode == 1 and "Permission denied" in r.stderr, r.stderr
    assert fake.count(op="get") < 120


def test_a_listing_that_is_refused(w, fake):
    fake.on("GET", op="list").status(403, "AccessDenied")
    r = w.warm()
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1, r.stderr


def test_a_listing_that_breaks_off(w, fake):
    """What was listed is there; that not all was is an error."""
    for i in range(1500):
        fake.put("b", "many/%04d" % i, b"x")
    fake.on("GET", op="list", nth=3).status(403, "AccessDenied")
    r = w.warm()
    assert r.returncode == 1 and r.stderr, r.stderr


def running(w):
    return w.status()["warming"]


def test_ctrl_c_stops_it(box, w, fake):
    """In the backend too, and what has come is there."""
    fake.on("GET", key="k4").delay(5)
    p = subprocess.Popen(w.argv_warm + ["--jobs", "1"], env=box.env(), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until("four to be there", lambda: running(w) and running(w)[0]["objects"] == 4, 20)
    words = box.ctl("--socket", w.backend.socket, "status").stdout
    assert "Being fetched ahead" in words and "195.3 KiB" in words, words
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=15)
    assert p.returncode == 130 and out.startswith("stopped: 4 objects") and not err, (out, err)
    fake.calm()
    wait_until("the job to end", lambda: not running(w), 40)
    assert "k5" not in fetched(fake)


def test_the_backend_dies(box, w, fake):
    fake.on("GET", key="k4").delay(5)
    p = subprocess.Popen(w.argv_warm + ["--jobs", "1"], env=box.env(), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until("four to be there", lambda: running(w) and running(w)[0]["objects"] == 4, 20)
    w.backend.restart()
    out, err = p.communicate(timeout=15)
    assert p.returncode == 1 and len(err.splitlines()) == 1, (out, err)
    fake.calm()
    w.ls()  # attached again
    assert "6 objects" in w.warm().stdout


def test_stopped_while_it_lists(box, w, fake):
    fake.on("GET", op="list").delay(5)
    p = subprocess.Popen(w.argv_warm, env=box.env(), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until("the job to run", lambda: running(w), 20)
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=15)
    assert p.returncode == 130
    wait_until("the job to end", lambda: not running(w), 20)


@pytest.mark.parametrize("end", ["ctrl-c", "unmount"])
def test_stopped_at_a_silent_store(box, w, fake, end):
    """What it asked for is taken back: nobody waits for the store."""
    fake.on("GET", op="get").silence()
    p = subprocess.Popen(w.argv_warm, env=box.env(), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until("it to ask", lambda: fake.count(op="get") >= 6, 20)
    if end == "ctrl-c":
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=5)
        assert p.returncode == 130
    else:
        w.unmount()
        _, err = p.communicate(timeout=5)
        assert p.returncode == 1 and "canceled" in err, err
    wait_until("the job to end", lambda: not running(w), 5)
    if end == "unmount":
        return
    fake.calm()
    assert w.read("k3") == noise(50000, seed=3), "a read asks anew"
    wait_until("its requests to end", lambda: not used_by_requests(w), 5)


def used_by_requests(w):
    """Bytes charged to what is not there."""
    cache = w.status()["cache"]
    return cache["used_bytes"] > cache["fetched_bytes"] + 6 * 16384


def test_a_reader_does_not_stand_behind_it(box, w, fake):
    """While one is read, a single object is fetched beside it, however many were before."""
    for i in range(60):
        fake.put("b", "many/%02d" % i, noise(20000, seed=i))
    fake.on("GET", op="get").delay(0.4)
    p = subprocess.Popen(w.argv_warm[:-1] + [str(w / "many")], env=box.env(),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until("it to be at full speed", lambda: fake.count(op="get") >= 8, 20)
    before = len(fake.log)
    for i in (5, 4, 3, 2, 1, 0):  # no series, so that they are read one by one
        assert w.read("k%d" % i) == noise(50000, seed=i)
    asked = [r.key for r in fake.log[before:] if r.op == "get"]
    beside = [k for k in asked[asked.index("k5"):asked.index("k0")] if k.startswith("many/")]
    assert len(beside) <= 7, asked
    out, err = p.communicate(timeout=60)
    assert p.returncode == 0 and "60 objects" in out, (out, err)


def test_prefetch_goes_on_after_a_crash(box, fake):
    """And only what was not finished: who has all of it does not ask again."""
    b = box.backend()
    box.watch.expect("retr", "scripted", "store", "s3", "EIO", "warm")
    for i in range(4):
        fake.put("b", "p/k%d" % i, noise(50000, seed=i))
    fake.on("GET", key="p/k3").silence()
    m = box.mount("s3://b", "--socket", b.socket, "-o", "prefetch=p", *fake.mount_args,
                  env=fake.mount_env)
    status = lambda: json.loads(box.ctl("--socket", b.socket, "status", "--json").stdout)
    wait_until("three to be there", lambda: status()["warming"] and
               status()["warming"][0]["objects"] == 3, 20)
    assert status()["warming"][0]["prefetch"]
    fake.calm()
    b.restart()
    wait_until("the rest to be there", lambda: "p of s3://b: 4 of 4 objects" in b.said(), 40)
    assert fake.count(op="get", key="p/k0") == 1, "what was there is not fetched again"
    lists = fake.count(op="list")
    time.sleep(0.3)
    b.restart()
    m.ls()
    time.sleep(0.3)
    assert not status()["warming"] and b.said().count("p of s3://b: 4 of 4 objects") == 1
    assert fake.count(op="list") <= lists + 2


def test_what_min_free_leaves_is_all_it_takes(box, fake):
    """Of a small disk, although cache_size says more. Nothing that it brought is evicted for the rest."""
    disk = box.mkdir("cache-p")
    box.sh("mount -t tmpfs -o size=48M,mode=700 none " + disk)
    box.cleanups.append(lambda: box.sh("umount -l " + disk))
    b = box.backend(config="[s3proxyd]\ncache_size = 1G\nmin_free = 20M\n")
    for i in range(10):
        fake.put("b", "g/%d" % i, noise(5 << 20, seed=i))
    m = box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
    r = box.ctl("--socket", b.socket, "warm", str(m / "g"), check=False)
    assert r.returncode == 1, r
    assert "25.0 MiB of 50.0 MiB fit into the cache" in r.stderr and "min_free" in r.stderr, r.stderr
    doc = json.loads(box.ctl("--socket", b.socket, "status", "--json").stdout)["cache"]
    assert doc["fetched_bytes"] == 25 << 20 and doc["evicted_bytes"] == 0, doc
