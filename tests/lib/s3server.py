# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The real S3 servers of the test run, on 127.0.0.1 only, and the three kinds of store as one thing: a
Store makes buckets, says how to mount them and reads and writes objects behind the mount's back."""
import hashlib
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

from util import free_port, kill, wait_until

ACCESS_KEY = "hafiztestkey"
SECRET_KEY = "hafiz/test+secret=0123"
REGION = "us-east-1"


def client(endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name=region, aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2},
                                      connect_timeout=5, read_timeout=60))


class S3Server:
    """One process of versitygw or MinIO with its data in a directory of its own."""

    def __init__(self, kind, directory):
        gobin = os.environ.get("HAFIZ_GOBIN") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hafiz-tests/bin")
        self.kind, self.directory = kind, str(directory)
        self.program = os.path.join(gobin, kind)
        assert os.access(self.program, os.X_OK), \
            "%s is missing: tests/run builds it (or set HAFIZ_GOBIN)" % self.program
        self.log = os.path.join(self.directory, kind + ".out")
        self.port = free_port()
        self.proc = None
        os.makedirs(self.data, exist_ok=True)
        self.start()

    @property
    def data(self):
        return os.path.join(self.directory, "s3")

    @property
    def endpoint(self):
        return "http://127.0.0.1:%d" % self.port

    def _argv(self):
        if self.kind == "minio":
            return [self.program, "server", "--quiet", "--address", "127.0.0.1:%d" % self.port,
                    "--console-address", "127.0.0.1:%d" % free_port(), self.data]
        argv = [self.program, "--quiet", "--port", "127.0.0.1:%d" % self.port, "--access", ACCESS_KEY,
                "--secret", SECRET_KEY, "--keep-alive", "posix"]
        if not self._xattrs_work():
            sidecar = os.path.join(self.directory, "sidecar")
            os.makedirs(sidecar, exist_ok=True)
            argv += ["--sidecar", sidecar]
        return argv + [self.data]

    def _xattrs_work(self):
        try:
            os.setxattr(self.data, "user.hafiz-test", b"1")
            return True
        except OSError:
            return False

    def start(self):
        env = {"PATH": "/usr/bin:/bin", "HOME": self.directory, "MINIO_ROOT_USER": ACCESS_KEY,
               "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_UPDATE": "off", "GOGC": "50",
               "MINIO_BROWSER": "off", "MINIO_CI_CD": "1"}
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(self._argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env=env, cwd=self.directory)
        wait_until("%s to answer (log: %s)" % (self.kind, self.log), self._answers, timeout=60)

    def _answers(self):
        assert self.proc.poll() is None, "%s ended at once, see %s" % (self.kind, self.log)
        try:
            client(self.endpoint).list_buckets()
            return True
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return False

    def kill(self):
        kill(self.proc.pid, signal.SIGKILL)
        self.proc.wait()

    def pause(self, on):
        """A server that is there and does not answer."""
        kill(self.proc.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def stop(self):
        self.pause(False)
        self.proc.terminate()
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


class S3Store:
    """A bucket of a server. Keys are text; bytes that are no UTF-8 cannot be keys."""

    def __init__(self, server, bucket):
        self.kind, self.server, self.bucket = server.kind, server, bucket
        self.s3 = client(server.endpoint)
        self.s3.create_bucket(Bucket=bucket)

    source = property(lambda self: "s3://" + self.bucket)
    endpoint = property(lambda self: self.server.endpoint)
    mount_args = property(lambda self: ["--endpoint", self.endpoint])
    mount_env = property(lambda self: {"HAFIZ_ACCESS_KEY": ACCESS_KEY, "HAFIZ_SECRET_KEY": SECRET_KEY})

    def section(self, name, rw=True, users=None, prefix=None):
        """A volume of s3proxyd's configuration."""
        lines = ["[%s]" % name, "bucket = %s" % self.bucket, "endpoint = %s" % self.endpoint,
                 "region = %s" % REGION, "access_key = %s" % ACCESS_KEY, "secret_key = %s" % SECRET_KEY,
                 "mode = %s" % ("rw" if rw else "ro")]
        lines += ["users = %s" % users] if users else []
        lines += ["prefix = %s" % prefix] if prefix else []
        return "\n".join(lines) + "\n"

    def put(self, key, data, **kw):
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data, **kw)

    def get(self, key):
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def digest(self, key):
        h = hashlib.sha256()
        for chunk in self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(1 << 20):
            h.update(chunk)
        return h.hexdigest()

    def delete(self, key):
        self.s3.delete_object(Bucket=self.bucket, Key=key)

    def size(self, key):
        return self.s3.head_object(Bucket=self.bucket, Key=key)["ContentLength"]

    def exists(self, key):
        try:
            self.size(key)
            return True
        except self.s3.exceptions.ClientError as e:
            if e.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise

    def keys(self, prefix=""):
        found = []
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            found += [o["Key"] for o in page.get("Contents", [])]
        return sorted(found)

    def uploads(self):
        return self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])


class FileStore:
    """A directory as a bucket, looked at with nothing but the file system."""
    kind = "file"
    endpoint = None
    mount_args = []
    mount_env = {}

    def __init__(self, directory):
        self.directory = str(directory)
        os.makedirs(self.directory)

    source = property(lambda self: "file://" + self.directory)

    def section(self, name, rw=True, users=None, prefix=None):
        lines = ["[%s]" % name, "bucket = %s" % self.source, "mode = %s" % ("rw" if rw else "ro")]
        lines += ["users = %s" % users] if users else []
        lines += ["prefix = %s" % prefix] if prefix else []
        return "\n".join(lines) + "\n"

    def _path(self, key):
        return os.path.join(self.directory, key)

    def put(self, key, data):
        path = self._path(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if key.endswith("/"):
            return
        with open(path + ".test-tmp", "wb") as f:
            f.write(data)
        os.rename(path + ".test-tmp", path)

    def get(self, key):
        with open(self._path(key), "rb") as f:
            return f.read()

    def digest(self, key):
        with open(self._path(key), "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()

    def delete(self, key):
        os.unlink(self._path(key))

    def size(self, key):
        return os.stat(self._path(key)).st_size

    def exists(self, key):
        return os.path.isfile(self._path(key)) or (key.endswith("/") and os.path.isdir(self._path(key)))

    def keys(self, prefix=""):
        found = []
        for root, dirs, files in os.walk(self.directory):
            rel = os.path.relpath(root, self.directory)
            dirs[:] = [d for d in dirs if not (rel == "." and d == ".hafiz")]
            base = "" if rel == "." else rel + "/"
            if base and not files and not dirs:
                found.append(base)
            found += [base + f for f in files]
        return sorted(k for k in found if k.startswith(prefix))

    def uploads(self):
        """What an unfinished upload leaves below .hafiz/."""
        found = []
        for root, _, files in os.walk(os.path.join(self.directory, ".hafiz")):
            found += [os.path.join(root, f) for f in files if "upload" in root]
        return found

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def http_status(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as e:
        return e.code
