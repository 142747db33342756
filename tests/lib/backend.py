# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""An s3proxyd started by hand: with a configuration or without, by any user, killed and started again."""
import os
import signal
import socket
import subprocess

from util import alive, kill, wait_until


class Backend:
    def __init__(self, box, config=None, args=(), user=None, name="p", env=None, expect_exit=False,
                 wrap=()):
        self.box, self.user, self.name = box, user, name
        self.extra, self.env, self.wrap = list(args), env, list(wrap)
        self.socket = box.path("run-" + name, "sock")
        self.cache_dir = box.mkdir("cache-" + name, user, 0o700)
        self.state_dir = box.mkdir("state-" + name, user, 0o700)
        box.mkdir("run-" + name, user, 0o755)
        self.log = box.path("s3proxyd-%s.log" % name)
        self.config_path = None
        if config is not None:
            self.config_path = box.path("s3proxyd-%s.conf" % name)
            self.configure(config)
        self.proc = None
        self.expect_exit = expect_exit

    def configure(self, text):
        with open(self.config_path, "w", encoding="utf-8") as f:
            f.write(text)
        # It holds keys: nobody but the backend's user may read it.
        os.chmod(self.config_path, 0o600)
        if self.user:
            import pwd
            os.chown(self.config_path, pwd.getpwnam(self.user).pw_uid, -1)

    def argv(self):
        argv = [self.box.programs.backend, "--socket", self.socket, "--cache-dir", self.cache_dir,
                "--state-dir", self.state_dir, "--foreground"]
        if self.config_path:
            argv += ["--config", self.config_path]
        return self.box.argv_as(self.user, self.wrap + argv + self.extra)

    def start(self, wait=True):
        self.box.watch.add(self.log)
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env=self.box.env(self.user, self.env), cwd="/")
        if wait:
            wait_until("s3proxyd to listen (log: %s)" % self.log, self._listens, timeout=30)
        return self

    def _listens(self):
        assert self.proc.poll() is None, "s3proxyd ended with %s:\n%s" % (self.proc.returncode,
                                                                         self.said())
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.socket)
                return True
            except OSError:
                return False

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    @property
    def pid(self):
        return self.proc.pid

    def kill(self):
        """As a crash: nothing is flushed, the socket's file stays. Mounts of it complain while it is away."""
        self.box.watch.expect("keeper: no backend for", "unsaved writes are lost with the backend")
        kill(self.proc.pid, signal.SIGKILL)
        self.proc.wait()

    def restart(self):
        self.kill()
        return self.start()

    def pause(self, on=True):
        kill(self.proc.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def stop(self, timeout=20):
        self.pause(False)
        self.proc.terminate()
        return self.proc.wait(timeout)

    def close(self):
        if self.proc is None or self.proc.poll() is not None:
            if self.proc and self.proc.returncode not in (0, -signal.SIGKILL) and not self.expect_exit:
                return ["s3proxyd ended with %d:\n%s" % (self.proc.returncode, self.said()[-4000:])]
            return []
        try:
            code = self.stop()
        except subprocess.TimeoutExpired:
            kill(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
            return ["s3proxyd did not end on SIGTERM:\n" + self.said()[-4000:]]
        assert not alive(self.proc.pid)
        return ["s3proxyd ended with %d on SIGTERM:\n%s" % (code, self.said()[-4000:])] if code else []
