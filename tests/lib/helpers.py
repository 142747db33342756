# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Small things that several test files say."""
import os
import random
import shutil
import textwrap

import pytest


def errno_of(call, *args, **kw):
    """The errno that the call must fail with."""
    with pytest.raises(OSError) as e:
        call(*args, **kw)
    return e.value.errno


def noise(n, seed=1):
    """Bytes no compression and no zero detection helps with; the same for the same seed."""
    return random.Random(seed).randbytes(n)


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
