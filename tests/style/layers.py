#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Who may include whom. proto's layers stand here; s3proxyd's are the order of subdir() in its meson.build.
A file includes files of its own directory and of lower layers, written from the root, its own header
first. fused and s3proxyd never meet, but for the readers of key files, which fused shares."""
import os
import re

from tree import INCLUDE, PROGRAMS, bad, exists, files, finish, line_of, read

PROTO = [  # lowest first; a path or the beginning of one
    ["proto/base/", "proto/limits.h", "proto/sidecar.h"],
    ["proto/wire."],
    ["proto/msg", "proto/messages.tbl", "proto/errno.tbl", "proto/frame."],
    ["proto/"],
]
SHARED_WITH_FUSED = re.compile(r"s3proxyd/cred/(cred|cred-file|secret)\.h$")
STORES = {"s3proxyd/s3", "s3proxyd/file"}  # two answers to one question: neither knows the other


def backend_layers():
    text = read("s3proxyd/meson.build")
    return ["s3proxyd/" + d for d in re.findall(r"^\s*subdir\('([^']+)'\)", text, re.M)]


BACKEND = backend_layers()


def rank(path):
    """The layer of a file: (name of the layer, height)."""
    for height, layer in enumerate(PROTO):
        if any(path.startswith(p) for p in layer):
            return layer[0].rstrip("./"), height
    folder = os.path.dirname(path)
    if folder in BACKEND:
        return folder, 100 + BACKEND.index(folder)
    if path.startswith("s3proxyd/hafizctl"):
        return "hafizctl", 50
    if folder == "s3proxyd":
        return "s3proxyd", 200
    if path.startswith("fused/"):
        return "fused", 50
    return None, 1000


def allowed(source, target):
    (from_name, from_height), (to_name, to_height) = rank(source), rank(target)
    if to_name is None:
        return False
    if from_name == to_name:
        return True
    if from_name == "fused" and SHARED_WITH_FUSED.match(target):
        return True
    if {from_name, to_name} == STORES:
        return False
    return to_height < from_height and to_name not in ("fused", "hafizctl")


def tests_layer(path):
    """A unit test stands beside the area it tests and sees what that sees."""
    area = path.split("/")[2] if path.count("/") > 2 else ""
    for folder in PROGRAMS if area in PROGRAMS else ["s3proxyd/" + area]:
        if area in ("", os.path.basename(folder)):
            return folder + "/x.c"
    return None


def check(path):
    text = read(path)
    own = os.path.splitext(path)[0] + ".h"
    first = True
    for m in INCLUDE.finditer(text):
        target, line = m.group(1), line_of(text, m.start())
        if path.endswith(".c") and first and exists(own) and target != own:
            bad(path, line, f"its own header {own} comes first")
        first = False
        if target is None:
            continue
        if not exists(target):
            bad(path, line, f'"{target}": not a path from the root')
        elif path.startswith("tests/"):
            source = tests_layer(path) if path.startswith("tests/unit/") else None
            if source and not target.startswith("tests/") and not allowed(source, target):
                bad(path, line, f'"{target}" is above what this tests')
        elif not allowed(path, target):
            bad(path, line, f'"{target}" is not below {rank(path)[0]}')


for name in files(".c", ".h", ".tbl", under=PROGRAMS + ("tests/unit", "tests/fuzz")):
    check(name)
for name in files(".c", ".h", under=("s3proxyd",)):
    if name.count("/") > 1 and os.path.dirname(name) not in BACKEND:
        bad(name, 0, "its directory has no place in s3proxyd/meson.build")
finish("a layer uses only what is below it")
