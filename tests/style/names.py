#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""An exported symbol's name says where to look for it. It begins with the directory's name (`db_put_inode`
is in s3proxyd/db), with the file's or its last words (`rename_dir_list` is in op-rename-dir.c), or with
those of a file beside it (`inode_key`, about the struct of fs/inode.c, is in fs/key.c). The step tables of
op/ are named after their message. Read from the built libraries with nm."""
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


def tails(file):
    """op-rename-dir.c: op_rename_dir, rename_dir, dir; and its first word."""
    words = os.path.splitext(file)[0].split("-")
    return {"_".join(words[i:]) for i in range(len(words))} | {words[0]}


def prefixes(folder, source):
    names = {os.path.basename(folder)} | tails(source)
    for beside in os.listdir(os.path.join(ROOT, folder)):
        if beside.endswith((".c", ".h")):
            names |= tails(beside)
    return names


def told(symbol, folder, words):
    if folder == "s3proxyd/op" and symbol.endswith("_steps"):
        return True
    return any(symbol == w or symbol.startswith((w + "_", w + "s_")) for w in words)


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
        folder = os.path.dirname(path)
        if not told(symbol, folder, prefixes(folder, os.path.basename(path))):
            bad(path, 0, f"exports {symbol}, which begins with no name of {folder}")
if not seen:
    bad(BUILD, 0, "no library was found in it: is it built?")
finish("a symbol's name says where it is")
