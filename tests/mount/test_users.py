# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""hafiz-mount and fusermount3 -u as an ordinary user; who may look into whose mount."""
import os

import pytest

from util import mount_at, run, wait_until, with_own_mounts


@pytest.fixture
def mine(box, users, file_store):
    """A bucket that belongs to the first user."""
    box.sh("chown -R %s %s" % (users[0], file_store.directory))
    return users[0], file_store


def test_mount_write_read_unmount(box, mine):
    user, store = mine
    m = box.mount(store.source, "--rw", user=user, daemon=True)
    box.sh("mkdir %s/d && echo hello > %s/d/f && cat %s/d/f && ls -l %s" % (m.at, m.at, m.at, m.at),
           user=user)
    assert store.get("d/f") == b"hello\n"
    owner = box.sh("stat -c '%%U %%a' %s/d/f" % m.at, user=user).stdout.split()
    assert owner[0] == user
    m.unmount()  # fusermount3 -u, as the user
    assert not mount_at(m.at)
    wait_until("the daemon to end", lambda: not m.pids(), 15)


def test_on_a_real_server(box, users, s3_store):
    m = box.mount_store(s3_store, user=users[0], daemon=True)
    box.sh("cp /etc/hosts %s/h && cmp /etc/hosts %s/h" % (m.at, m.at), user=users[0])
    with open("/etc/hosts", "rb") as f:
        assert s3_store.get("h") == f.read()


def test_private_backends_are_apart(box, users, s3_store):
    a = box.mount_store(s3_store, user=users[0], daemon=True)
    b = box.mount_store(s3_store, user=users[1], daemon=True)
    pids = box.private_backends()
    assert len(pids) == 2
    assert len({os.stat("/proc/%d" % p).st_uid for p in pids}) == 2
    box.sh("echo 1 > %s/f" % a.at, user=users[0])
    assert box.sh("cat %s/f" % b.at, user=users[1]).stdout == "1\n"
    for user in users[:2]:
        for d in box.sh("find ~ $XDG_RUNTIME_DIR -name hafiz -type d", user=user).stdout.split():
            assert os.stat(d).st_mode & 0o077 == 0, "%s is open to others" % d


def test_others_may_not_look_without_allow_other(box, mine, users):
    user, store = mine
    store.put("f", b"x")
    m = box.mount(store.source, user=user, daemon=True)
    r = box.sh("ls %s" % m.at, user=users[1], check=False)
    assert r.returncode != 0 and "ermission denied" in r.stderr


def fuse_conf(box, line, command):
    """A command in a mount namespace whose /etc/fuse.conf has that line."""
    conf = box.path("fuse.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write(line + "\n")
    return with_own_mounts("mount --bind %s /etc/fuse.conf && %s" % (conf, command))


def as_user(box, user, command):
    return " ".join(box.argv_as(user, ["bash", "-ec", '"%s"' % command]))


def test_allow_other_names_the_missing_line(box, mine):
    user, store = mine
    at = box.mkdir("ao", user)
    command = as_user(box, user, "%s %s %s --allow-other" % (box.programs.mount, store.source, at))
    r = run(fuse_conf(box, "# nothing", command), env=box.env(user), check=False)
    assert r.returncode != 0
    lines = r.stderr.strip().splitlines()
    assert len(lines) == 1 and "user_allow_other" in lines[0] and "/etc/fuse.conf" in lines[0], r.stderr


def test_allow_other_with_the_line(box, mine, users):
    user, store = mine
    store.put("f", b"shared")
    at = box.mkdir("ao", user)
    command = as_user(box, user, "%s %s %s --allow-other" % (box.programs.mount, store.source, at)) + \
        " && " + as_user(box, users[1], "cat %s/f" % at) + \
        " && " + as_user(box, user, "fusermount3 -u %s" % at)
    r = run(fuse_conf(box, "user_allow_other", command), env=box.env(user))
    assert r.stdout == "shared"


def test_modes_are_enforced_for_others(box, mine, users):
    """allow_other comes with default_permissions: a 0600 file is for its owner."""
    user, store = mine
    at = box.mkdir("ao", user)
    command = as_user(box, user, "%s %s %s --rw --allow-other" % (box.programs.mount, store.source, at)) \
        + " && " + as_user(box, user, "echo secret > %s/f; chmod 600 %s/f" % (at, at)) \
        + " && ! " + as_user(box, users[1], "cat %s/f" % at) \
        + " && " + as_user(box, user, "fusermount3 -u %s" % at)
    r = run(fuse_conf(box, "user_allow_other", command), env=box.env(user))
    assert "secret" not in r.stdout


def test_a_user_cannot_mount_on_a_foreign_directory(box, mine):
    user, store = mine
    code, line = box.refused(store.source, user=user, at=box.mkdir("roots", mode=0o755))
    assert "roots" in line


def test_another_user_cannot_unmount(box, mine, users):
    user, store = mine
    m = box.mount(store.source, user=user, daemon=True)
    r = box.sh("fusermount3 -u %s" % m.at, user=users[1], check=False)
    assert r.returncode != 0 and mount_at(m.at)
