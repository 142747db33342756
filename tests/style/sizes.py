#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""No file over 500 lines, no function over 60: past that it has two subjects. Tables (.tbl) are as long as
what they list."""
import json
import shutil
import subprocess
import sys

from tree import ROOT, bad, files, finish, read

FILE_LINES = 500
FUNCTION_LINES = 60

sources = files(".c", ".h", ".py")
for path in sources:
    lines = read(path).count("\n")
    if lines > FILE_LINES:
        bad(path, 0, f"{lines} lines")

if not shutil.which("ctags"):
    print("universal-ctags is not installed")
    sys.exit(77)
# The attribute macros hide a function's name from ctags; their effect on the length is none.
tags = subprocess.run(
    ["ctags", "--output-format=json", "--fields=+ne", "--kinds-C=f", "--kinds-Python=fm",
     "--languages=C,Python", "--langmap=C:.c.h", "-I", "_cleanup_+", "-L", "-", "-f", "-"],
    input="\n".join(sources), cwd=ROOT, capture_output=True, text=True, check=True)
functions = 0
for line in tags.stdout.splitlines():
    tag = json.loads(line)
    if tag.get("_type") != "tag" or "end" not in tag:
        continue
    functions += 1
    length = tag["end"] - tag["line"] + 1
    if length > FUNCTION_LINES:
        bad(tag["path"], tag["line"], f"{tag['name']}() has {length} lines")
if functions < len(sources):  # a ctags that sees next to nothing must not pass for a clean tree
    bad("ctags", 0, f"found {functions} functions in {len(sources)} files")
finish(f"files up to {FILE_LINES} lines, functions up to {FUNCTION_LINES}")
