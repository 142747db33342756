# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Two mounts of one bucket against a model of what a directory is: random calls, one at a time, through
either mount, compared with a dictionary after each; and a crowd of threads that have only to end, in
time, with whole files and the same names in both mounts and in the bucket. Both print their seed:
HAFIZ_SEED repeats it, HAFIZ_MODEL_S says how long."""
import errno
import hashlib
import os
import random
import subprocess
import threading
import time

import pytest

from util import wait_until

SECONDS = float(os.environ.get("HAFIZ_MODEL_S", "25"))
LATE = 20  # seconds after which a call counts as hung
NAMES = ["a", "b", "c", "dir", "e f", "ü"]
DIR = None


def seed_of():
    seed = int(os.environ.get("HAFIZ_SEED", random.SystemRandom().randrange(1 << 32)))
    print("HAFIZ_SEED=%d" % seed)
    return seed


@pytest.fixture
def twins(box, store):
    backend = box.backend()
    two = [box.mount_store(store, "--socket", backend.socket, "--attr-ttl", "600") for _ in range(2)]
    for m in two:
        m.socket = backend.socket
    return two


class Model:
    """What must be true: paths → bytes or DIR; and what is open."""

    def __init__(self, mounts, rng):
        self.mounts, self.rng = mounts, rng
        self.tree = {"": DIR}
        self.open = []   # [fd, path or None when unlinked, mount]
        self.log = []
        self.touched = set()

    # --- choosing
    def mount(self):
        return self.rng.choice(self.mounts)

    def some(self, want):
        found = [p for p, v in self.tree.items() if p and (want == "any" or (v is DIR) == (want == "dir"))]
        return self.rng.choice(sorted(found)) if found else None

    def place(self):
        """A path that may or may not exist, in a directory that does, not deeper than three."""
        dirs = sorted(p for p, v in self.tree.items() if v is DIR and p.count("/") < 2)
        parent = self.rng.choice(dirs)
        name = self.rng.choice(NAMES)
        return parent + "/" + name if parent else name

    def below(self, path):
        return [p for p in self.tree if p.startswith(path + "/")]

    def parent_ok(self, path):
        up = os.path.dirname(path)
        return up in self.tree and self.tree[up] is DIR

    def data(self):
        n = self.rng.choice([0, 1, 10, 1000, 70000, 200000])
        return self.rng.randbytes(n)

    def note(self, call, m, *what):
        self.touched = {w for w in what if isinstance(w, str)}
        self.log.append(" ".join(str(w) for w in (call, m) + what))

    # --- calls: each is done and, when it works, done to the model; else the errno must be the model's
    def attempt(self, expect, call, *args):
        """expect: None, or the set of errnos of which one must come."""
        try:
            result = call(*args)
        except OSError as e:
            assert expect and e.errno in expect, "%s instead of %s" % (errno.errorcode[e.errno], expect)
            return False, None
        assert not expect, "worked instead of %s" % sorted(errno.errorcode[e] for e in expect)
        return True, result

    def write(self):
        p, m, d = self.place(), self.mount(), self.data()
        self.note("write", m.name, p, len(d))
        bad = {errno.EISDIR} if p in self.tree and self.tree[p] is DIR else None
        if self.attempt(bad, m.write, p, d)[0]:
            self.tree[p] = d

    def append(self):
        p, m, d = self.some("file"), self.mount(), self.data()
        if p is None:
            return
        self.note("append", m.name, p, len(d))
        with open(m / p, "ab") as f:
            f.write(d)
        self.tree[p] += d

    def patch(self):
        p, m = self.some("file"), self.mount()
        if p is None:
            return
        old = self.tree[p]
        at, d = self.rng.randrange(len(old) + 5000), self.rng.randbytes(self.rng.choice([1, 5000]))
        self.note("patch", m.name, p, at, len(d))
        with open(m / p, "r+b", buffering=0) as f:
            f.seek(at)
            f.write(d)
        self.tree[p] = old[:at].ljust(at, b"\0") + d + old[at + len(d):]

    def truncate(self):
        p, m = self.some("file"), self.mount()
        if p is None:
            return
        size = self.rng.randrange(len(self.tree[p]) * 2 + 10)
        self.note("truncate", m.name, p, size)
        os.truncate(m / p, size)
        self.tree[p] = self.tree[p][:size].ljust(size, b"\0")

    def open_write(self):
        """Opened, written to, and left open: what was written must be seen everywhere all the same."""
        p, m, d = self.some("file"), self.mount(), self.data()
        if p is None or len(self.open) > 5:
            return
        self.note("open", m.name, p, len(d))
        fd = os.open(m / p, os.O_RDWR)
        os.pwrite(fd, d, 0)
        self.tree[p] = d + self.tree[p][len(d):]
        self.open.append([fd, p, m])

    def more(self):
        if not self.open:
            return
        slot = self.rng.choice(self.open)
        d = self.rng.randbytes(100)
        self.note("more", slot[2].name, slot[1])
        os.pwrite(slot[0], d, 0)
        if slot[1] is not None:
            self.tree[slot[1]] = d + self.tree[slot[1]][100:]
        if self.rng.random() < 0.3:
            self.note("fsync", slot[2].name, slot[1])
            os.fsync(slot[0])

    def close(self):
        if self.open:
            slot = self.open.pop(self.rng.randrange(len(self.open)))
            self.note("close", slot[2].name, slot[1])
            os.close(slot[0])

    def unlink(self):
        p, m = self.rng.choice([self.some("any"), self.place()]), self.mount()
        if p is None:
            return
        self.note("unlink", m.name, p)
        bad = {errno.ENOENT} if p not in self.tree else \
            {errno.EISDIR, errno.EPERM} if self.tree[p] is DIR else None
        if self.attempt(bad, os.unlink, m / p)[0]:
            del self.tree[p]
            self._forget(p)

    def _forget(self, p):
        for slot in self.open:
            if slot[1] == p:
                slot[1] = None

    def mkdir(self):
        p, m = self.place(), self.mount()
        self.note("mkdir", m.name, p)
        if self.attempt({errno.EEXIST} if p in self.tree else None, os.mkdir, m / p)[0]:
            self.tree[p] = DIR

    def rmdir(self):
        p, m = self.rng.choice([self.some("dir"), self.place()]), self.mount()
        if p is None:
            return
        self.note("rmdir", m.name, p)
        bad = {errno.ENOENT} if p not in self.tree else {errno.ENOTDIR} if self.tree[p] is not DIR else \
            {errno.ENOTEMPTY} if self.below(p) else None
        if self.attempt(bad, os.rmdir, m / p)[0]:
            del self.tree[p]

    def rename(self):
        old, new, m = self.some("any"), self.place(), self.mount()
        if old is None:
            return
        self.note("rename", m.name, old, new)
        src, dst = self.tree[old], self.tree.get(new, "absent")
        bad = None
        if new.startswith(old + "/"):
            bad = {errno.EINVAL}
        elif old.startswith(new + "/"):
            bad = {errno.ENOTEMPTY, errno.EISDIR}
        elif new == old:
            bad = None
        elif src is DIR and dst is not DIR and dst != "absent":
            bad = {errno.ENOTDIR}
        elif src is not DIR and dst is DIR:
            bad = {errno.EISDIR}
        elif dst is DIR and self.below(new):
            bad = {errno.ENOTEMPTY}
        if not self.attempt(bad, os.rename, m / old, m / new)[0] or new == old:
            return
        self._forget(new)
        self.tree.pop(new, None)
        for p in [old] + self.below(old):
            self.tree[new + p[len(old):]] = self.tree.pop(p)
            for slot in self.open:
                if slot[1] == p:
                    slot[1] = new + p[len(old):]

    def refresh(self):
        m = self.mount()
        self.note("refresh", m.name)
        m.box.ctl("--socket", m.socket, "refresh", str(m.path()))

    # --- comparing
    def same(self, m, p):
        v = self.tree.get(p, "absent")
        try:
            if v == "absent":
                return not os.path.lexists(m / p)
            if v is DIR:
                want = sorted(os.path.basename(q) for q in self.tree if q and os.path.dirname(q) == p)
                return m.ls(p or ".") == want
            return (m / p).read_bytes() == v and (m / p).stat().st_size == len(v)
        except OSError as e:
            return "%s: %s" % (p, e)

    def check(self, paths, within=1.5):
        for m in self.mounts:
            for p in paths:
                end = time.monotonic() + within
                while (r := self.same(m, p)) is not True:
                    assert time.monotonic() < end, "%s in %s is not as it was left: %s\n%s" % (
                        p, m.name, r, "\n".join(self.log[-40:]))
                    time.sleep(0.05)

    CALLS = [write] * 6 + [append] * 3 + [patch] * 4 + [truncate] * 2 + [open_write] * 3 + [more] * 5 + \
        [close] * 4 + [unlink] * 4 + [mkdir] * 3 + [rmdir] * 2 + [rename] * 6 + [refresh]

    def step(self):
        try:
            self.rng.choice(self.CALLS)(self)
        except (AssertionError, OSError) as e:
            raise AssertionError("%s\n%s" % (e, "\n".join(self.log[-40:]))) from e
        some = sorted(self.tree)
        self.check(self.touched | {self.rng.choice(some), self.rng.choice(some), self.place()})


@pytest.mark.slow
def test_two_mounts_are_one_directory(twins, store):
    model = Model(twins, random.Random(seed_of()))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        model.step()
    print(len(model.log), "calls")
    model.check(model.tree)
    while model.open:
        model.close()
    model.check(model.tree)
    files = {p: v for p, v in model.tree.items() if v is not DIR}
    wait_until("all to be saved", lambda: sorted(k for k in store.keys() if not k.endswith("/") and
                                                  not os.path.basename(k).startswith(".")) == sorted(files))
    for p, v in files.items():
        assert store.get(p) == v, p


class Crowd:
    """Threads that meet on a few names. Every file says itself whether it is whole."""

    def __init__(self, mounts, seed):
        self.mounts, self.seed = mounts, seed
        self.stop = time.monotonic() + SECONDS
        self.busy, self.wrong, self.calls = {}, [], 0

    @staticmethod
    def text(rng):
        body = rng.randbytes(rng.choice([0, 10, 3000, 150000]))
        return hashlib.sha256(body).hexdigest().encode() + body

    @staticmethod
    def whole(data):
        return not data or hashlib.sha256(data[64:]).hexdigest().encode() == data[:64]

    def act(self, rng, m):
        def path():
            return m / "/".join(rng.choice("pqr") for _ in range(rng.choice([1, 1, 2, 3])))

        def create():
            tmp = m / ("t%d" % threading.get_ident())
            tmp.write_bytes(self.text(rng))
            os.rename(tmp, path())

        def read():
            data = path().read_bytes()
            if not self.whole(data):
                self.wrong.append("a torn file of %d bytes" % len(data))

        def held():
            with open(path(), "rb", buffering=0) as f:
                first = os.pread(f.fileno(), 1 << 20, 0)
                time.sleep(rng.random() / 10)
                again = os.pread(f.fileno(), 1 << 20, 0)
            if not self.whole(first) or first != again:
                self.wrong.append("an open file changed: %d, %d bytes" % (len(first), len(again)))

        kind = rng.choice([create] * 5 + [read] * 4 + [held] + ["mkdir"] * 2 + ["rename"] * 3 +
                          ["unlink", "rmdir", "ls", "stat"] * 2)
        if callable(kind):
            kind()
        elif kind == "rename":
            os.rename(path(), path())
        else:
            getattr(os, {"ls": "listdir"}.get(kind, kind))(path())

    def run(self, n):
        rng, m = random.Random(self.seed * 100 + n), self.mounts[n % 2]
        while time.monotonic() < self.stop:
            self.busy[n] = time.monotonic()
            try:
                self.act(rng, m)
            except OSError as e:
                if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY,
                                   errno.EINVAL, errno.EBUSY, errno.EPERM, errno.ESTALE):
                    self.wrong.append(repr(e))
            self.busy[n] = None
            self.calls += 1

    def refresh(self):
        while time.monotonic() < self.stop:
            for m in self.mounts:
                m.box.ctl("--socket", m.socket, "refresh", str(m.path()))
            time.sleep(0.3)


def walk(top):
    found = {}
    for at, dirs, files in os.walk(top):
        for name in files:
            p = os.path.join(at, name)
            with open(p, "rb") as f:
                found[os.path.relpath(p, top)] = f.read()
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_crowd_on_two_mounts(twins, store):
    crowd = Crowd(twins, seed_of())
    threads = [threading.Thread(target=crowd.run, args=(n,), daemon=True) for n in range(8)]
    threads.append(threading.Thread(target=crowd.refresh, daemon=True))
    for t in threads:
        t.start()
    late = None
    while any(t.is_alive() for t in threads):
        now = time.monotonic()
        slow = [n for n, since in list(crowd.busy.items()) if since and now - since > LATE]
        if slow:
            late = "call of thread %s hangs for %d s" % (slow, LATE)
            break
        time.sleep(0.2)
    assert not late, late
    print(crowd.calls, "calls")
    assert not crowd.wrong, "%d: %s" % (len(crowd.wrong), sorted(set(crowd.wrong))[:10])
    for m in twins:
        subprocess.run(["sync", "-f", m.at], check=False)
    one, two = (walk(m.at) for m in twins)
    assert one == two
    assert all(crowd.whole(v) for v in one.values())
    names = sorted(k for k in store.keys() if not k.endswith("/") and not os.path.basename(k).startswith("."))
    assert sorted(one) == names
    for k in names:
        assert store.get(k) == one[k], k
