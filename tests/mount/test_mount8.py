# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""mount(8), fstab, findmnt and umount as root, with the helper where mount(8) looks for it."""
import fcntl
import os
import subprocess

import pytest

from helpers import errno_of
from util import mount_at, open_files, run, wait_until, with_own_mounts

HELPER = "/sbin/mount.fuse.hafiz"


@pytest.fixture(autouse=True)
def one_at_a_time(need_root):
    """They all put their program at the same place. Autouse comes first: until the box is closed."""
    with open("/run/lock/hafiz-tests-mount8", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def helper(box):
    """/sbin/mount.fuse.hafiz for the time of one test; an installed one is put back afterwards."""
    aside = None
    if os.path.lexists(HELPER):
        aside = HELPER + ".aside"
        os.rename(HELPER, aside)
    os.symlink(box.programs.mount, HELPER)

    def undo():
        os.unlink(HELPER)
        if aside:
            os.rename(aside, HELPER)
    box.cleanups.append(undo)
    return HELPER


class Mount8:
    """mount(8) as a Mount that is closed with the box."""

    def __init__(self, box):
        self.box = box

    def __call__(self, *args, check=True, env=None):
        return run(["mount", *args], check=check, env=self.box.env(None, env), timeout=60)


@pytest.fixture
def mount8(box, helper):
    return Mount8(box)


def gone(at):
    run(["umount", at])
    assert not mount_at(at)


def test_mount_t_rw_and_umount(box, mount8, file_store):
    """mount -t fuse.hafiz file:///dir /mnt -o rw; no socket, no HOME: root's private backend."""
    at = box.mkdir("mnt8")
    mount8("-t", "fuse.hafiz", file_store.source, at, "-o", "rw")
    entry = mount_at(at)
    assert entry.fstype == "fuse.hafiz" and entry.source == file_store.source
    assert {"nosuid", "nodev"} <= set(entry.options), "nosuid and nodev unless root says otherwise"
    with open(os.path.join(at, "f"), "w", encoding="ascii") as f:
        f.write("x")
    assert file_store.get("f") == b"x"
    gone(at)


def test_ro_and_the_default_word(box, mount8, file_store):
    at = box.mkdir("mnt8")
    file_store.put("f", b"x")
    mount8("-t", "fuse.hafiz", "-o", "ro", file_store.source, at)
    assert "ro" in mount_at(at).options and errno_of(open, at + "/f", "r+b") == 30
    gone(at)
    mount8("-t", "fuse.hafiz", file_store.source, at)  # mount(8) says rw by itself
    with open(at + "/g", "wb") as f:
        f.write(b"y")
    gone(at)


def test_the_word_socket(box, mount8, file_store):
    b = box.backend()
    at = box.mkdir("mnt8")
    mount8("-t", "fuse.hafiz", file_store.source, at, "-o", "rw,socket=%s,attr-ttl=5,_netdev,nofail" %
           b.socket)
    assert not box.private_backends()
    with open(at + "/f", "wb") as f:
        f.write(b"x")
    gone(at)


def test_fstab_line(box, mount8, file_store, store):
    """An fstab line of a volume, mounted with -a and again with -a (which must not mount twice)."""
    b = box.backend(config="[s3proxyd]\n" + store.section("models"))
    at, at2 = box.mkdir("mnt a"), box.mkdir("mnt8b")
    fstab = box.path("fstab")
    with open(fstab, "w", encoding="ascii") as f:
        f.write("models %s fuse.hafiz rw,_netdev,nofail,x-systemd.requires=s3proxyd.socket,socket=%s 0 0\n"
                "%s %s fuse.hafiz ro,noauto,user,socket=%s 0 0\n" %
                (at.replace(" ", "\\040"), b.socket, file_store.source, at2, b.socket))
    mount8("-a", "-T", fstab)
    with open(at + "/f", "wb") as f:
        f.write(b"by fstab")
    assert store.get("f") == b"by fstab"
    assert not mount_at(at2)
    device = mount_at(at).device
    mount8("-a", "-T", fstab)
    assert mount_at(at).device == device, "mounted a second time on top"
    mount8("-T", fstab, at2)
    assert "ro" in mount_at(at2).options
    out = run(["findmnt", "-n", "-o", "SOURCE,FSTYPE", at]).stdout.split()
    assert out == ["models", "fuse.hafiz"]
    assert run(["findmnt", "-n", "-t", "fuse.hafiz", "-o", "TARGET", "-S", file_store.source]
               ).stdout.strip() == at2
    gone(at)
    gone(at2)


def test_umount_returns_and_the_daemon_ends(box, mount8, file_store):
    b = box.backend()
    at = box.mkdir("mnt8")
    mount8("-t", "fuse.hafiz", file_store.source, at, "-o", "rw,socket=" + b.socket)
    with open(at + "/f", "wb") as f:
        f.write(b"z" * 5000000)
    gone(at)
    assert file_store.size("f") == 5000000
    wait_until("the daemon to end", lambda: all("s3proxyd" in e for e in box.ours().values()), 10)


def test_failures_have_mounts_exit_code_and_one_line(box, mount8, file_store):
    b = box.backend()
    at = box.mkdir("mnt8")
    r = mount8("-t", "fuse.hafiz", "file:///does/not/exist", at, "-o", "socket=" + b.socket, check=False)
    assert r.returncode == 32 and "/does/not/exist" in r.stderr
    assert len(r.stderr.strip().splitlines()) == 1, r.stderr
    r = mount8("-t", "fuse.hafiz", file_store.source, at, "-o", "rw,secret_key=hush", check=False)
    assert r.returncode == 1 and "secret" in r.stderr and "hush" not in r.stderr
    r = mount8("-t", "fuse.hafiz", file_store.source, at, "-o", "nosuchword", check=False)
    assert r.returncode == 1 and "nosuchword" in r.stderr
    assert not mount_at(at)


def test_fake_mounts_nothing(box, mount8, file_store):
    at = box.mkdir("mnt8")
    mount8("-f", "-t", "fuse.hafiz", file_store.source, at)
    assert not mount_at(at)


def test_remount_read_only(box, mount8, file_store):
    b = box.backend()
    at = box.mkdir("mnt8")
    mount8("-t", "fuse.hafiz", file_store.source, at, "-o", "rw,socket=" + b.socket)
    device = mount_at(at).device
    r = mount8("-o", "remount,ro", at, check=False)
    # Either it is done or refused clearly; a second daemon on top is neither.
    assert mount_at(at).device == device
    assert len([1 for line in run(["findmnt", "-n", at]).stdout.splitlines() if line.strip()]) == 1
    if r.returncode == 0:
        assert errno_of(open, at + "/f", "wb") == 30
    else:
        assert "remount" in r.stderr
    gone(at)


def test_no_home_in_the_environment(box, file_store):
    """mount(8) gives no HOME and no XDG_*: the home is taken from passwd. Run with root's home replaced by
    a directory of the box, in a mount namespace of its own."""
    home = box.mkdir("roots-home", mode=0o700)
    at = box.mkdir("mnt8")
    pw = run(["getent", "passwd", "0"]).stdout.split(":")[5]
    script = ("mount --bind %s %s && env -i PATH=/usr/bin:/bin %s %s "
              "HAFIZ_S3PROXYD=%s %s %s %s -o rw && echo x > %s/f && umount %s" %
              (home, pw, "ASAN_OPTIONS=" + box.env()["ASAN_OPTIONS"],
               "UBSAN_OPTIONS=" + box.env()["UBSAN_OPTIONS"], box.programs.backend, box.programs.helper,
               file_store.source, at, at, at))
    run(with_own_mounts(script), timeout=60)
    assert file_store.get("f") == b"x\n"
    found = [os.path.join(r, n) for r, ds, fs in os.walk(home) for n in fs + ds]
    assert any("hafiz" in p for p in found), found


def test_allow_other_does_not_imply_auto_unmount_for_mount8(box, mount8, file_store):
    b = box.backend()
    at = box.mkdir("mnt8")
    mount8("-t", "fuse.hafiz", file_store.source, at, "-o", "rw,allow_other,socket=" + b.socket)
    assert "allow_other" in mount_at(at).super_options
    pids = [p for p, e in box.ours().items() if "s3proxyd" not in e]
    for p in pids:
        if "/dev/fuse" in open_files(p):
            os.kill(p, 9)
    wait_until("ENOTCONN", lambda: errno_of(os.listdir, at) == 107, 10)
    subprocess.run(["sleep", "0.7"], check=True)
    assert mount_at(at)
    gone(at)
