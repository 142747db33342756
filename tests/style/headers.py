#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Each header compiles alone, has #pragma once, and each file opens by saying why it exists."""
import concurrent.futures
import os
import re
import shlex
import subprocess

from tree import PROGRAMS, ROOT, bad, exists, files, finish, read

PACKAGES = ["fuse3", "libcurl", "json-c", "sqlite3", "msgpack", "expat", "libcrypto", "libseccomp"]
COMMENT_LETTERS = 30  # less says nothing; the .c of a header that says it may be as short as it likes


def package_flags():
    out = subprocess.run(["pkg-config", "--cflags", *PACKAGES], capture_output=True, text=True,
                         check=False)
    return out.stdout.split()


def compiler():
    return shlex.split(os.environ.get("CC", "cc"))


def compile_alone(path):
    return path, subprocess.run(
        [*compiler(), "-std=gnu17", "-D_GNU_SOURCE", '-DHAFIZ_VERSION="0"', "-DFUSE_USE_VERSION=314",
         "-I.", *FLAGS, "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror",
         "-fsyntax-only", "-x", "c", "-"],
        input=f'#include "{path}"\n#include "{path}"\n', cwd=ROOT, capture_output=True, text=True,
        check=False)


FLAGS = package_flags()
headers = files(".h", under=PROGRAMS + ("tests",))
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for name, result in pool.map(compile_alone, headers):
        if result.returncode:
            bad(name, 0, "does not compile alone: " + result.stderr.strip().split("\n")[-1])
            print(result.stderr)


def opening(path):
    """Letters in the comment behind the licence."""
    m = re.match(r"/\*.*?\*/\s*/\*(.*?)\*/", read(path), re.S)
    return len(re.sub(r"\W", "", m.group(1))) if m else 0


for name in files(".c", ".h", ".tbl", under=PROGRAMS + ("tests",)):
    own = os.path.splitext(name)[0] + ".h"
    told = name != own and exists(own) and opening(own) >= COMMENT_LETTERS
    if opening(name) < (1 if told else COMMENT_LETTERS):
        bad(name, 3, "does not open with why it exists")
for name in files(".h", under=PROGRAMS + ("tests",)):
    if len(re.findall(r"^#pragma once$", read(name), re.M)) != 1:
        bad(name, 0, "no #pragma once")
for name in files(".py", under=("tests",)):
    if not re.search(r'\A(#[^\n]*\n)*("""|# )', read(name)):
        bad(name, 3, "does not open with why it exists")
finish("a header stands alone; a file says why it exists")
