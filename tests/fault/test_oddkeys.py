# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Keys no path can carry, and names that are two things at once: hidden, counted, never lost."""
import errno
import json
import os

import pytest

from helpers import errno_of

ODD = {"double slash": "d/a//b", "leading slash": "/d", "dot": "d/./x", "dot dot": "d/../x",
       "300 bytes": "d/" + "n" * 300, "300 bytes below": "d/" + "n" * 300 + "/x",
       "trailing double": "d//", "only dots": "..", "not utf-8": "d/\udce9"}
CARRIED = {"newline": "d/a\nb", "0x01": "d/a\x01b", "escape": "d/\x1b[31mred", "blank": "d/ "}


@pytest.fixture
def m(box, fake):
    b = box.backend()
    fake.put("b", "d/plain", b"plain")
    box.socket = b.socket
    return lambda: box.mount("s3://b", "--rw", "--socket", b.socket, "--attr-ttl", "1", *fake.mount_args,
                             env=fake.mount_env)


@pytest.mark.parametrize("name", ODD)
def test_hidden_keys_do_no_harm(box, fake, m, name):
    fake.put("b", ODD[name], b"precious")
    mount = m()
    names = mount.ls()
    assert "d" in names and set(names) <= {"d", "n" * 300} and mount.ls("d") in (["plain"], ["a", "plain"])
    assert mount.read("d/plain") == b"plain"
    mount.write("d/new", b"x")
    os.rename(mount / "d" / "new", mount / "d" / "newer")
    assert fake.get("b", ODD[name]) == b"precious"


@pytest.mark.parametrize("name", [n for n in ODD if ODD[n].startswith("d/")])
def test_a_directory_that_holds_hidden_keys_is_not_empty(box, fake, m, name):
    fake.put("b", ODD[name], b"precious")
    mount = m()
    os.unlink(mount / "d" / "plain")
    for sub in mount.ls("d"):
        assert errno_of(os.rmdir, mount / "d" / sub) == errno.ENOTEMPTY
    assert errno_of(os.rmdir, mount / "d") == errno.ENOTEMPTY
    assert fake.get("b", ODD[name]) == b"precious"


@pytest.mark.parametrize("name", [n for n in ODD if ODD[n].startswith("d/")])
def test_rename_of_a_directory_with_hidden_keys_loses_none(box, fake, m, name):
    fake.put("b", ODD[name], b"precious")
    mount = m()
    try:
        os.rename(mount / "d", mount / "e")
        moved = "e/" + ODD[name][2:]
    except OSError:
        moved = ODD[name]
        assert fake.get("b", "d/plain") == b"plain"
    assert fake.get("b", moved) == b"precious"


@pytest.mark.parametrize("name", CARRIED)
def test_control_characters_are_names(fake, m, name):
    key = CARRIED[name]
    fake.put("b", key, b"odd")
    mount = m()
    assert mount.ls("d") == sorted([key[2:], "plain"]) and mount.read(key) == b"odd"
    mount.write(key, b"changed")
    assert fake.get("b", key) == b"changed"
    os.unlink(mount / key)
    assert mount.ls("d") == ["plain"]


def test_control_characters_are_not_logged_raw(box, fake, m):
    fake.put("b", "d/\x1b]0;evil\x07", b"x")
    fake.put("b", "d/a\nerror everything is lost", b"x")
    box.watch.expect("everything is lost")
    mount = m()
    mount.ls("d")
    fake.on(op="get").status(403, "AccessDenied")
    for n in mount.ls("d"):
        try:
            mount.read("d/" + n)
        except OSError:
            pass
    text = box.watch.text()
    assert "\x1b" not in text and "\nerror everything" not in text


def test_object_and_directory_of_one_name(box, fake, m):
    """The directory wins; the object is hidden until the prefix is empty, and never overwritten."""
    fake.put("b", "x", b"the object")
    fake.put("b", "x-before-the-slash", b"sorts between")
    fake.put("b", "x/inside", b"the file")
    mount = m()
    assert mount.ls() == ["d", "x", "x-before-the-slash"] and mount.ls("x") == ["inside"]
    assert mount.read("x/inside") == b"the file"
    assert errno_of(open, mount / "x", "wb") == errno.EISDIR
    assert errno_of(os.unlink, mount / "x") in (errno.EISDIR, errno.EPERM)
    assert fake.get("b", "x") == b"the object"
    os.unlink(mount / "x" / "inside")
    assert fake.get("b", "x") == b"the object"


def test_directory_marker_with_content_stays(fake, m):
    fake.put("b", "marked/", b"not empty")
    mount = m()
    assert mount.ls("marked") == []
    mount.write("marked/f", b"x")
    os.unlink(mount / "marked" / "f")
    assert fake.get("b", "marked/") == b"not empty"


def test_hidden_keys_are_counted(box, fake, m):
    for key in ODD.values():
        fake.put("b", key, b"x")
    mount = m()
    mount.ls()
    mount.ls("d")
    doc = box.ctl("--socket", box.socket, "status", "--json").stdout
    assert "hidden" in json.dumps(json.loads(doc)), "a user must be able to find out what he does not see"


@pytest.mark.parametrize("key", ["a b+c", "ü", "%41", "a&b=c?d", "x" * 255, "a'b\"c", "<&>"])
def test_keys_are_spelled_right_in_every_request(fake, m, key):
    mount = m()
    mount.write(key, b"1")
    assert fake.get("b", key) == b"1"
    os.rename(mount / key, mount / (key[:200] + ".2"))
    assert fake.get("b", key[:200] + ".2") == b"1" and key not in fake.keys()
    mount.write("big" + key[:200], bytes(17 << 20))
    assert len(fake.get("b", "big" + key[:200])) == 17 << 20
