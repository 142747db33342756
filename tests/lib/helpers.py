# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Small things that several test files say."""
import os
import random
import shutil
import textwrap
import threading

import pytest


def errno_of(call, *args, **kw):
    """The errno that the call must fail with."""
    with pytest.raises(OSError) as e:
        call(*args, **kw)
    return e.value.errno


def noise(n, seed=1):
    """Bytes no compression and no zero detection helps with; the same for the same seed."""
    return random.Random(seed).randbytes(n)


def disk_bytes(directory):
    """What the files below it take; they come and go meanwhile."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def python_as(box, user, program):
    """What a Python program prints that another user runs: it has `os` and `proto`, with copies of what
    they need where any user can read them."""
    import msgpack
    import proto
    lib = box.mkdir("pylib")
    shutil.copytree(os.path.dirname(msgpack.__file__), os.path.join(lib, "msgpack"), dirs_exist_ok=True)
    os.makedirs(os.path.join(lib, "proto"), exist_ok=True)
    for name in ("messages.tbl", "limits.h"):
        shutil.copy(os.path.join(proto.TOP, "proto", name), os.path.join(lib, "proto", name))
    with open(proto.__file__, encoding="utf-8") as f:
        text = f.read().replace('os.path.join(os.path.dirname(__file__), "..", "..")', repr(lib))
    for name, content in (("proto.py", text), ("program.py", "import os\nimport proto\n" +
                                               textwrap.dedent(program))):
        with open(os.path.join(lib, name), "w", encoding="utf-8") as f:
            f.write(content)
    box.sh("chmod -R a+rX " + lib)
    return box.sh("/usr/bin/python3 %s/program.py" % lib, user=user).stdout


class Gate:
    """Requests of one kind stop at it, before or after they had their effect, until it is opened."""

    def __init__(self, fake, effect_first, nth=1, **which):
        self.fake, self.effect_first = fake, effect_first
        self.reached, self.opened = threading.Event(), threading.Event()
        fake.on(nth=nth, **which).call(self._pass)

    def _answer(self, req):
        with self.fake.lock:
            return self.fake.ops.answer(req)

    def _pass(self, req):
        reply = self._answer(req) if self.effect_first else None
        self.reached.set()
        self.opened.wait(20)
        return reply or self._answer(req)

    def wait(self):
        assert self.reached.wait(10), "no such request came"

    def open(self):
        self.opened.set()
