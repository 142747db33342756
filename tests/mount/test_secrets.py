# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Where keys must not be: process titles, environments, logs, the mount table, status, files."""
import os

import pytest

from s3server import ACCESS_KEY, SECRET_KEY
from util import run


def places(box):
    """name → text of everywhere somebody could look, for the programs of this box."""
    found = {"the logs": box.watch.text(), "mountinfo": open("/proc/self/mountinfo", encoding="utf-8").read()}
    for pid, exe in box.ours().items():
        name = "%s (%d)" % (os.path.basename(exe), pid)
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            found["the title of " + name] = f.read().decode("utf-8", "replace")
        with open("/proc/%d/environ" % pid, "rb") as f:
            found["the environment of " + name] = f.read().decode("utf-8", "replace")
    return found


def files_with(box, text, skip=()):
    """Files of the box that hold the text (caches, databases, sockets' neighbours)."""
    r = run(["grep", "-rlaF", "--exclude-dir=san", text, box.dir], check=False)
    return [p for p in r.stdout.split() if not p.startswith(tuple(skip) or ("\0",))]


@pytest.mark.parametrize("daemon", [True, False])
def test_keys_given_as_arguments(box, s3_store, daemon):
    m = box.mount(s3_store.source, "--rw", "--endpoint", s3_store.endpoint, "--access-key", ACCESS_KEY,
                  "--secret-key=" + SECRET_KEY, "--session-token", "", daemon=daemon,
                  env={"HAFIZ_DEBUG": "all"})
    m.write("f", b"x")
    assert s3_store.get("f") == b"x"
    for place, text in places(box).items():
        assert SECRET_KEY not in text, place
        if place.startswith("the title"):
            assert ACCESS_KEY not in text, place
    assert not files_with(box, SECRET_KEY)
    assert any(m.at in t for p, t in places(box).items() if p.startswith("the title of hafiz-mount"))


def test_keys_of_the_environment_do_not_reach_children(box, s3_store):
    m = box.mount_store(s3_store, env={"AWS_SECRET_ACCESS_KEY": SECRET_KEY, "HAFIZ_DEBUG": "all"},
                        daemon=True)
    m.write("f", b"x")
    for place, text in places(box).items():
        assert SECRET_KEY not in text, place
    assert not files_with(box, SECRET_KEY)


def test_keys_of_a_volume(box, s3_store):
    b = box.backend(config="[s3proxyd]\n" + s3_store.section("models"), env={"HAFIZ_DEBUG": "all"})
    m = box.mount("models", "--rw", "--socket", b.socket)
    m.write("f", b"x")
    for place, text in places(box).items():
        assert SECRET_KEY not in text, place
    assert SECRET_KEY not in box.ctl("--socket", b.socket, "status", "--json").stdout
    assert files_with(box, SECRET_KEY) == [b.config_path]


def test_a_wrong_key_is_not_echoed(box, s3_store):
    code, line = box.refused(s3_store.source, "--endpoint", s3_store.endpoint, "--access-key", ACCESS_KEY,
                             "--secret-key", "wrong-and-private")
    assert "wrong-and-private" not in line
    assert not files_with(box, "wrong-and-private")


@pytest.mark.parametrize("word", ["access_key=AKIAX", "secret_key=hush", "secret-key=hush",
                                  "session_token=hush", "secretAccessKey=hush"])
def test_keys_in_o_are_refused(box, file_store, word):
    code, line = box.refused(file_store.source, "-o", word)
    assert code == 1 and word.split("=")[0] in line and word.split("=")[1] not in line


def test_no_core_and_not_dumpable(box, file_store):
    m = box.mount(file_store.source, daemon=True)
    for pid in box.ours():
        with open("/proc/%d/limits" % pid, encoding="ascii") as f:
            core = [x for x in f if x.startswith("Max core")][0].split()
        # The sanitizers need to read their own process: only a build without them is locked.
        if not box.programs.sanitized:
            assert core[4] == "0", "core files of %d" % pid
            assert os.stat("/proc/%d/environ" % pid).st_uid == 0
    assert m.ls() == []


def test_the_daemon_has_given_everything_up(box, file_store):
    """After start the process that serves the kernel has no privileges to gain and no network."""
    m = box.mount(file_store.source, daemon=True)
    if box.programs.sanitized:
        pass  # the sandbox may be looser under a sanitizer; the bits below hold in every build
    for pid in m.fuse_pids():
        with open("/proc/%d/status" % pid, encoding="ascii") as f:
            status = dict(x.rstrip("\n").split(":\t", 1) for x in f if ":\t" in x)
        if status["NoNewPrivs"] == "1":
            assert int(status["CapEff"], 16) & ~(1 << 21) == 0, "capabilities of %d" % pid
            break
    else:
        raise AssertionError("no process that serves the mount set no_new_privs")
