# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What no mount can beat on this machine, measured in the same run: the same bytes fetched by libcurl into
files, read from the server's own files, and read through libfuse's example of a file system that passes on
what another one has."""
import json
import os
import shutil
import subprocess

from clients import Client, Failed
from rows import model, sequential
from world import BUCKET

EXAMPLE = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"
PARALLEL = 16


class BareFuse(Client):
    """libfuse's passthrough_ll over the server's files."""
    name = "bare FUSE"
    program = ""  # set by build()
    source = ""

    @classmethod
    def build(cls, directory):
        """True, or why not."""
        if not os.path.exists(EXAMPLE):
            return "no %s" % EXAMPLE
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True,
                               check=False).stdout.split()
        cls.program = os.path.join(directory, "passthrough_ll")
        done = subprocess.run(["cc", "-O2", "-o", cls.program, EXAMPLE, *flags], capture_output=True,
                              text=True, check=False)
        return True if done.returncode == 0 else "libfuse's example does not compile"

    def argv(self):
        return [self.program, "-f", "-o", "source=" + self.source, self.at]


def curl(run, objects):
    """Fetches the objects through the line; `run` is at no mount."""
    out = os.path.join(run.world.dir, "curl")
    os.makedirs(out)
    proxy, server = run.world.proxy, run.world.server
    lines = "".join("%d %s/%d %s\n" % (size, out, i, server.presigned(key, proxy.endpoint))
                    for i, (key, size) in enumerate(objects.items()))
    proxy.figures()
    try:
        got = json.loads(run.program([run.world.curl_limit, "--parallel", str(PARALLEL), "--range", "8M"],
                                     lines))
    finally:
        shutil.rmtree(out)
    line = proxy.figures()
    return {"seconds": got["seconds"], "cpu": got["cpu_seconds"], "fetched": line["bytes_down"],
            "connections": line["peak_open"], "requests": {k: n for k, n in line["requests"].items() if n}}


def local(run, row):
    """The same row on the server's own files."""
    run.at = run.world.server.path()
    return {"seconds": row(run)["seconds"]}


def bare_fuse(run, row):
    built = BareFuse.build(run.world.dir)
    if built is not True:
        raise Failed(built)
    BareFuse.source = os.path.join(run.world.server.data, BUCKET)
    client = BareFuse(os.path.join(run.world.dir, "bare"), "")
    try:
        client.start()
        run.world.fresh(server=False, large=True)
        run.at = client.at
        return {"seconds": row(run)["seconds"]}
    finally:
        client.stop()


def cold(run, row):
    run.world.fresh(server=False, large=True)
    return local(run, row)


# row → name of the limit → how it is measured
LIMITS = {
    "seq": {"libcurl": lambda run: curl(run, run.data.big),
            "local, cached": lambda run: local(run, sequential)},
    "model": {"libcurl": lambda run: curl(run, run.data.model),
              "local, cached": lambda run: local(run, model)},
    "model2": {"local": lambda run: cold(run, model), "bare FUSE": lambda run: bare_fuse(run, model)},
    "reread": {"local": lambda run: cold(run, sequential),
               "bare FUSE": lambda run: bare_fuse(run, sequential)},
}
