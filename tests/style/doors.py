#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Each outside library has one door: only these files include it, so that what it does wrong is worked
around in one place and it can be replaced. The tests may look behind every door."""
import fnmatch

from tree import INCLUDE, PROGRAMS, bad, files, finish, line_of, read

DOORS = {
    "event2/": ["proto/base/loop.c"],
    "msgpack": ["proto/wire.c"],
    "curl/": ["s3proxyd/net/http*.[ch]"],
    "expat": ["s3proxyd/aws/xml*.c"],
    # cred stands below aws and needs one digest to name a key without showing it.
    "openssl/": ["s3proxyd/aws/digest*.c", "s3proxyd/cred/cred-scope.c"],
    "json-c/": ["s3proxyd/aws/json.c", "s3proxyd/op/op-json.h", "s3proxyd/hafizctl.h"],
    "sqlite3": ["s3proxyd/db/db-int.h"],
    "fuse": ["fused/*.[ch]"],
    "seccomp": ["fused/sandbox*.c"],
    "systemd/": ["s3proxyd/main*.c"],
}

for path in files(".c", ".h", under=PROGRAMS):
    text = read(path)
    for m in INCLUDE.finditer(text):
        for library, doors in DOORS.items():
            if (m.group(2) or "").startswith(library) and \
                    not any(fnmatch.fnmatch(path, door) for door in doors):
                bad(path, line_of(text, m.start()), f"<{m.group(2)}> is for {', '.join(doors)} only")
finish("one door for each outside library")
