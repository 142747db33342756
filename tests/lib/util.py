# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What every fixture needs: waiting with a limit, the mount table, processes, free ports."""
import contextlib
import os
import random
import signal
import socket
import subprocess
import time


def wait_until(what, check, timeout=20, step=0.02):
    """Calls check() until it returns something true, which is returned; fails with `what` after timeout."""
    end = time.monotonic() + timeout
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain for: %s" % (timeout, what))
        time.sleep(step)
        step = min(step * 1.5, 0.3)


def run(argv, timeout=60, check=True, **kw):
    """subprocess.run with text output and a limit; a failure shows what the program said."""
    kw.setdefault("stdin", subprocess.DEVNULL if "input" not in kw else None)
    if "input" in kw:
        kw.pop("stdin")
    done = subprocess.run(argv, capture_output=True, text=True, errors="surrogateescape",
                          timeout=timeout, **kw)
    if check and done.returncode:
        raise AssertionError("%s: exit code %d\n%s%s" % (" ".join(map(str, argv)), done.returncode,
                                                         done.stdout, done.stderr))
    return done


def free_port():
    """A port of 127.0.0.1 nobody listens on. Taken below the range of outgoing connections, so that
    nothing grabs it before the server does."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class MountEntry:
    def __init__(self, line):
        left, right = line.split(" - ")
        f = left.split()
        r = right.split()
        self.device, self.options = f[2], f[5].split(",")
        self.path = unescape(f[4])
        self.fstype, self.source, self.super_options = r[0], unescape(r[1]), r[2].split(",")


def unescape(s):
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        s = s.replace(code, char)
    return s


def mounts(pid="self"):
    with open("/proc/%s/mountinfo" % pid, encoding="utf-8", errors="surrogateescape") as f:
        return [MountEntry(line) for line in f]


def mount_at(path, pid="self"):
    """The topmost mount at path, or None. Reads the table only: a dead FUSE mount may hang a stat."""
    found = None
    for m in mounts(pid):
        if m.path == str(path):
            found = m
    return found


def abort_fuse(path):
    """Ends every request of the FUSE mount at path with an error: the way out for a stuck test."""
    m = mount_at(path)
    if m and os.geteuid() == 0:
        minor = int(m.device.split(":")[1])
        # A FUSE mount's device number is the name of its control directory, major and minor combined.
        for name in {str(minor), str((minor & 0xff) | ((minor & ~0xff) << 12))}:
            try:
                with open("/sys/fs/fuse/connections/%s/abort" % name, "w", encoding="ascii") as f:
                    f.write("1")
            except OSError:
                pass


def fusectl_mounted():
    if os.geteuid() == 0 and not mount_at("/sys/fs/fuse/connections"):
        subprocess.run(["mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections"], check=False,
                       stderr=subprocess.DEVNULL)


def processes_of(directory):
    """pid → executable of all processes whose program lies below directory."""
    found = {}
    prefix = str(directory) + "/"
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                exe = os.readlink("/proc/%s/exe" % name)
                with open("/proc/%s/stat" % name, encoding="utf-8", errors="replace") as f:
                    state = f.read().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if exe.startswith(prefix) and state != "Z":
                found[int(name)] = exe
    return found


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def open_files(pid):
    """What its descriptors lead to; none when it is gone. Others may be closed while this looks."""
    found = []
    try:
        for fd in os.listdir("/proc/%d/fd" % pid):
            with contextlib.suppress(OSError):
                found.append(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
    except OSError:
        pass
    return found


def zombies_of(parent):
    """pids of the children of parent that ended and that it has not waited for."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, encoding="utf-8", errors="replace") as f:
                    state, of = f.read().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if state == "Z" and int(of) == parent:
                found.append(int(name))
    return found


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def pss_kib(pid):
    """Proportional set size of one process; 0 when it is gone."""
    try:
        with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
            for line in f:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def with_own_mounts(script, *args):
    """A shell script, with "$@", in a mount namespace of its own. It lets go of the mounts of tests that run
    beside it: while it held them, umount would not end their daemons."""
    let_go = ("for at in $(awk '$3 == \"fuse.hafiz\" {print $2}' /proc/self/mounts); do "
              "umount -l \"$at\"; done; ")
    return ["unshare", "-m", "bash", "-ec", let_go + script, "bash", *args]
