# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A Box is the world of one test: a directory with a home, run-time, cache and bucket directories, the
environment the programs get, every backend and mount started in it, and the proof at the end that all of
them ended well: nothing left mounted, nothing left running, nothing complained about in a log."""
import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading

from backend import Backend
from mount import Mount
from util import abort_fuse, alive, kill, mounts, processes_of, run, wait_until
from watch import Watch

PROGRAMS = {"hafiz-mount": "fused", "s3proxyd": "s3proxyd", "hafizctl": "s3proxyd"}


class Programs:
    """Copies of the three programs in a world-readable place: other users run them too, the build tree
    may be private, and a process can be told to be ours by where its program lies."""

    def __init__(self, directory):
        build = os.environ.get("HAFIZ_BUILD")
        assert build, "HAFIZ_BUILD must name a build directory (tests/run sets it)"
        self.build, self.dir = build, os.path.join(str(directory), "bin")
        os.makedirs(self.dir)
        for name, sub in PROGRAMS.items():
            path = os.path.join(build, sub, name)
            assert os.path.exists(path), "no %s: build first" % path
            shutil.copy(path, os.path.join(self.dir, name))
        os.symlink("hafiz-mount", os.path.join(self.dir, "mount.fuse.hafiz"))
        with open(self.mount, "rb") as f:
            self.sanitized = b"__asan_init" in f.read()

    mount = property(lambda self: os.path.join(self.dir, "hafiz-mount"))
    helper = property(lambda self: os.path.join(self.dir, "mount.fuse.hafiz"))
    backend = property(lambda self: os.path.join(self.dir, "s3proxyd"))
    ctl = property(lambda self: os.path.join(self.dir, "hafizctl"))


class Box:
    def __init__(self, programs, root):
        self.programs = programs
        # Short: a socket's path has 107 bytes.
        self.dir = tempfile.mkdtemp(prefix="b", dir=root)
        os.chmod(self.dir, 0o755)
        self.watch = Watch(self.dir)
        self.mounts, self.backends, self.cleanups = [], [], []
        self.home(None)
        self._others = set(processes_of(programs.dir))

    # --- places and environment ----------------------------------------------------------------------
    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def mkdir(self, name, user=None, mode=0o755):
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        if user:
            os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        return path

    def home(self, user):
        """The user's home in this box, with a run-time directory beside it."""
        name = "u-" + (user or "me")
        if not os.path.isdir(self.path(name)):
            self.mkdir(name, user, 0o700)
            self.mkdir("r-" + (user or "me"), user, 0o700)
        return self.path(name)

    def env(self, user=None, extra=None):
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8",
               "HOME": self.home(user), "XDG_RUNTIME_DIR": self.path("r-" + (user or "me")),
               "HAFIZ_S3PROXYD": self.programs.backend, "AWS_EC2_METADATA_DISABLED": "true"}
        # Leaks are looked for where the checker may look at its own process: it needs ptrace.
        env.update(self.watch.environment(leaks=user is None and "NOLEAK" not in os.environ))
        if "HAFIZ_DEBUG" in os.environ:
            env["HAFIZ_DEBUG"] = os.environ["HAFIZ_DEBUG"]
        env.update(extra or {})
        return {k: v for k, v in env.items() if v is not None}

    def argv_as(self, user, argv):
        if not user:
            return list(argv)
        return ["setpriv", "--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--init-groups",
                "--"] + list(argv)

    def sh(self, command, user=None, check=True, timeout=60, env=None, **kw):
        """A shell command in the box, as a user; text output."""
        return run(self.argv_as(user, ["bash", "-c", command]), timeout=timeout, check=check,
                   env=self.env(user, env), cwd=self.dir, **kw)

    # --- what tests start ----------------------------------------------------------------------------
    def backend(self, *args, **kw):
        b = Backend(self, *args, **kw)
        self.backends.append(b)
        return b.start()

    def mount(self, source, *args, **kw):
        """A mount that works; see Mount."""
        m = Mount(self, source, *args, **kw)
        self.mounts.append(m)
        return m.start()

    def mount_store(self, store, *args, rw=True, env=None, **kw):
        return self.mount(store.source, *(["--rw"] if rw else []), *store.mount_args, *args,
                          env=dict(store.mount_env, **(env or {})), **kw)

    def refused(self, source, *args, timeout=20, **kw):
        """A mount that must not work: returns (exit code, what it said), checked to be one clear line."""
        m = Mount(self, source, *args, **kw)
        self.mounts.append(m)
        return m.refused(timeout)

    def ctl(self, *args, user=None, check=True, env=None):
        return run(self.argv_as(user, [self.programs.ctl, *args]), check=check,
                   env=self.env(user, env))

    def ours(self):
        """pids of hafiz programs that were started since this box exists."""
        return {p: e for p, e in processes_of(self.programs.dir).items() if p not in self._others}

    def pid_of(self, program):
        """The one process of that program in this box."""
        found = [p for p, e in self.ours().items() if os.path.basename(e) == program]
        assert len(found) == 1, "%d processes of %s" % (len(found), program)
        return found[0]

    def private_backends(self):
        mine = {b.proc.pid for b in self.backends if b.proc}
        return [p for p, e in self.ours().items() if os.path.basename(e) == "s3proxyd" and p not in mine]

    # --- the end -------------------------------------------------------------------------------------
    def abort(self):
        """From the watchdog: a request hangs in the kernel; break it so that the test can fail."""
        for m in mounts():
            if m.path.startswith(self.dir + "/"):
                abort_fuse(m.path)
        for pid in self.ours():
            kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def limit(self, seconds):
        """The body must be over in time; a request stuck in the kernel is broken."""
        timer = threading.Timer(seconds, self.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            fired = not timer.is_alive()
            timer.cancel()
        assert not fired, "took longer than %g s" % seconds

    def close(self, keep=False):
        """Ends everything. Returns what is wrong, as a list of texts; keep: leave the logs in any case."""
        wrong = []
        for undo in reversed(self.cleanups):
            undo()
        for m in reversed(self.mounts):
            wrong += m.close()
        for entry in reversed([e for e in mounts() if e.path.startswith(self.dir + "/")]):
            wrong.append("still mounted at the end: " + entry.path)
            abort_fuse(entry.path)
            subprocess.run(["umount", "-l", entry.path], check=False, stderr=subprocess.DEVNULL)
        for b in self.backends:
            wrong += b.close()
        wrong += self._end_private()
        wrong += self.watch.complaints()
        wrong += self._cores()
        if not wrong and not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        return wrong

    def _end_private(self):
        """Private backends stay a minute for the next mount; here they are asked to go."""
        wrong = []
        for pid in list(self.ours()):
            kill(pid, signal.SIGTERM)
        try:
            wait_until("programs to end", lambda: not self.ours(), timeout=20)
        except AssertionError:
            for pid, exe in self.ours().items():
                wrong.append("%s (pid %d) did not end on SIGTERM" % (exe, pid))
                kill(pid, signal.SIGKILL)
        return wrong

    def _cores(self):
        return ["core file: " + c for c in glob.glob(self.path("core*"))]


__all__ = ["Box", "Programs", "alive"]
