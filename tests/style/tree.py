# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What the style checks share: the files of the tree, and how a finding is reported.

Each check is a script of its own: `tests/style/layers.py [SOURCE_ROOT [BUILD_ROOT]]`, exit code 1 and one
line per finding when the rule is broken. A rule has no list of exceptions; where it does not fit the code,
rule or code is changed."""
import os
import re
import sys

ROOT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                       os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
PROGRAMS = ("proto", "fused", "s3proxyd")
SKIPPED_DIRS = re.compile(r"^(\.|build|__pycache__)")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?:"([^"]+)"|<([^>]+)>)', re.M)

_findings = []


def files(*suffixes, under=("",)):
    """Paths relative to the root, sorted."""
    found = set()
    for top in under:
        for where, dirs, names in os.walk(os.path.join(ROOT, top)):
            dirs[:] = [d for d in dirs if not SKIPPED_DIRS.match(d)]
            for name in names:
                path = os.path.relpath(os.path.join(where, name), ROOT)
                if name.endswith(suffixes) and os.path.isfile(os.path.join(ROOT, path)):
                    found.add(path)
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def exists(path):
    return os.path.exists(os.path.join(ROOT, path))


TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", re.S)


def without_comments(text):
    """C without its comments; lines stay where they are."""
    def blank(m):
        s = m.group(0)
        return s if s[0] in "\"'" else re.sub(r"[^\n]", "", s) or " "
    return TOKEN.sub(blank, text)


def bare(text):
    """C without comments and without what stands in strings; lines stay where they are."""
    return TOKEN.sub(lambda m: '""' if m.group(0)[0] == '"' else m.group(0), without_comments(text))


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def bad(path, line, what):
    _findings.append(f"{path}:{line}: {what}" if line else f"{path}: {what}")


def finish(rule):
    for finding in _findings:
        print(finding)
    if _findings:
        print(f"\n{len(_findings)} against the rule: {rule}")
    sys.exit(1 if _findings else 0)
