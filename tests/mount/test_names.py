# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Names: everything a path may carry works, what a key cannot carry is refused, and keys no path can carry
are hidden without harm to the rest."""
import errno
import os

import pytest

from helpers import errno_of

GOOD = ["blank in it", "plus+percent%41", "ünïcödé-日本語", "quote'\"<&>", "a=b?c#d;e", "-dash", "~tilde",
        "#hash", "*star*", "back\\slash", "dot.", "..three", " lead", "trail ", "x" * 255, "tab\tin it"]


@pytest.mark.parametrize("name", GOOD, ids=range(len(GOOD)))
def test_good_names(m, store, name):
    (m / "d").mkdir()
    m.write("d/" + name, name.encode())
    assert m.ls("d") == [name] and m.read("d/" + name) == name.encode()
    assert store.get("d/" + name) == name.encode()
    os.rename(m / "d" / name, m / "d" / "plain")
    os.rename(m / "d" / "plain", m / "d" / name)
    os.unlink(m / "d" / name)
    assert m.ls("d") == []


def test_names_written_behind_the_mount(m, store):
    names = [n for n in GOOD if len(n) < 200]
    for n in names:
        store.put("in/" + n, b"1")
    assert m.ls("in") == sorted(names)
    assert all(m.read("in/" + n) == b"1" for n in names)


def test_a_name_of_256_bytes_is_too_long(m):
    assert errno_of(open, m / ("x" * 256), "wb") == errno.ENAMETOOLONG
    assert errno_of(os.mkdir, m / ("ü" * 128)) == errno.ENAMETOOLONG


def test_a_key_of_more_than_1024_bytes_is_too_long(m, store):
    path = m.path()
    for _ in range(4):
        path = path / ("k" * 200)
        path.mkdir()
    (path / ("f" * 220)).write_bytes(b"fits")  # 4 * 201 + 220 = 1024
    assert errno_of(open, path / ("f" * 221), "wb") == errno.ENAMETOOLONG
    assert errno_of(os.rename, path / ("f" * 220), path / ("g" * 221)) == errno.ENAMETOOLONG
    assert (path / ("f" * 220)).read_bytes() == b"fits"


def test_names_that_are_no_utf8_are_refused(m, store):
    bad = os.path.join(os.fsencode(m.at), b"caf\xe9")
    assert errno_of(os.open, bad, os.O_CREAT | os.O_WRONLY) == errno.EILSEQ
    assert errno_of(os.mkdir, bad) == errno.EILSEQ
    m.write("f", b"x")
    assert errno_of(os.rename, os.fsencode(m / "f"), bad) == errno.EILSEQ
    assert errno_of(os.stat, bad) in (errno.ENOENT, errno.EILSEQ)
    assert m.ls() == ["f"]


def test_control_characters(m, store):
    name = "bell\x07and\x01"
    if store.kind == "versitygw":
        # versitygw lists 0x01 as U+FFFD: what matters is that nothing breaks.
        m.write("plain", b"")
        m.write(name, b"x")
        assert "plain" in m.ls()
        return
    m.write(name, b"x")
    assert m.read(name) == b"x" and store.get(name) == b"x" and m.ls() == [name]
