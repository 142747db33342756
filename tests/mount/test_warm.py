# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""hafizctl warm and -o prefetch through real mounts: after it, reading fetches no byte."""
import json
import os
import pty
import time

import pytest

from helpers import noise
from util import wait_until

MIB = 1 << 20
FILES = {"m/a": 5 * MIB + 3, "m/b/c": 100000, "m/b/d": 1, "m/b/e": 0, "m/f f": 16384, "other": 70000}


@pytest.fixture
def backend(box, store):
    b = box.backend(config="[s3proxyd]\ncache_size = 64M\nmin_free = 1M\n" + store.section("v") +
                    store.section("hers", users="nobody"))
    b.store = store
    return b


def fill(store, files=None):
    data = {name: noise(size, seed=i) for i, (name, size) in enumerate((files or FILES).items())}
    for name, content in data.items():
        store.put(name, content)
    return data


def ctl(box, backend, *args, check=True, **kw):
    return box.ctl("--socket", backend.socket, *args, check=check, **kw)


def fetched(box, backend):
    doc = json.loads(ctl(box, backend, "status", "--json").stdout)
    return doc["cache"]["fetched_bytes"]


def reads_nothing(box, backend, m, data):
    before = fetched(box, backend)
    for name, content in data.items():
        assert m.read(name) == content, name
    assert fetched(box, backend) == before, "reading fetched something"


def test_a_volume_nobody_mounted(box, backend):
    data = fill(backend.store)
    below = {n: d for n, d in data.items() if n.startswith("m/")}
    r = ctl(box, backend, "warm", "v/m")
    assert "5 objects" in r.stdout and "5.1 MiB; 5.1 MiB fetched" in r.stdout, r.stdout
    m = box.mount("v", "--socket", backend.socket)
    reads_nothing(box, backend, m, below)
    r = ctl(box, backend, "warm", "v/m/")
    assert "0 B fetched" in r.stdout, r.stdout


def test_a_path_in_a_mount(box, backend):
    data = fill(backend.store)
    m = box.mount("v", "--socket", backend.socket)
    ctl(box, backend, "warm", str(m / "m/f f"), "--jobs", "1")
    reads_nothing(box, backend, m, {"m/f f": data["m/f f"]})
    ctl(box, backend, "warm", m.at, "--jobs", "2")
    reads_nothing(box, backend, m, data)


def test_json_for_programs(box, backend):
    fill(backend.store)
    r = ctl(box, backend, "warm", "v", "--json")
    lines = [json.loads(line) for line in r.stdout.splitlines()]
    last = lines[-1]
    assert last["state"] == "done" and last["objects"] == last["total_objects"] == len(FILES), last
    assert last["bytes"] == sum(FILES.values()) and not r.stderr


def test_larger_than_the_cache(box, backend):
    data = fill(backend.store, {"g/" + n: 20 * MIB for n in ("ant", "bear", "cat", "d/og")})
    m = box.mount("v", "--socket", backend.socket)
    r = ctl(box, backend, "warm", "v/g", check=False)
    assert r.returncode == 1
    assert "60.0 MiB of 80.0 MiB fit into the cache (cache_size 64.0 MiB)" in r.stderr, r.stderr
    del data["g/d/og"]  # in a directory of its own: nobody reads it ahead
    reads_nothing(box, backend, m, data)


def test_usage_and_what_is_not_there(box, backend):
    for bad in (["warm"], ["warm", "v", "w"], ["warm", "v", "--jobs", "0"], ["status", "--jobs", "2"],
                ["warm", "v", "--jobs", "65"], ["warm", "v", "--jobs", "x"]):
        assert ctl(box, backend, *bad, check=False).returncode == 1, bad
    for what, why in (("nov", "no volume"), ("v/none", "No such file"), ("/etc", "no mount"),
                      ("./none", "no mount"), ("v/a//b", "Invalid"), ("/", "no mount")):
        r = ctl(box, backend, "warm", what, check=False)
        assert r.returncode == 1 and why in r.stderr, (what, r.stderr)
        assert len(r.stderr.splitlines()) == 1, r.stderr


def test_who_may_not_mount_it_may_not_warm_it(box, backend, users):
    r = ctl(box, backend, "warm", "hers", check=False, user=users[0])
    assert r.returncode == 1 and "may not mount" in r.stderr, r.stderr
    m = box.mount("v", "--socket", backend.socket, "-o", "allow_other")
    r = ctl(box, backend, "warm", m.at, check=False, user=users[0])
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1, r.stderr


def slow(store, n=12):
    """A job that takes a moment, with one request at a time."""
    for i in range(n):
        store.put("s/%02d" % i, noise(4 * MIB, seed=i))


def on_terminal(box, argv, env=None):
    """What a program writes to a terminal of 80 columns."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, dict(box.env(), COLUMNS="80", **(env or {})))
    out = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), out.decode()


def test_a_bar_on_a_terminal(box, backend):
    slow(backend.store)
    code, out = on_terminal(box, [box.programs.ctl, "--socket", backend.socket, "warm", "v/s",
                                  "--jobs", "1"])
    assert code == 0, out
    assert "\r" in out and "MiB/s" in out and "%" in out and "objects" in out, out
    for line in out.replace("\r\n", "\r").split("\r"):
        assert len(line.replace("\033[K", "")) < 80, line
    assert out.endswith("MiB/s\r\n"), out


def test_prefetch_never_delays_or_fails_a_mount(box, backend):
    data = fill(backend.store)
    m = box.mount("v", "--socket", backend.socket, "-o", "prefetch=m/b:none:m/f f")
    wait_until("the end to be logged", lambda: "m/f f of v: 1 of 1 objects" in backend.said(), 20)
    assert "none of v: 0 of 0 objects" in backend.said()
    reads_nothing(box, backend, m, {n: data[n] for n in ("m/b/c", "m/b/d", "m/b/e", "m/f f")})
    assert fetched(box, backend) < 200000


def test_prefetch_of_everything(box, backend):
    data = fill(backend.store)
    m = box.mount("v", "--socket", backend.socket, "--prefetch", "/")
    wait_until("the end to be logged", lambda: "of v: 6 of 6 objects" in backend.said(), 20)
    reads_nothing(box, backend, m, data)


def test_a_prefetch_under_way_does_not_hold_up_an_unmount(box, backend):
    slow(backend.store)
    m = box.mount("v", "--socket", backend.socket, "-o", "prefetch=s")
    begin = time.monotonic()
    m.unmount()
    m.wait_end()
    assert time.monotonic() - begin < 10
    wait_until("the job to end", lambda: not json.loads(ctl(box, backend, "status", "--json").stdout)
               ["warming"], 15)
