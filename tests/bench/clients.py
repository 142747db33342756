# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The programs that are compared, each mounted as somebody who read its manual and wants it fast would mount
it, always the same way in every row. What differs between rows is said there: a cache on disk for the row
about it where that is a choice (mount-s3, geesefs), a short lifetime of attributes for listing again."""
import os
import pwd
import shutil
import socket
import subprocess
import time

from util import abort_fuse, mount_at, wait_until
from world import BUCKET, KEYS

MOUNT_S, STOP_S = 40, 20


class Failed(Exception):
    """A client cannot do a row; the text is one line for the table."""


class Client:
    """One fresh mount, with empty caches, in a directory of its own."""
    name = ""
    program = ""

    def __init__(self, directory, endpoint, ttl=None, disk_cache=False):
        self.dir, self.endpoint, self.ttl, self.disk_cache = directory, endpoint, ttl, disk_cache
        self.procs, self.mounted = [], []
        shutil.rmtree(directory, ignore_errors=True)
        for name in ("at", "cache", "home"):
            os.makedirs(os.path.join(directory, name))
        self.at = os.path.join(directory, "at")
        self.cache = os.path.join(directory, "cache")

    @classmethod
    def version(cls):
        """One line, or None when it is not on this machine."""
        path = shutil.which(cls.program)
        if not path:
            return None
        out = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20)
        lines = (out.stdout + out.stderr).strip().splitlines()
        return lines[0].strip() if lines else "?"

    def env(self):
        return {"PATH": os.environ["PATH"], "HOME": os.path.join(self.dir, "home"), "LC_ALL": "C.UTF-8",
                "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1", **KEYS}

    def argv(self):
        raise NotImplementedError

    @property
    def log(self):
        return os.path.join(self.dir, "log")

    def spawn(self, argv, env=None):
        with open(self.log, "ab") as log:
            # pylint: disable=consider-using-with
            proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                                    env=env or self.env())
        self.procs.append(proc)
        return proc

    def start(self):
        self.await_mount(self.spawn(self.argv()), self.at)
        return self

    def await_mount(self, proc, at):
        self.mounted.append(at)
        end = time.monotonic() + MOUNT_S
        while not mount_at(at):
            if proc.poll() is not None:
                raise Failed("does not mount: " + self.last_words())
            if time.monotonic() > end:
                raise Failed("did not mount within %d s: %s" % (MOUNT_S, self.last_words()))
            time.sleep(0.02)

    def last_words(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            lines = [line.strip() for line in f if line.strip()]
        return lines[-1][:200] if lines else "it said nothing"

    @property
    def roots(self):
        return [p.pid for p in self.procs]

    def stop(self):
        for at in self.mounted:
            for _ in range(50):
                if not mount_at(at) or subprocess.run(["umount", at], check=False,
                                                      stderr=subprocess.DEVNULL).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                abort_fuse(at)
                subprocess.run(["umount", "-l", at], check=False)
        for proc in self.procs:
            self.end(proc)
        shutil.rmtree(self.dir, ignore_errors=True)

    @staticmethod
    def end(proc):
        if proc.poll() is None:
            proc.terminate()
        try:
            proc.wait(STOP_S)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()


class Hafiz(Client):
    name = "hafiz"
    programs = None  # lib/box.py's Programs: the release build

    @classmethod
    def version(cls):
        out = subprocess.run([cls.programs.mount, "--version"], capture_output=True, text=True, check=True)
        return out.stdout.strip()

    def env(self):
        return {**super().env(), "HAFIZ_S3PROXYD": self.programs.backend, "XDG_RUNTIME_DIR": self.dir}

    @property
    def socket(self):
        return os.path.join(self.dir, "sock")

    def backend_argv(self):
        return [self.programs.backend, "--socket", self.socket, "--cache-dir", self.cache, "--state-dir",
                os.path.join(self.dir, "state"), "--foreground"]

    def argv(self, at=None):
        argv = [self.programs.mount, "s3://" + BUCKET, at or self.at, "--endpoint", self.endpoint,
                "--socket", self.socket, "-f"]
        return argv + (["--attr-ttl", str(self.ttl)] if self.ttl else [])

    def start_backend(self):
        self.backend = self.spawn(self.backend_argv())
        wait_until("s3proxyd (log: %s)" % self.log, self._listens, timeout=MOUNT_S)

    def _listens(self):
        if self.backend.poll() is not None:
            raise Failed("s3proxyd ended: " + self.last_words())
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def start(self):
        self.start_backend()
        return super().start()

    def second_mount(self):
        at = os.path.join(self.dir, "at2")
        os.makedirs(at)
        self.await_mount(self.spawn(self.argv(at)), at)
        return at

    def restart_backend(self):
        """As an update of the package does."""
        self.end(self.backend)
        self.start_backend()
        os.statvfs(self.at)  # the mount is attached again when this returns


class HafizUsers(Hafiz):
    """A backend of the whole host with one volume, mounted by two ordinary users."""
    users = ("nobody", "games")  # every Debian has them, and nothing of the host is theirs

    def __init__(self, directory, endpoint, ttl=None, disk_cache=False):
        super().__init__(directory, endpoint, ttl, disk_cache)
        os.chmod("/dev/fuse", 0o666)  # as on any desktop; some machines come without it
        os.chmod(self.dir, 0o755)

    def backend_argv(self):
        path = os.path.join(self.dir, "conf")
        with open(path, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write("[s3proxyd]\n[vol]\nbucket = %s\nendpoint = %s\nregion = us-east-1\naccess_key = %s\n"
                    "secret_key = %s\nmode = ro\nusers = %s\n"
                    % (BUCKET, self.endpoint, KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"],
                       ", ".join(self.users)))
        return super().backend_argv() + ["--config", path]

    @staticmethod
    def as_user(user, argv):
        who = pwd.getpwnam(user)
        return ["setpriv", "--reuid", str(who.pw_uid), "--regid", str(who.pw_gid), "--clear-groups",
                "--"] + argv

    def mount_as(self, user):
        at = os.path.join(self.dir, "at-" + user)
        os.makedirs(at)
        os.chown(at, pwd.getpwnam(user).pw_uid, -1)
        env = {k: v for k, v in self.env().items() if k not in KEYS and k != "XDG_RUNTIME_DIR"}
        argv = [self.programs.mount, "vol", at, "--socket", self.socket, "-f"]
        self.await_mount(self.spawn(self.as_user(user, argv), env), at)
        return at

    def start(self):
        self.start_backend()
        self.at = self.mount_as(self.users[0])
        return self

    def second_mount(self):
        return self.mount_as(self.users[1])


class S3fs(Client):
    name = program = "s3fs"

    def argv(self):
        words = ["url=" + self.endpoint, "endpoint=us-east-1", "use_path_request_style", "ro",
                 "use_cache=" + self.cache, "parallel_count=8", "multireq_max=20", "enable_noobj_cache",
                 "max_stat_cache_size=200000"]
        words += ["stat_cache_expire=%d" % self.ttl] if self.ttl else []
        return [self.program, BUCKET, self.at, "-f", "-o", ",".join(words)]


class Rclone(Client):
    name = program = "rclone"

    def env(self):
        return {**super().env(), "RCLONE_CONFIG": os.path.join(self.dir, "home/none"),
                "RCLONE_CONFIG_BENCH_TYPE": "s3", "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
                "RCLONE_CONFIG_BENCH_ENV_AUTH": "true", "RCLONE_CONFIG_BENCH_REGION": "us-east-1",
                "RCLONE_CONFIG_BENCH_ENDPOINT": self.endpoint}

    def argv(self):
        # The streams and their size are what its manual advises for a store like this one; without
        # --use-server-modtime it asks for every file's metadata.
        argv = [self.program, "mount", "bench:" + BUCKET, self.at, "--read-only", "--vfs-cache-mode",
                "full", "--cache-dir", self.cache, "--use-server-modtime", "--vfs-read-chunk-streams",
                "16", "--vfs-read-chunk-size", "4M"]
        return argv + (["--dir-cache-time", "%ds" % self.ttl] if self.ttl else [])


class MountS3(Client):
    name = program = "mount-s3"

    def argv(self):
        argv = [self.program, BUCKET, self.at, "--endpoint-url", self.endpoint, "--force-path-style",
                "--region", "us-east-1", "--read-only", "--foreground"]
        argv += ["--cache", self.cache] if self.disk_cache else []
        return argv + ["--metadata-ttl", str(self.ttl or 60)]


class Geesefs(Client):
    name = program = "geesefs"

    def argv(self):
        argv = [self.program, "--endpoint", self.endpoint, "--region", "us-east-1", "-f", "-o", "ro"]
        argv += ["--cache", self.cache] if self.disk_cache else []
        argv += ["--stat-cache-ttl", "%ds" % self.ttl] if self.ttl else []
        return argv + [BUCKET, self.at]


class Goofys(Client):
    name = program = "goofys"

    def argv(self):
        argv = [self.program, "--endpoint", self.endpoint, "--region", "us-east-1", "-f", "-o", "ro"]
        if self.ttl:
            argv += ["--stat-cache-ttl", "%ds" % self.ttl, "--type-cache-ttl", "%ds" % self.ttl]
        return argv + [BUCKET, self.at]


ALL = {c.name: c for c in (Hafiz, S3fs, Rclone, MountS3, Geesefs, Goofys)}
