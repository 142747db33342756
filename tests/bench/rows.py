# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The rows of the table: what is read, and how. A session is one fresh mount; its rows run one after the
other on it, each after the kernel's caches were dropped."""
import dataclasses
import json
import os
import statistics
import subprocess
import time
import typing

from clients import ALL, Failed, HafizUsers
from world import read_list

LIMIT_S = 400  # a row that takes longer has failed
TTL_S = 10     # of attributes, in the session that waits for its end


@dataclasses.dataclass
class Run:
    """What a row gets: the world, and where the client has the bucket."""
    world: typing.Any  # bench.py's World
    client: typing.Any
    at: str
    user: str = ""
    second: str = ""  # a second mount of the session's

    @property
    def data(self):
        return self.world.data

    def path(self, name):
        return os.path.join(self.at, name)

    def as_user(self, argv):
        return HafizUsers.as_user(self.user, argv) if self.user else argv

    def reader(self, mode, objects, threads=1, block="1M", ops=1):
        """bench-read on these objects: its figures."""
        argv = [self.world.bench_read, mode, "--threads", str(threads), "--block", block, "--ops", str(ops),
                "--seed", str(self.world.repeat + 1)]
        return json.loads(self.program(argv, read_list(objects, self.at)))

    def program(self, argv, text=""):
        try:
            done = subprocess.run(self.as_user(argv), input=text, capture_output=True, text=True,
                                  check=False, timeout=LIMIT_S, cwd="/")
        except subprocess.TimeoutExpired:
            raise Failed("took longer than %d s" % LIMIT_S) from None
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or ["exit code %d" % done.returncode])[0][:200])
        return done.stdout

    def timed(self, argv, lines):
        """A program that prints so many lines: how long it took."""
        begin = time.monotonic()
        out = self.program(argv)
        seconds = time.monotonic() - begin
        if out.count("\n") != lines:
            raise Failed("%s printed %d lines instead of %d" % (argv[0], out.count("\n"), lines))
        return {"seconds": seconds}


def first_byte(run):
    objects = list(run.data.first.items())
    run.reader("first", dict(objects[:1]), block="4K")  # now there is a connection
    got = run.reader("first", dict(objects[1:]), block="4K")
    return {"seconds": statistics.median(got["latency_ms"]) / 1000, "latency_ms": got["latency_ms"]}


def sequential(run):
    return run.reader("seq", run.data.big)


def model(run):
    return run.reader("seq", run.data.model, threads=4)


def random_64k(run):
    return run.reader("rand", run.data.big, threads=8, block="64K", ops=run.data.sizes.reads64)


def random_4k(run):
    return run.reader("rand", run.data.big, threads=8, block="4K", ops=run.data.sizes.reads4)


def small_8(run):
    return run.reader("seq", run.data.small, threads=8, block="64K")


def small_1(run):
    return run.reader("seq", run.data.small, threads=1, block="64K")


def list_long(run):
    return run.timed(["ls", "-l", run.path("entries")], len(run.data.entries) + 1)


def find(run):
    return run.timed(["find", run.path("small"), "-type", "f"], len(run.data.small))


def wait_ttl(run):
    time.sleep(run.world.ttl + 1)


def restart_backend(run):
    wait_ttl(run)
    run.client.restart_backend()


def second_mount(run):
    run.at = run.client.second_mount()


def second_user(run):
    second_mount(run)
    run.user = run.client.users[1]


def first_user_again(run):
    run.second, run.at, run.user = run.at, run.client.at, run.client.users[0]


def second_user_again(run):
    run.at, run.user = run.second, run.client.users[1]


@dataclasses.dataclass
class Row:
    id: str
    title: str
    run: typing.Callable
    before: typing.Callable = None  # not measured
    only: str = ""  # hafiz: nobody else can do it
    shown: bool = True  # False: only there to fill the cache

    @property
    def large(self):
        return self.run in (sequential, model)


@dataclasses.dataclass
class Session:
    rows: list
    ttl: bool = False
    disk_cache: bool = False
    users: bool = False  # two users and a backend of the host


def sessions():
    return [
        Session([Row("first", "first byte: open and read 4 KiB on a warm connection", first_byte)]),
        Session([Row("seq", "sequential, 1 GiB, 1 MiB at a time", sequential)]),
        Session([Row("model", "model load: 8 shards of 192 MiB by 4 threads", model),
                 Row("model2", "model load through a second mount", model, second_mount, "hafiz")]),
        Session([Row("fill-users", "", model, shown=False),
                 Row("model-user", "model load through a second user's mount", model, second_user,
                     "hafiz"),
                 Row("fill-user", "", sequential, first_user_again, shown=False),
                 Row("reread-user", "the 1 GiB from the cache on disk, through a second user's mount",
                     sequential, second_user_again, "hafiz")], users=True),
        Session([Row("fill", "", sequential, shown=False),
                 Row("reread", "the 1 GiB again, from the cache on disk", sequential)], disk_cache=True),
        Session([Row("rand64", "400 random reads of 64 KiB by 8 threads", random_64k)]),
        Session([Row("rand4", "2,000 random reads of 4 KiB by 8 threads", random_4k)]),
        Session([Row("small8", "2,001 small files by 8 threads", small_8)]),
        Session([Row("small1", "2,001 small files by 1 thread", small_1)]),
        Session([Row("ls", "ls -l of 10,000 entries", list_long),
                 Row("ls-ttl", "ls -l again, after the lifetime of attributes", list_long, wait_ttl),
                 Row("ls-restart", "ls -l again, after that and a restart of the backend", list_long,
                     restart_backend, "hafiz")], ttl=True),
        Session([Row("find", "find over 100 directories", find)]),
    ]


def client_class(session, name):
    return HafizUsers if session.users else ALL[name]


def wanted(session, name):
    """The rows of a session that a client runs: an early one also when only a later one is for it."""
    rows = [r for r in session.rows if r.only in ("", name)]
    if session.users and name != "hafiz":
        return []
    return rows if any(r.shown for r in rows) else []
