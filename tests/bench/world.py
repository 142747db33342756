# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What every client of the benchmark meets: one S3 server, the objects in it, and the line to it. The objects
are made once and stay in the cache directory; the line is a proxy that delays and counts."""
import concurrent.futures
import ctypes
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import zlib

import boto3
import botocore.config

import s3server
from util import free_port, wait_until

MIB = 1 << 20
BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": s3server.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": s3server.SECRET_KEY}


def seed_of(key):
    return zlib.crc32(key.encode())


class Sizes:
    """How much of everything there is."""

    def __init__(self, big=1024 * MIB, shards=8, shard=192 * MIB, small=2001, folders=100, entries=10000,
                 reads64=400, reads4=2000):
        self.big, self.shards, self.shard = big, shards, shard
        self.small, self.folders, self.entries = small, folders, entries
        self.reads64, self.reads4 = reads64, reads4

    @classmethod
    def tiny(cls):
        """For the test that the benchmark still works."""
        return cls(big=4 * MIB, shards=2, shard=MIB, small=21, folders=5, entries=50, reads64=8, reads4=20)


class Data:
    """The objects: key → size, in groups. Contents follow from the key (pattern.h)."""

    def __init__(self, sizes):
        self.sizes = sizes
        rng = random.Random(4)
        self.big = {"big/one.bin": sizes.big}
        self.model = {"model/shard-%05d.safetensors" % i: sizes.shard for i in range(sizes.shards)}
        self.first = {"first/%02d.bin" % i: 8 * MIB for i in range(9)}
        self.small = {"small/d%03d/f%04d.txt" % (i * sizes.folders // sizes.small, i):
                      rng.randrange(512, 60 * 1024) for i in range(sizes.small)}
        self.entries = {"entries/f%06d.dat" % i: rng.randrange(0, 300) for i in range(sizes.entries)}

    def all(self):
        return {**self.big, **self.model, **self.first, **self.small, **self.entries}

    def stamp(self):
        text = json.dumps([3, self.all()])
        return hashlib.sha256(text.encode()).hexdigest()


def read_list(objects, at):
    """The input of bench-read for these objects below a directory."""
    return "".join("%d %d %s\n" % (seed_of(k), size, os.path.join(at, k)) for k, size in objects.items())


class Server:
    """versitygw on a directory that outlives the run."""

    def __init__(self, directory, log):
        gobin = os.environ.get("HAFIZ_GOBIN") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hafiz-tests/bin")
        self.data, self.port, self.pinned = os.path.join(directory, "s3"), free_port(), []
        os.makedirs(self.data, exist_ok=True)
        self.endpoint = "http://127.0.0.1:%d" % self.port
        with open(log, "ab") as out:
            # pylint: disable=consider-using-with
            self.proc = subprocess.Popen(
                [os.path.join(gobin, "versitygw"), "--quiet", "--port", "127.0.0.1:%d" % self.port,
                 "--access", s3server.ACCESS_KEY, "--secret", s3server.SECRET_KEY, "--keep-alive",
                 "posix", self.data], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=directory)
        self.s3 = s3server.client(self.endpoint)
        try:
            wait_until("versitygw to answer (log: %s)" % log, self._answers, timeout=60)
        except AssertionError:
            self.stop()
            raise

    def _answers(self):
        assert self.proc.poll() is None, "versitygw ended at once"
        try:
            self.s3.list_buckets()
            return True
        except Exception:  # pylint: disable=broad-except
            return False

    def path(self, key=""):
        """Where the server keeps an object: what a local read is measured with."""
        return os.path.join(self.data, BUCKET, key)

    def provide(self, data, bench_read, scratch):
        """Makes the objects unless they are there."""
        stamp = os.path.join(os.path.dirname(self.data), "stamp")
        if os.path.exists(stamp) and open(stamp, encoding="ascii").read() == data.stamp():
            return
        print("making the objects in %s (once)" % self.data, flush=True)
        if os.path.exists(self.path()):
            shutil.rmtree(self.path())
        self.s3.create_bucket(Bucket=BUCKET)
        self._upload(data.all(), bench_read, scratch)
        with open(stamp, "w", encoding="ascii") as f:
            f.write(data.stamp())

    def _upload(self, objects, bench_read, scratch):
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in {os.path.dirname(k) for k in objects}:
            os.makedirs(os.path.join(scratch, folder))
        subprocess.run([bench_read, "make"], input=read_list(objects, scratch), text=True, check=True,
                       stdout=subprocess.DEVNULL)

        def put(key):
            self.s3.upload_file(os.path.join(scratch, key), BUCKET, key)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(put, objects))
        shutil.rmtree(scratch)

    def pin(self):
        """The store's disk is not what is measured: everything of it stays in memory, also when the
        kernel is told to drop its caches."""
        if self.pinned:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        for where, _, names in os.walk(self.path()):
            for name in names:
                fd = os.open(os.path.join(where, name), os.O_RDONLY)
                size = os.fstat(fd).st_size
                at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0) if size else None
                os.close(fd)
                if size and libc.mlock(ctypes.c_void_p(at), ctypes.c_size_t(size)):
                    raise OSError(ctypes.get_errno(), "mlock of the server's files")
                self.pinned += [(at, size)] if size else []

    def walk(self):
        """The directories cannot be pinned: read them again."""
        for _ in os.walk(self.path()):
            pass

    def unpin(self):
        """For reading them locally, from the disk."""
        libc = ctypes.CDLL(None)
        for at, size in self.pinned:
            libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
        self.pinned = []

    @staticmethod
    def presigned(key, endpoint):
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name=s3server.REGION,
                          aws_access_key_id=s3server.ACCESS_KEY, aws_secret_access_key=s3server.SECRET_KEY,
                          config=botocore.config.Config(signature_version="s3v4",
                                                        s3={"addressing_style": "path"}))
        return s3.generate_presigned_url(
            "get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=36000)

    def stop(self):
        self.proc.terminate()
        self.proc.wait(20)


class Proxy:
    """The line to the server."""

    def __init__(self, program, target, rtt_ms, rate_mb, stats):
        self.stats, self.sequence = stats, 0
        argv = [program, "--target", str(target), "--rtt-ms", str(rtt_ms), "--rate-mb", str(rate_mb),
                "--count", "--stats", stats]
        # pylint: disable=consider-using-with
        self.proc = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        line = self.proc.stdout.readline()
        if not line.startswith("listening on "):
            self.stop()
            raise AssertionError("the proxy did not start")
        self.port = int(line.split()[-1])
        self.endpoint = "http://127.0.0.1:%d" % self.port

    def figures(self):
        """What passed since the last call."""
        self.proc.send_signal(signal.SIGUSR1)
        return wait_until("the proxy's figures", self._read, step=0.002)

    def _read(self):
        assert self.proc.poll() is None, "the proxy is gone"
        try:
            with open(self.stats, encoding="ascii") as f:
                figures = json.load(f)
        except (OSError, ValueError):
            return None
        if figures["sequence"] <= self.sequence:
            return None
        self.sequence = figures["sequence"]
        return figures

    def stop(self):
        self.proc.terminate()
        self.proc.wait(10)
        self.proc.stdout.close()
