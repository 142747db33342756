#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The text of the sources: licence lines, no tabs or trailing blanks, lines that fit, no marks of unfinished
work, no functions that write without knowing how far."""
import re

from tree import PROGRAMS, bad, bare, files, finish, line_of, read, without_comments

CODE_COLUMNS = 100  # what clang-format formats to
COLUMNS_ANY = 110   # a comment, a table or a script may run over by a word
LICENCE = re.compile(r"\A(#![^\n]*\n)?[/*# ]*SPDX-License-Identifier: Apache-2\.0\n"
                     r"[*# ]*SPDX-FileCopyrightText: the hafiz authors\b")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
BANNED = {
    "strcpy": "str.h", "strcat": "str.h", "stpcpy": "str.h", "sprintf": "snprintf or str_addf",
    "vsprintf": "vsnprintf", "gets": "getline", "atoi": "str_to_u64", "atol": "str_to_u64",
    "atoll": "str_to_u64", "alloca": "malloc", "strdupa": "strdup", "strtok": "strtok_r",
    "tmpnam": "mkostemp", "mktemp": "mkostemp", "asctime": "strftime", "ctime": "strftime",
    "localtime": "localtime_r", "gmtime": "gmtime_r", "rand": "getrandom",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")


def check_lines(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if "\t" in line and not path.endswith(".scd"):  # scdoc indents with them
            bad(path, number, "a tab")
        if line != line.rstrip():
            bad(path, number, "blanks at the end")
        if len(line) > COLUMNS_ANY and not path.endswith((".md", ".scd")):
            bad(path, number, f"{len(line)} columns")
        if UNFINISHED.search(line):
            bad(path, number, "a mark of unfinished work")
    if text and not text.endswith("\n"):
        bad(path, 0, "no newline at the end")
    if text.endswith("\n\n"):
        bad(path, 0, "empty lines at the end")


def check_code(path, text):
    for number, line in enumerate(without_comments(text).split("\n"), 1):
        if CODE_COLUMNS < len(line.rstrip()) <= COLUMNS_ANY:
            bad(path, number, f"{len(line)} columns of code")
    code = bare(text)
    for m in CALL.finditer(code):
        bad(path, line_of(code, m.start()), f"{m.group(1)}(): use {BANNED[m.group(1)]}")


for name in files(".c", ".h", ".tbl", ".py", ".sh", ".md", ".scd", "meson.build"):
    content = read(name)
    check_lines(name, content)
    if name.endswith((".c", ".h", ".tbl", ".py", ".sh")) and not LICENCE.match(content):
        bad(name, 1, "the two SPDX lines are missing")
for name in files(".c", ".h", under=PROGRAMS + ("tests",)):
    check_code(name, read(name))
finish("clean text")
