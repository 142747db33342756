#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Exported symbols carry the name of their file or of their directory: `db_put_inode` is found in
s3proxyd/db, `spool_io_write` in s3proxyd/spool/spool-io.c. Read from the built libraries with nm."""
import os
import re
import subprocess
import sys

from tree import BUILD, PROGRAMS, ROOT, bad, exists, finish, read

IGNORED = re.compile(r"^(__|\.|_fini$|_init$)")  # the compiler's and the sanitizers'


def libraries():
    for where, dirs, names in os.walk(BUILD):
        dirs[:] = [d for d in dirs if not d.endswith(".p") and d != "meson-private"]
        for name in names:
            if name.endswith(".a") and os.path.relpath(where, BUILD).startswith(PROGRAMS):
                yield os.path.join(where, name)


def prefixes(folder, source):
    """db-inode.c in s3proxyd/db may export db_inode_*, db_*; its header's names count as its own."""
    stem = os.path.splitext(source)[0].replace("-", "_")
    return {stem, stem.split("_")[0], os.path.basename(folder)}


def exported(library):
    out = subprocess.run(["nm", "-A", "-g", "--defined-only", library], capture_output=True,
                         text=True, check=True).stdout
    for line in out.splitlines():
        # Thin archives: /build/lib.a:path/to/libx.a.p/db-inode.c.o:0000 T db_inode_put
        m = re.search(r"([^/:\[\]]+)\.o\]?:\s*[0-9a-f]* [A-Z] (\S+)$", line)
        if m and not IGNORED.match(m.group(2)):
            yield m.group(1), m.group(2)


def source_of(folder, object_name):
    """meson names objects after the source's path, slashes as underscores: base_log.c.o."""
    for path in (object_name, object_name.replace("_", "/", 1)):
        if exists(os.path.join(folder, path)):
            return os.path.join(folder, path)
    return None


if not BUILD:
    print("usage: names.py SOURCE_ROOT BUILD_ROOT")
    sys.exit(77)
seen = 0
for lib in sorted(libraries()):
    lib_folder = os.path.relpath(os.path.dirname(lib), BUILD)
    for object_name, symbol in exported(lib):
        path = source_of(lib_folder, object_name)
        if not path:  # left over from an earlier build
            continue
        seen += 1
        words = prefixes(os.path.dirname(path), os.path.basename(path))
        if not any(symbol == w or symbol.startswith(w + "_") for w in words):
            bad(path, 0, f"exports {symbol}: begin it with {' or '.join(sorted(words))}")
if not seen:
    bad(BUILD, 0, "no library was found in it: is it built?")
finish("a symbol's name says where it is")
