# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Six GiB written and read back with equal checksums while both programs together stay under 150 MiB:
the sum of Pss, sampled every 100 ms, of a release build."""
import os
import shutil
import subprocess
import threading

import pytest

from util import pss_kib

GIB = 1 << 30
SIZE = 6 * GIB
LIMIT_KIB = 150 * 1024

# A stream nobody can compress, made as fast as it is read; the same for the same key.
STREAM = "openssl enc -aes-128-ctr -nosalt -K 00112233445566778899aabbccddeeff -iv %032d -in /dev/zero " \
         "2>/dev/null | head -c %d"


class Sampler:
    def __init__(self, box):
        self.box, self.peak, self.samples = box, 0, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.stop.wait(0.1):
            self.samples += 1
            self.peak = max(self.peak, sum(pss_kib(pid) for pid in self.box.ours()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()


@pytest.mark.big
@pytest.mark.timeout(1200)
def test_six_gib(box, s3_store):
    if shutil.disk_usage(box.dir).free < 4 * SIZE:
        pytest.skip("needs 24 GiB free below %s (HAFIZ_TEST_TMP)" % box.dir)
    assert not box.programs.sanitized, "memory figures are for a release build"
    want = subprocess.run(["bash", "-c", (STREAM + " | sha256sum") % (1, SIZE)], check=True, text=True,
                          capture_output=True).stdout.split()[0]
    m = box.mount_store(s3_store)
    with Sampler(box) as sampler:
        box.sh((STREAM + " > %s/big") % (1, SIZE, m.at), timeout=600)
        assert (m / "big").stat().st_size == SIZE
        m.unmount()
        m.wait_end()
        # Read by a mount that has nothing of it in its cache.
        for pid in box.private_backends():
            os.kill(pid, 15)
        m = box.mount_store(s3_store, env={"XDG_CACHE_HOME": box.mkdir("other-cache")})
        got = box.sh("sha256sum < %s/big" % m.at, timeout=600).stdout.split()[0]
    assert got == want
    assert s3_store.size("big") == SIZE and not s3_store.uploads()
    assert sampler.samples > 100
    print("peak of both programs: %.1f MiB" % (sampler.peak / 1024))
    assert sampler.peak < LIMIT_KIB, "%.1f MiB" % (sampler.peak / 1024)
    s3_store.delete("big")
