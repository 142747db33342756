# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""For tests of listings over the protocol: a client of the scripted S3, gates at which listings stop, and
counts of what was asked."""
import threading

from proto import Client

DIR = 0o040000


class Gate:
    """The listings that `which` tells stop at it, asked and not yet answered, until it is opened. With `late`
    they are answered by what is there when it opens."""

    def __init__(self, fake, which, late=False, times=1):
        self.fake, self.which, self.late = fake, which, late
        self.reached, self.opened = threading.Event(), threading.Event()
        self.left = times
        fake.on("GET", op="list").call(self._pass)

    def _pass(self, req):
        if not self.left or not self.which(req.query):
            return None
        self.left -= 1
        with self.fake.lock:
            reply = None if self.late else self.fake.ops.answer(req)
        self.reached.set()
        self.opened.wait(20)
        return reply

    def wait(self):
        assert self.reached.wait(10), "no such request came"

    def open(self):
        self.opened.set()


def of(prefix, flat=None):
    """Listings of that prefix; flat: with or without a delimiter."""
    return lambda q: q.get("prefix") == prefix and flat in (None, "delimiter" not in q)


def connect(backend, key="k", **fields):
    c = Client(backend.socket)
    c.hello()
    fields.setdefault("attr_ttl_ms", 600000)
    c.attach_fake(backend.fake, access_key=key, **fields)
    return c


def refresh(backend, c, path):
    """What another host changed is seen from now on."""
    with_two = Client(backend.socket)
    with_two.hello()
    with_two.ok("REFRESH", instance=c.instance, path=path)
    with_two.close()


def ino(c, path):
    at = c.root
    for name in path.split("/"):
        a = c.lookup(name, at)
        assert not a.error and a.attr, "%s: %s is not there" % (path, name)
        at = a.attr["ino"]
    return at


def there(c, name, parent=None):
    a = c.lookup(name, parent)
    assert not a.error
    return bool(a.attr and a.attr["ino"])


def names(c, path=None):
    return sorted(set(c.readdir(ino(c, path) if path else None)) - {".", ".."})


def fill(fake, pattern, count):
    made = [pattern % i for i in range(count)]
    for key in made:
        fake.put("b", key, b"x")
    return made


def lists(fake):
    return fake.count("GET", op="list")


def fresh(fake):
    fake.forget_log()


def walk(c, path):
    """Depth first, as find goes; returns the files and how many directories there were."""
    files, dirs = [], 0
    top = c.readdir(ino(c, path) if path else c.root, plus=1)
    stack = [(path, n, a) for n, a in reversed(list(top.items()))]
    while stack:
        at, name, attr = stack.pop()
        full = at + "/" + name if at else name
        if attr["mode"] & 0o170000 == DIR:
            dirs += 1
            stack += [(full, n, a) for n, a in reversed(list(c.readdir(attr["ino"], plus=1).items()))]
        else:
            files.append(full)
    return files, dirs
