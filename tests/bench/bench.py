# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Measures hafiz beside other mounts of the same server, far away behind a proxy, and prints a table.
`tests/bench/run` prepares and calls it; rows.py says what is read, clients.py how each is mounted, bars.py
what hafiz must reach. Each session (a fresh mount and its rows) is done for one client after the other,
so that what changes on the machine meanwhile meets all of them."""
import argparse
import contextlib
import json
import mmap
import os
import platform
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import rows as rows_module  # noqa: E402
from box import Programs  # noqa: E402
from clients import ALL, Client, Failed, Hafiz  # noqa: E402
from limits import LIMITS  # noqa: E402
from measure import Machine, Measure, wait_quiet  # noqa: E402
from report import Report, seconds  # noqa: E402
from util import fusectl_mounted  # noqa: E402
from world import Data, Proxy, Server, Sizes  # noqa: E402

WARM_BYTES = {True: 2 << 30, False: 256 << 20}  # for rows of large files, and for the others
WARM_TIMES = 2
PIECES = (4 << 10, 32 << 10, 512 << 10)


def warm_once(directory, size):
    """Memory of every use and size of block at once, and all of it given back: what programs have, what a
    reader's cache is, and what files are that are written in small and large pieces."""
    buffer = bytearray(1 << 20)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(mmap.mmap(
            -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)))
        hole = stack.enter_context(tempfile.TemporaryFile(dir=directory))
        hole.truncate(size)
        for at in range(0, size, len(buffer)):
            os.preadv(hole.fileno(), [buffer], at)
        for piece in PIECES:
            out = stack.enter_context(tempfile.TemporaryFile(dir=directory, buffering=0))
            for _ in range(size // len(PIECES) // piece):
                out.write(memoryview(buffer)[:piece])


def warm_memory(directory, size):
    """Has the free memory that the kernel gives out next been in use just now. On a virtual machine whose
    host takes back what is free, a page's first use costs several times what it costs later: by luck, one
    client would get such pages and another would not (reading the same local file of 1 GiB: 0.5 to 2.2 s).
    Twice, since the first time is handed out what lies about in other places."""
    with open("/proc/meminfo", encoding="ascii") as f:
        available = next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    for _ in range(WARM_TIMES):
        warm_once(directory, min(size, available // 6))


class World:
    """Everything a run has; `with` makes and ends it."""

    def __init__(self, build, sizes, rtt_ms, cap_mb, cache, ttl=rows_module.TTL_S,
                 drop=True, patience_s=0):
        self.build, self.cache, self.ttl, self.drop = build, cache, ttl, drop
        self.patience_s = patience_s
        self.rtt_ms, self.cap_mb = rtt_ms, cap_mb
        self.data, self.repeat = Data(sizes), 0

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._build(stack)
            self.stack = stack.pop_all()
        return self

    def _build(self, stack):
        os.makedirs(self.cache, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="hb", dir=os.environ.get("HAFIZ_TEST_TMP", "/var/tmp"))
        stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o755)  # other users' mounts are in it
        os.environ["HAFIZ_BUILD"] = self.build
        fusectl_mounted()
        Hafiz.programs = Programs(self.dir)
        for name in ("bench-read", "curl-limit", "delay-proxy"):
            path = shutil.copy(os.path.join(self.build, "tests/bench", name), Hafiz.programs.dir)
            setattr(self, name.replace("-", "_"), path)
        self.server = Server(self.cache, os.path.join(self.dir, "versitygw.log"))
        stack.callback(self.server.stop)
        self.server.provide(self.data, self.bench_read, os.path.join(self.cache, "scratch"))
        self.proxy = Proxy(self.delay_proxy, self.server.port, self.rtt_ms, self.cap_mb,
                           os.path.join(self.dir, "line.json"))
        stack.callback(self.proxy.stop)

    def __exit__(self, *_):
        self.stack.close()

    def fresh(self, server=True, large=False):
        """Nothing of the clients' in the kernel's caches, and of the server everything or nothing."""
        if not self.drop:
            return
        if server:
            self.server.pin()
        else:
            self.server.unpin()
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3")
        if server:
            self.server.walk()
        wait_quiet(self.patience_s)
        warm_memory(self.dir, WARM_BYTES[large])


def measured(world, run, row):
    """One row of a mounted client: its figures."""
    if row.before:
        row.before(run)
    world.fresh(large=row.large)
    with Measure(run.client.roots, world.proxy) as m:
        got = row.run(run)
    return {**m.figures, **got}


def run_session(world, session, name, keep):
    """One fresh mount and its rows; what fails ends it."""
    client = rows_module.client_class(session, name)(
        os.path.join(world.dir, "m"), world.proxy.endpoint, ttl=world.ttl if session.ttl else None,
        disk_cache=session.disk_cache)
    row = None
    try:
        rows = rows_module.wanted(session, name)
        row = rows[0]
        client.start()
        run = rows_module.Run(world, client, client.at, client.users[0] if session.users else "")
        for row in rows:
            keep(row, name, measured(world, run, row))
    except (Failed, AssertionError, OSError) as e:
        keep(row, name, str(e).split("\n", maxsplit=1)[0] or type(e).__name__)
    finally:
        client.stop()


def run_limits(world, session, wanted, keep):
    for row in session.rows:
        for name, measure in LIMITS.get(row.id, {}).items() if row.id in wanted else ():
            world.fresh(large=row.large)
            run = rows_module.Run(world, Client, "")
            machine = Machine()
            try:
                got = measure(run)
                keep(row, name, {**got, "disturbed": machine.disturbed()})
            except Failed as e:
                keep(row, name, str(e))


class Keeper:
    """Collects results: row → client → list of figures, or why there are none."""

    def __init__(self, wanted, say):
        self.results, self.wanted, self.say = {}, wanted, say

    def failed(self, session, name):
        return any(isinstance(self.results.get(r.id, {}).get(name), str) for r in session.rows)

    def __call__(self, row, name, got):
        if isinstance(got, str):
            self.results.setdefault(row.id, {})[name] = got
            self.say("%-10s %-16s %s" % (row.id, name, got))
        elif row.shown and row.id in self.wanted:
            self.results.setdefault(row.id, {}).setdefault(name, []).append(got)
            self.say("%-10s %-16s %s s" % (row.id, name, seconds(got["seconds"])))


def benchmark(world, wanted, names, repeats, limits=True, say=lambda text: None):
    """The results of all sessions that have a row in `wanted`."""
    keep = Keeper(wanted, say)
    for session in rows_module.sessions():
        if not any(r.id in wanted for r in session.rows):
            continue
        last = max(i for i, r in enumerate(session.rows) if r.id in wanted)
        session.rows = session.rows[:last + 1]
        for world.repeat in range(repeats):
            for name in names:
                if rows_module.wanted(session, name) and not keep.failed(session, name):
                    run_session(world, session, name, keep)
            if limits:
                run_limits(world, session, wanted, keep)
    return keep.results


def add(results, path, head, args):
    """Figures of an earlier run on this machine, with the same line."""
    with open(path, encoding="utf-8") as f:
        got = json.load(f)
    if (got["machine"].rsplit(",", 1)[0], got["rtt_ms"], got["cap_mb_s"]) != \
            (head.rsplit(",", 1)[0], args.rtt, args.cap):
        sys.exit("tests/bench: %s was measured elsewhere, or on another line" % path)
    for row, clients in got["results"].items():
        for name, runs in clients.items():
            have = results.setdefault(row, {}).setdefault(name, [] if isinstance(runs, list) else runs)
            if isinstance(have, list) and isinstance(runs, list):
                have += runs


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "?")
    return "%d × %s, Linux %s" % (os.cpu_count(), model, platform.release())


def arguments():
    all_rows = [r.id for s in rows_module.sessions() for r in s.rows if r.shown]
    p = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split("\n", maxsplit=1)[0],
                                epilog="rows: " + " ".join(all_rows))
    p.add_argument("--rows", default=",".join(all_rows), help="some rows only, with commas between")
    p.add_argument("--peers", default="", help="some clients only (hafiz, s3fs, …); default: all there are")
    p.add_argument("--rtt", type=int, default=20, metavar="MS", help="the store's distance (20)")
    p.add_argument("--cap", type=int, default=90, metavar="MB/S", help="of each connection (90; 0: none)")
    p.add_argument("--repeat", type=int, default=3, metavar="N", help="how often; medians are shown (3)")
    p.add_argument("--patience", type=int, default=60, metavar="S",
                   help="how long to wait, before each row, for other programs to leave the processors")
    p.add_argument("--no-limits", action="store_true", help="without libcurl, local reads and bare FUSE")
    p.add_argument("--json", metavar="FILE", help="write every figure there")
    p.add_argument("--add", metavar="FILE", action="append", default=[],
                   help="figures of an earlier run, by --json, which count as well")
    p.add_argument("--markdown", action="store_true", help="print the table of README.md as well")
    p.add_argument("--build", required=True, help=argparse.SUPPRESS)
    p.add_argument("--cache", required=True, help=argparse.SUPPRESS)
    args = p.parse_args()
    args.rows = args.rows.split(",")
    unknown = [r for r in args.rows if r not in all_rows]
    names = args.peers.split(",") if args.peers else list(ALL)
    unknown += [n for n in names if n not in ALL]
    if unknown:
        p.error("there is no %s" % ", ".join(unknown))
    return args, names


def versions_of(names, asked):
    found = {n: ALL[n].version() for n in names}
    missing = [n for n in names if not found[n]]
    if missing and asked:
        sys.exit("tests/bench: not on PATH: %s" % ", ".join(missing))
    return {n: v for n, v in found.items() if v}


def main():
    args, names = arguments()
    with World(args.build, Sizes(), args.rtt, args.cap, args.cache, patience_s=args.patience) as world:
        versions = versions_of(names, args.peers)
        head = ["%s, %s" % (machine(), time.strftime("%Y-%m-%d")),
                "store: %d ms away, %s per connection" % (
                    args.rtt, "%d MB/s" % args.cap if args.cap else "no limit"),
                *["  %-9s %s" % nv for nv in versions.items()]]
        print("\n".join(head) + "\n", flush=True)
        results = benchmark(world, args.rows, list(versions), args.repeat, not args.no_limits,
                            lambda text: print("  " + text, file=sys.stderr, flush=True))
    for path in args.add:
        add(results, path, head[0], args)
    report = Report([r for s in rows_module.sessions() for r in s.rows if r.shown], results, args.rtt)
    print("\n" + report.text())
    if args.markdown:
        print("\n" + head[0] + "; " + head[1] + "\n\n" + report.markdown())
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"machine": head[0], "rtt_ms": args.rtt, "cap_mb_s": args.cap, "versions": versions,
                       "results": results}, f, indent=1)


if __name__ == "__main__":
    main()
