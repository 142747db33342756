# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""One hafiz-mount: kept in the foreground by default, so that its log and its exit code are seen, or as a
user runs it, as a daemon. Also the file operations that the tests repeat."""
import os
import pathlib
import re
import signal
import subprocess
import time

from util import abort_fuse, kill, mount_at, open_files, run, wait_until


class Mount:
    def __init__(self, box, source, *args, at=None, user=None, env=None, daemon=False, program=None,
                 wrap=(), stdin=None, argv=None, name=None):
        self.box, self.source, self.args = box, source, list(args)
        self.user, self.env, self.daemon, self.wrap = user, env, daemon, list(wrap)
        self.name = name or "mnt%d" % len(box.mounts)
        self.at = at if at is not None else box.mkdir(self.name, user)
        self.log = box.path("hafiz-%s.log" % self.name)
        self.program = program or box.programs.mount
        self.stdin, self.given_argv = stdin, argv
        self.proc = None
        self.killed = False

    def argv(self):
        argv = self.given_argv or [self.program, self.source, self.at, *self.args]
        return self.box.argv_as(self.user, self.wrap + argv + ([] if self.daemon else ["-f"]))

    def _spawn(self):
        self.box.watch.add(self.log)
        self.began = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(
                self.argv(), stdin=subprocess.PIPE if self.stdin else subprocess.DEVNULL, stdout=log,
                stderr=log, env=self.box.env(self.user, self.env), cwd="/")
        if self.stdin:
            self.proc.stdin.write(self.stdin)
            self.proc.stdin.close()

    def start(self, timeout=40):
        before = mount_at(self.at)
        self._spawn()
        if self.daemon:
            code = self.proc.wait(timeout)
            assert code == 0, "hafiz-mount: exit code %d\n%s" % (code, self.said())
            assert mount_at(self.at) is not before, "it said that it worked, but nothing is mounted"
        else:
            wait_until("the mount (log: %s)" % self.log, lambda: self._mounted(before), timeout)
        return self

    def _mounted(self, before):
        m = mount_at(self.at)
        if m and (not before or m.device != before.device):
            return True
        assert self.proc.poll() is None, "hafiz-mount: exit code %d\n%s" % (self.proc.returncode,
                                                                          self.said())
        return False

    def refused(self, timeout):
        """Run to its end, which must be a failure said in one line."""
        start = time.monotonic()
        self._spawn()
        try:
            code = self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError("neither mounted nor refused within %g s:\n%s" % (timeout, self.said()))
        self.took = time.monotonic() - start
        said = self.said()
        assert code != 0, "it worked, or said so: " + said
        assert not mount_at(self.at), "exit code %d, but something is mounted" % code
        lines = [line for line in said.splitlines() if line.strip()]
        assert len(lines) == 1, "not one clear line but %d:\n%s" % (len(lines), said)
        self.box.watch.expect(re.escape(lines[0]))
        assert len(lines[0]) < 400 and lines[0].isprintable(), "not a clear line: " + repr(lines[0])
        return code, lines[0]

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            f.seek(self.began)
            return f.read()

    # --- the mounted directory -----------------------------------------------------------------------
    def path(self, name="."):
        return pathlib.Path(self.at, name)

    def __truediv__(self, name):
        return pathlib.Path(self.at, name)

    def write(self, name, data):
        (self / name).write_bytes(data)

    def read(self, name):
        return (self / name).read_bytes()

    def ls(self, name="."):
        return sorted(os.listdir(self / name))

    def sh(self, command, **kw):
        """A shell command inside the mounted directory."""
        return self.box.sh("cd '%s' && { %s\n}" % (self.at, command), **kw)

    # --- the daemon ----------------------------------------------------------------------------------
    def pids(self):
        """The daemon, and its keeper if there is one, of this very mount."""
        at = self.at.encode()
        found = []
        for pid, exe in self.box.ours().items():
            if os.path.basename(exe) in ("hafiz-mount", "mount.fuse.hafiz"):
                try:
                    with open("/proc/%d/cmdline" % pid, "rb") as f:
                        if at in f.read().split(b"\0") or pid == self.proc.pid:
                            found.append(pid)
                except OSError:
                    pass
        return found

    def fuse_pids(self):
        """The processes that hold the mount's /dev/fuse open."""
        return [pid for pid in self.pids() if "/dev/fuse" in open_files(pid)]

    def kill(self):
        """A crash of the daemon (of whoever serves the mount), not of the keeper."""
        self.killed = True
        pids = self.fuse_pids()
        assert pids, "no process of this mount has /dev/fuse open"
        for pid in pids:
            kill(pid, signal.SIGKILL)

    def unmount(self, lazy=False, check=True, timeout=30):
        if self.user:
            argv = self.box.argv_as(self.user, ["fusermount3", "-u"] + ["-z"] * lazy + [self.at])
        else:
            argv = ["umount"] + ["-l"] * lazy + [self.at] if os.geteuid() == 0 else \
                ["fusermount3", "-u"] + ["-z"] * lazy + [self.at]
        return run(argv, check=check, timeout=timeout)

    def wait_end(self, timeout=20):
        """After unmount: every process of the mount ends by itself. Returns the exit code of `-f`."""
        code = self.proc.wait(timeout)
        wait_until("the mount's processes to end", lambda: not self.pids(), timeout)
        return code

    def close(self):
        if self.proc is None:
            return []
        wrong = []
        if mount_at(self.at):
            if self.unmount(check=False).returncode:
                # Something still uses it, or the daemon is gone: say so unless the test killed it.
                if not self.killed:
                    wrong.append("could not be unmounted: " + self.at)
                abort_fuse(self.at)
                self.unmount(lazy=True, check=False)
        try:
            code = self.wait_end()
            if code and not self.killed and not self.daemon and not self._refusal(code):
                wrong.append("hafiz-mount ended with %d:\n%s" % (code, self.said()[-4000:]))
        except (subprocess.TimeoutExpired, AssertionError):
            wrong.append("the daemon of %s did not end after umount:\n%s" % (self.at,
                                                                           self.said()[-4000:]))
            for pid in self.pids():
                kill(pid, signal.SIGKILL)
            self.proc.wait()
        return wrong

    def _refusal(self, code):
        return hasattr(self, "took") and code > 0 and code != 86
