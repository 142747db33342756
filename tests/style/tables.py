#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Every list exists once, as a table; its rows do not contradict each other, and what is written about
them for people names them all: messages.tbl and PROTOCOL.md, conf.tbl and s3proxyd.conf(5), options.tbl
and hafiz-mount(8), the commands of hafizctl and hafizctl(1)."""
import errno
import re
import shutil
import subprocess

from tree import bad, exists, files, finish, line_of, read


def table(path):
    """The text of a table without comments; a missing one is a finding of its own."""
    if not exists(path):
        bad(path, 0, "is missing")
        return ""
    return re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), read(path), flags=re.S)


def unique(path, what, rows):
    seen = {}
    for value, line in rows:
        if value in seen:
            bad(path, line, f"{what} {value} stands in line {seen[value]}, too")
        seen[value] = line


def messages():
    path = "proto/messages.tbl"
    text = table(path)
    protocol = read("proto/PROTOCOL.md") if exists("proto/PROTOCOL.md") else ""
    rows = [(m, line_of(text, m.start())) for m in
            re.finditer(r"\bMSG\((\w+), *(\w+), *(\d+), *(\w+), *(\w+), *(\w+)\)", text)]
    unique(path, "message", [(m.group(1), line) for m, line in rows])
    unique(path, "id", [(int(m.group(3)), line) for m, line in rows])
    for m, line in rows:
        if m.group(2) != m.group(1).lower():
            bad(path, line, f"{m.group(1)} and {m.group(2)} are two names")
        if not re.search(rf"\b{m.group(1)}\b", protocol):
            bad("proto/PROTOCOL.md", 0, f"does not name {m.group(1)}")
        for side in ("REQ", "REP"):
            if not re.search(rf"#define MSG_{m.group(1)}_{side}\(F\)", text):
                bad(path, line, f"MSG_{m.group(1)}_{side} is missing")
    for m in re.finditer(r"#define (MSG_\w+_RE[QP])\(F\)((?:.*\\\n)*.*)", text):
        line = line_of(text, m.start())
        fields = re.findall(r"\bF\((\w+), *(\d+), *(\w+), *([^()]+)\)", m.group(2))
        unique(path, f"{m.group(1)}: field number", [(f[1], line) for f in fields])
        unique(path, f"{m.group(1)}: field", [(f[2], line) for f in fields])
        for kind, _, name, limit in fields:
            if kind in ("STR", "BIN") and limit.strip() == "0":
                bad(path, line, f"{m.group(1)}: {name} has no bound")


def errnos():
    path = "proto/errno.tbl"
    text = table(path)
    rows = [(m.group(1), int(m.group(2)), line_of(text, m.start()))
            for m in re.finditer(r"\bERR\((\w+), *(\d+)\)", text)]
    unique(path, "errno", [(name, line) for name, _, line in rows])
    for name, number, line in rows:
        if getattr(errno, name, None) != number:
            bad(path, line, f"{name} is {getattr(errno, name, None)} on Linux")


def manual(path):
    """Text of a manual as it is read: scdoc's escapes and emphasis undone."""
    if not exists(path):
        bad(path, 0, "is missing")
        return ""
    return re.sub(r"\\(.)", r"\1", read(path))


def options():
    """Rows with a help text are what people are told about; the others are aliases and foreign words."""
    path, page = "fused/options.tbl", "fused/hafiz-mount.8.scd"
    text, words = table(path), manual(page)
    rows = [(m.group(1), m.group(2), m.group(3) != "NULL", line_of(text, m.start())) for m in
            re.finditer(r'\bOPT\("([^"]+)", *(\w+),[^\n]*, (NULL|"[^\n]*")\)$', text, re.M)]
    if len(rows) != len(re.findall(r"^OPT\(", text, re.M)):
        bad(path, 0, "a row is not understood")
    unique(path, "option", [(name, line) for name, _, _, line in rows])
    for name, forms, told, line in rows:
        want = name if forms == "WORD" else "--" + name
        if told and not re.search(rf"(?<![\w-]){re.escape(want)}(?![\w-])", words):
            bad(page, 0, f"does not name {want} ({path}:{line})")


def settings():
    """Each option has an entry of its own in the manual, and its default stands there."""
    path, page = "s3proxyd/conf/conf.tbl", "s3proxyd/s3proxyd.conf.5.scd"
    text, words = table(path), manual(page)
    rows = [(m.group(2), m.group(3), line_of(text, m.start())) for m in
            re.finditer(r'^OPT\((\w+), (\w+), \w+, [\w.]+, (NULL|"[^"]*"),', text, re.M)]
    if len(rows) != len(re.findall(r"^OPT\(", text, re.M)):
        bad(path, 0, "a row is not understood")
    entries = dict(re.findall(r"^\*(\w+)\* = .*\n((?:\t.*\n)+)", words, re.M))
    for name, default, line in rows:
        if name not in entries:
            bad(page, 0, f"does not explain {name} ({path}:{line})")
        elif default != "NULL" and f"Default: {default.strip(chr(34))}." not in entries[name]:
            bad(page, 0, f"{name}: the default is {default} ({path}:{line})")
    for name in sorted(set(entries) - {name for name, _, _ in rows}):
        bad(page, 0, f"explains {name}, which {path} does not have")


def commands():
    path, page = "s3proxyd/hafizctl.c", "s3proxyd/hafizctl.1.scd"
    words = manual(page)
    block = re.search(r"\} commands\[\] = \{(.*?)\n\};", read(path), re.S)
    names = re.findall(r'^\s*\{"(\w+)"', block.group(1), re.M) if block else []
    if not names:
        bad(path, 0, "the table of commands is not where it was")
    for name in names:
        if not re.search(rf"^\*{name}\*", words, re.M):
            bad(page, 0, f"does not explain {name}")


def store_errors():
    path = "s3proxyd/s3/s3-error.tbl"
    text = table(path)
    rows = [(" ".join(m.group(0).split()), line_of(text, m.start())) for m in
            re.finditer(r"^[A-Z0-9_]+\([^,)]+,[^,)]+", text, re.M)]
    if text and not rows:
        bad(path, 0, "no row is understood")
    unique(path, "row", rows)


def manuals():
    for path in files(".scd") if shutil.which("scdoc") else []:
        result = subprocess.run(["scdoc"], input=read(path), capture_output=True, text=True,
                                check=False)
        if result.returncode:
            bad(path, 0, "scdoc: " + result.stderr.strip())


for part in (messages, errnos, options, settings, commands, store_errors, manuals):
    part()
finish("every list once, and explained")
