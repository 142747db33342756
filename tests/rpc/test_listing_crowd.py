# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Several mounts of one backend change, list and look up the same few names while the store takes its
time, and some of them hang up with calls under way. Afterwards the backend, which has made every change
itself, must believe what the store has: its listings are good for ten minutes."""
import random
import threading
import time

import pytest

from listing import DIR, connect, fill

DIRS = ["a", "b", "c", "d", "e", "f"]
NAMES = ["n%d" % i for i in range(6)]


@pytest.fixture
def backend(box, fake):
    b = box.backend()
    b.fake = fake
    return b


class Mount(threading.Thread):
    def __init__(self, backend, seed, rounds):
        super().__init__()
        self.backend, self.rnd, self.rounds = backend, random.Random(seed), rounds
        self.fh, self.failed = 0, None

    def run(self):
        try:
            while self.rounds > 0:
                self.session()
        except Exception as e:  # pylint: disable=broad-except
            self.failed = e

    def session(self):
        """Until it hangs up, whatever is under way."""
        c = connect(self.backend, attr_ttl_ms=self.rnd.choice([0, 600000]))
        top = {}
        for d in DIRS:
            a = c.lookup(d)
            if a.attr and a.attr["ino"]:
                top[d] = a.attr["ino"]
        calls = []
        for _ in range(self.rnd.randrange(20, 80)):
            self.rounds -= 1
            calls.append(self.ask(c, top))
            if len(calls) > self.rnd.randrange(1, 12):
                a = c.wait(calls.pop(self.rnd.randrange(len(calls))))
                a.close()
        if self.rnd.random() < 0.5:
            for call in calls:
                c.wait(call).close()
        c.close()

    def ask(self, c, top):
        rnd = self.rnd
        d, e = rnd.choice(DIRS), rnd.choice(DIRS)
        parent, other = top.get(d, c.root), top.get(e, c.root)
        name, new = rnd.choice(NAMES), rnd.choice(NAMES)
        self.fh += 1
        kind = rnd.randrange(14)
        if kind < 3:
            return c.start("LOOKUP", parent=parent, name=name)
        if kind < 5:
            return c.start("READDIR", ino=parent, max_bytes=65536, plus=rnd.randrange(2))
        if kind < 7:
            return c.start("GETATTR", ino=rnd.randrange(1025, 1100))
        if kind == 7:
            return c.start("UNLINK", parent=parent, name=name)
        if kind == 8:
            return c.start("RENAME", parent=parent, name=name, new_parent=other, new_name=new)
        if kind == 9:
            return c.start("MKDIR", parent=parent, name=name, mode=0o755)
        if kind == 10:
            return c.start("RMDIR", parent=parent, name=name)
        if kind == 11:
            return c.start("OPEN", ino=rnd.randrange(1025, 1100), fh=self.fh, flags=0, inline_max=65536)
        call = c.start("CREATE", parent=parent, name=name, fh=self.fh, flags=2, mode=0o644)
        c.start("FSYNC", fh=self.fh)
        c.start("RELEASE", fh=self.fh)
        return call


def believed(c, ino, path, found):
    for name, attr in c.readdir(ino, plus=1).items():
        is_dir = attr["mode"] & 0o170000 == DIR
        found[path + name] = is_dir
        if is_dir:
            believed(c, attr["ino"], path + name + "/", found)
    return found


def stored(fake):
    found = {}
    for key in fake.keys():
        parts = key.split("/")
        for i in range(1, len(parts)):
            found["/".join(parts[:i])] = True
        if parts[-1]:
            found.setdefault(key, False)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_what_is_believed_is_what_is_stored(backend, fake, seed):
    for d in DIRS:
        fake.put("b", d + "/", b"")
        fill(fake, d + "/n%d", 4)
        fill(fake, d + "/n5/x%d", 3)
    rnd = random.Random(seed)
    fake.on().call(lambda r: time.sleep(rnd.choice([0, 0, 0, 0.01, 0.03])))
    crowd = [Mount(backend, seed * 100 + i, 500) for i in range(4)]
    for m in crowd:
        m.start()
    for m in crowd:
        m.join(90)
        assert not m.is_alive() and not m.failed, m.failed
    fake.calm()
    time.sleep(1.5)
    want = stored(fake)
    c = connect(backend)
    assert believed(c, c.root, "", {}) == want
    for d in DIRS:
        i = c.lookup(d).attr["ino"] if d in want else 0
        for name in NAMES if i else ():
            a = c.lookup(name, i)
            assert bool(a.attr and a.attr["ino"]) == (d + "/" + name in want), d + "/" + name
    c.close()
