# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""WARM and WARM_STATUS over the socket: who may, what counts, when it ends."""
import errno
import json
import os

import pytest

from helpers import noise, python_as
from proto import Client
from util import wait_until

MIB = 1 << 20


@pytest.fixture
def backend(box, file_store):
    b = box.backend(config="[s3proxyd]\ncache_size = 64M\nmin_free = 1M\n" + file_store.section("v"))
    b.store = file_store
    return b


@pytest.fixture
def c(backend):
    """A session, and beside it the connection that asks."""
    c = Client(backend.socket)
    c.hello()
    c.attach(volume="v")
    c.asks = Client(backend.socket)
    c.asks.hello()
    yield c
    c.asks.close()
    c.close()


def start(c, path="", **fields):
    return c.asks.ok("WARM", instance=c.instance, path=path, **fields).job


def status(c, job):
    return json.loads(c.asks.ok("WARM_STATUS", job=job).payload)


def ended(c, job, timeout=30):
    wait_until("the job to end",
               lambda: status(c, job)["state"] not in ("counting", "running"), timeout)
    return status(c, job)


def warm(c, path="", **fields):
    return ended(c, start(c, path, **fields))


def cache_of(c):
    return json.loads(c.asks.ok("STATUS").payload)["cache"]


def test_everything_below_is_fetched_once(backend, c):
    files = {"d/a": noise(1), "d/b": noise(3 * MIB + 5), "d/e/f": noise(16384), "d/empty": b"",
             "dd": noise(100), "x": noise(200)}
    for name, data in files.items():
        backend.store.put(name, data)
    want = [n for n in files if n.startswith("d/")]
    size = sum(len(files[n]) for n in want)
    doc = warm(c, "d")
    assert doc["state"] == "done" and doc["total_known"], doc
    assert (doc["objects"], doc["bytes"]) == (len(want), size) == \
        (doc["total_objects"], doc["total_bytes"]), doc
    assert cache_of(c)["fetched_bytes"] >= size
    before = cache_of(c)["fetched_bytes"]
    doc = warm(c, "d/")
    assert doc["state"] == "done" and doc["present_bytes"] == size and doc["objects"] == len(want)
    assert cache_of(c)["fetched_bytes"] == before, "what is there is not fetched again"


def test_a_path_may_be_a_file_or_both(backend, c):
    backend.store.put("f", noise(1000))
    backend.store.put("f2", noise(1000))
    doc = warm(c, "f")
    assert (doc["state"], doc["objects"], doc["bytes"]) == ("done", 1, 1000), doc


def test_nothing_there(backend, c):
    doc = warm(c, "nothing")
    assert doc["state"] == "failed" and doc["errno"] == errno.ENOENT, doc
    assert warm(c, "")["state"] == "done", "an empty bucket is warm"


@pytest.mark.parametrize("path", ["a//b", "../x", ".", "a/./b", "n" * 256])
def test_what_is_no_path(backend, c, path):
    assert c.asks.ask("WARM", instance=c.instance, path=path).error == -errno.EINVAL


def test_long_paths_and_nuls(backend, c):
    deep = "/".join(["n" * 200] * 6)
    assert c.asks.ask("WARM", instance=c.instance, path=deep).error == -errno.ENAMETOOLONG
    assert c.asks.ask("WARM", instance=c.instance, path="a\0b").error == -errno.EINVAL


def test_mounts_and_jobs_that_are_not_there(backend, c):
    assert c.asks.ask("WARM", instance=os.urandom(16), path="").error == -errno.ENOENT
    assert c.asks.ask("WARM", instance=b"x", path="").error == -errno.ENOENT
    assert c.asks.ask("WARM_STATUS", job=77).error == -errno.ENOENT


def test_larger_than_the_cache(backend, c):
    """What fits is there in the end, all of it; the rest was not fetched."""
    for i in range(6):
        backend.store.put("big%d" % i, noise(20 * MIB, seed=i))
    doc = warm(c)
    assert doc["state"] == "full" and doc["total_known"], doc
    assert (doc["objects"], doc["bytes"], doc["total_bytes"]) == (3, 60 * MIB, 120 * MIB), doc
    assert cache_of(c)["used_bytes"] <= 64 * MIB
    assert cache_of(c)["fetched_bytes"] == 60 * MIB and cache_of(c)["evicted_bytes"] == 0
    for i in range(3):
        assert warm(c, "big%d" % i)["present_bytes"] == 20 * MIB, i


def test_it_evicts_what_was_there_before(backend, c):
    for i in range(3):
        backend.store.put("old%d" % i, noise(20 * MIB, seed=i))
        backend.store.put("new/%d" % i, noise(19 * MIB, seed=10 + i))
    assert warm(c, "old0")["state"] == warm(c, "old1")["state"] == "done"
    doc = warm(c, "new")
    assert doc["state"] == "done" and doc["bytes"] == 57 * MIB, doc
    assert cache_of(c)["used_bytes"] <= 64 * MIB
    assert warm(c, "new")["present_bytes"] == 57 * MIB


def test_one_object_larger_than_the_cache(backend, c):
    backend.store.put("huge", b"x" * (65 * MIB))
    doc = warm(c)
    assert (doc["state"], doc["bytes"], doc["total_bytes"]) == ("full", 0, 65 * MIB), doc
    assert cache_of(c)["used_bytes"] < MIB


def test_more_than_a_page_of_names(backend, c):
    for i in range(1203):
        backend.store.put("many/%04d" % i, b"%d" % i)
    doc = warm(c, "many", requests=64)
    assert doc["state"] == "done" and doc["objects"] == doc["total_objects"] == 1203, doc


def test_the_job_ends_with_its_connection(backend, c):
    for i in range(40):
        backend.store.put("f%d" % i, noise(MIB, seed=i))
    other = Client(backend.socket)
    other.hello()
    other.ok("WARM", instance=c.instance, path="", requests=1)
    other.close()
    wait_until("no job to run",
               lambda: not json.loads(c.asks.ok("STATUS").payload)["warming"], 20)
    job = start(c, "f0")
    assert ended(c, job)["state"] == "done", "the backend is well"


def test_the_job_ends_with_its_mount(backend, c):
    for i in range(40):
        backend.store.put("f%d" % i, noise(MIB, seed=i))
    job = start(c, "", requests=1)
    c.ok("DETACH")
    doc = ended(c, job)
    assert doc["state"] in ("failed", "done"), doc


def test_so_many_jobs_and_no_more(backend, c):
    for i in range(60):
        backend.store.put("f%d" % i, noise(MIB, seed=i))
    errors = []
    calls = [c.asks.start("WARM", instance=c.instance, path="", requests=1) for _ in range(10)]
    for call in calls:
        errors.append(c.asks.wait(call).error)
    assert errors[:4] == [0] * 4 and -errno.EBUSY in errors, errors


def test_others_neither_start_nor_see_it(box, backend, c, users):
    backend.store.put("f", noise(100))
    job = start(c)
    script = """
c = proto.Client(%r); c.hello()
print(c.ask("WARM", instance=%r, path="").error, c.ask("WARM_STATUS", job=%d).error)
""" % (backend.socket, c.instance, job)
    out = python_as(box, users[0], script)
    assert out.split() == [str(-errno.ENOENT)] * 2, out


def test_prefetch_of_attach(backend, c):
    """In the background, one path after the other; what is no path is skipped."""
    for name in ("a/1", "b", "z/9"):
        backend.store.put(name, noise(70000))
    p = Client(backend.socket)
    p.hello()
    p.attach(volume="v", prefetch="a:nothing:x//y:b")
    wait_until("both to be there", lambda: cache_of(c)["fetched_bytes"] >= 140000, 20)
    wait_until("the end to be logged", lambda: "b of v: 1 of 1 objects" in backend.said(), 10)
    assert cache_of(c)["fetched_bytes"] < 210000
    assert "x//y of v is not fetched" in backend.said()
    p.close()


def test_prefetch_of_who_attaches_again(backend, c):
    """Goes on; and the mount is told when there is no more to be said."""
    backend.store.put("z/9", noise(70000))
    again = Client(backend.socket)
    again.hello()
    again.attach(volume="v", prefetch="z", resume=1)
    wait_until("it to be there", lambda: cache_of(c)["fetched_bytes"] >= 70000, 20)
    again.close()
