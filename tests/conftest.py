# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Fixtures: `box` (the world of one test), `store` (each of the three stores in turn), `m` (that store
mounted read-write), servers and users. What they are made of is in lib/."""
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))

from box import Box, Programs  # noqa: E402
from s3server import FileStore, S3Server, S3Store  # noqa: E402
from scripted_s3 import ScriptedS3  # noqa: E402
from util import fusectl_mounted, mounts, processes_of  # noqa: E402

# A run in the background of a shell has SIGINT ignored, and so would every program that the tests start
# and interrupt; with a handler here theirs is the default again.
signal.signal(signal.SIGINT, signal.default_int_handler)

USERS = ("hafiz-t1", "hafiz-t2", "hafiz-t3")


@pytest.fixture(scope="session")
def root_dir():
    """Where everything of this session lives; other users must be able to walk through it."""
    path = tempfile.mkdtemp(prefix="hz", dir=os.environ.get("HAFIZ_TEST_TMP", "/var/tmp"))
    os.chmod(path, 0o755)
    yield path
    busy = [m.path for m in mounts() if m.path.startswith(path + "/")]
    assert not busy, "still mounted: %s" % busy
    if not any(name.startswith("b") and name != "bin" for name in os.listdir(path)):
        shutil.rmtree(path, ignore_errors=True)
    else:
        print("\nlogs of the failed tests are kept below " + path)


@pytest.fixture(scope="session")
def programs(root_dir):
    p = Programs(root_dir)
    if os.geteuid() == 0:
        fusectl_mounted()
        mode = os.stat("/dev/fuse").st_mode
        if stat.S_IMODE(mode) & 0o666 != 0o666:
            os.chmod("/dev/fuse", 0o666)  # as on any desktop; some machines come without it
    yield p
    left = processes_of(p.dir)
    assert not left, "programs still run at the end of the session: %s" % left


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.failed_call = report.failed


@pytest.fixture
def box(programs, root_dir, request):
    b = Box(programs, root_dir)
    marker = request.node.get_closest_marker("timeout")
    limit = marker.args[0] if marker and marker.args else 150
    # A little before pytest's own limit, whose signal cannot end a wait in the kernel.
    timer = threading.Timer(limit - 10, b.abort)
    timer.daemon = True
    timer.start()
    try:
        yield b
    finally:
        timer.cancel()
        wrong = b.close(keep=getattr(request.node, "failed_call", True))
    assert not wrong, "after the test (logs: %s):\n%s" % (b.dir, "\n".join(wrong))


@pytest.fixture(scope="session")
def servers(root_dir):
    """kind → running server; each is started when it is first asked for."""
    class Lazy(dict):
        def __missing__(self, kind):
            path = os.path.join(root_dir, kind)
            os.makedirs(path)
            self[kind] = S3Server(kind, path)
            return self[kind]
    lazy = Lazy()
    yield lazy
    for s in lazy.values():
        s.stop()
        shutil.rmtree(s.directory, ignore_errors=True)


def make_store(kind, servers, box, name="bucket"):
    if kind == "file":
        return FileStore(box.path(name))
    return S3Store(servers[kind], "t-" + uuid.uuid4().hex[:16])


@pytest.fixture(params=["file", "versitygw", "minio"])
def store(request, servers, box):
    return make_store(request.param, servers, box)


@pytest.fixture(params=["versitygw", "minio"])
def s3_store(request, servers, box):
    return make_store(request.param, servers, box)


@pytest.fixture
def file_store(servers, box):
    return make_store("file", servers, box, "bucket-file")


@pytest.fixture
def m(box, store):
    """The store, mounted read-write with a backend started by hand."""
    backend = box.backend()
    return box.mount_store(store, "--socket", backend.socket)


@pytest.fixture
def fm(box, file_store):
    """A file:// store mounted read-write: for what does not depend on the store."""
    backend = box.backend()
    return box.mount_store(file_store, "--socket", backend.socket)


@pytest.fixture
def fake():
    server = ScriptedS3()
    yield server
    server.close()


@pytest.fixture
def need_root():
    if os.geteuid() != 0:
        pytest.skip("needs root: run tests/run as root or where sudo works")


@pytest.fixture(scope="session")
def users():
    """Three ordinary users of the machine; made for the session where they do not exist."""
    if os.geteuid() != 0:
        pytest.skip("needs root to act as several users")
    # They stay: several sessions may run at once, and none knows when the last is over.
    with open("/run/lock/hafiz-tests-users", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in USERS:
            try:
                pwd.getpwnam(name)
            except KeyError:
                subprocess.run(["useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
                               check=True)
    return USERS


def pytest_collection_modifyitems(items):
    """What takes minutes begins first, so that the run does not end waiting for it."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
