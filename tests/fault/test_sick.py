# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A server that is sick for a while is waited for, without wrong data and without loss; one that stays sick
gives an error in the end (after five minutes of trying), the old object stays, and the mount lives."""
import errno
import os
import threading
import time

import pytest

from faulty import alive
from helpers import noise

MIB = 1 << 20
BIG = noise(20 * MIB)


def read(m):
    return m.read("o") == noise(MIB)


def put(m):
    m.write("small", b"new")
    return True


def upload(m):
    m.write("big", BIG)
    return True


def rename(m):
    os.rename(m / "from", m / "to")
    return True


SICK = {
    "get 503": (read, lambda f: f.on(op="get").status(503, "SlowDown")),
    "get short": (read, lambda f: f.on(op="get").short(1)),
    "get reset": (read, lambda f: f.on(op="get").reset_at(10)),
    "put 503": (put, lambda f: f.on("PUT", op="put").status(503, "SlowDown")),
    "put silent": (put, lambda f: f.on("PUT", op="put", nth=1).silence(4)),
    "complete 200 with error": (upload, lambda f: f.on(op="complete").ok_with_error("InternalError")),
    "part 500": (upload, lambda f: f.on(op="part").status(500, "InternalError")),
    "copy 200 with error": (rename, lambda f: f.on(op="copy").ok_with_error("InternalError")),
}


def prepare(fake):
    fake.put("b", "o", noise(MIB))
    fake.put("b", "small", b"old")
    fake.put("b", "big", b"old")
    fake.put("b", "from", b"moved")


class Work(threading.Thread):
    """One operation on the mount; result: what it returned, or its errno."""

    def __init__(self, function, mount):
        super().__init__(daemon=True)
        self.function, self.mount, self.result = function, mount, None
        self.start()

    def run(self):
        try:
            self.result = self.function(self.mount)
        except OSError as e:
            self.result = e.errno


@pytest.mark.parametrize("name", SICK)
def test_sick_for_a_while(box, fm, fake, name):
    prepare(fake)
    fm.ls()
    function, rule = SICK[name]
    rule(fake)
    with box.limit(110):
        work = Work(function, fm)
        time.sleep(6)
        fake.calm()
        work.join(100)
    assert work.result is True, work.result
    if function is put:
        assert fake.get("b", "small") == b"new"
    if function is upload:
        assert fake.get("b", "big") == BIG and not fake.ops.uploads
    if function is rename:
        assert fake.get("b", "to") == b"moved" and "from" not in fake.keys()
    alive(fm, fake)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_sick_for_ever(box, fm, fake):
    """All at once, because it takes five minutes."""
    prepare(fake)
    fm.ls()
    fake.on(op="get").short(1)
    fake.on("PUT", op="put").status(503, "SlowDown")
    fake.on(op="complete").ok_with_error("InternalError")
    fake.on(op="copy").ok_with_error("InternalError")
    with box.limit(440):
        works = [Work(f, fm) for f in (read, put, upload, rename)]
        for w in works:
            w.join(430)
    assert all(w.result in (errno.EIO, errno.ETIMEDOUT) for w in works), [w.result for w in works]
    assert fake.get("b", "small") == fake.get("b", "big") == b"old" and fake.get("b", "from") == b"moved"
    fake.calm()
    time.sleep(1.2)
    assert read(fm)
    alive(fm, fake)
