# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What a server can answer and should not: throttling, errors after the effect, errors dressed as success,
short and broken bodies, garbage, nothing. Healed where it can be healed, one errno where not, never wrong
data, and the mount lives on."""
import errno
import os
import re
import threading
import time

import pytest

from faulty import alive
from helpers import errno_of, noise
from scripted_s3 import Reply

MIB = 1 << 20


THROTTLES = [(503, "SlowDown"), (503, "ServiceUnavailable"), (500, "InternalError"), (502, ""), (504, ""),
             (429, "TooManyRequests"), (400, "RequestTimeout")]


@pytest.mark.parametrize("status,code", THROTTLES)
@pytest.mark.parametrize("op", ["list", "get", "put", "copy", "delete"])
def test_transient_errors_are_retried(fm, fake, status, code, op):
    fake.put("b", "o", b"data")
    fm.ls()
    rule = fake.on(op=op, times=2).status(status, code)
    if op == "list":
        time.sleep(1.1)
        assert fm.ls() == ["o"]
    elif op == "get":
        assert fm.read("o") == b"data"
    elif op == "put":
        fm.write("new", b"n")
        assert fake.get("b", "new") == b"n"
    elif op == "copy":
        os.rename(fm / "o", fm / "p")
        assert fake.keys() == ["p"]
    else:
        os.unlink(fm / "o")
        assert fake.keys() == []
    # rename may copy or upload from the cache; every other operation must have met the rule
    assert rule.used == 2 or op == "copy"


@pytest.mark.parametrize("status,code,want", [
    (403, "AccessDenied", errno.EACCES), (403, "QuotaExceeded", errno.EDQUOT),
    (507, "XMinioStorageFull", errno.ENOSPC), (400, "EntityTooLarge", errno.EFBIG),
    (400, "KeyTooLongError", errno.ENAMETOOLONG), (418, "Teapot", errno.EIO)])
def test_final_errors_of_put(fm, fake, status, code, want):
    rule = fake.on("PUT", op="put").status(status, code)
    f = open(fm / "o", "wb", buffering=0)
    f.write(b"data")
    assert errno_of(f.close) == want
    assert rule.used <= 2, "a final error is not repeated"
    alive(fm, fake)


@pytest.mark.parametrize("status,code,want", [
    (403, "AccessDenied", errno.EACCES), (403, "InvalidObjectState", errno.EACCES)])
def test_final_errors_of_get(fm, fake, status, code, want):
    fake.put("b", "o", noise(MIB))
    fm.ls()
    fake.on(op="get").status(status, code)
    assert errno_of(fm.read, "o") == want
    alive(fm, fake)


def test_an_error_of_close_sticks_until_seen(fm, fake):
    """A failed commit is not forgotten because the program did not look."""
    fake.on("PUT", op="put", key="o").status(403, "AccessDenied")
    fd = os.open(fm / "o", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"data")
    assert errno_of(os.fsync, fd) == errno.EACCES
    with pytest.raises(OSError):
        os.close(fd)


# --- 500 after the effect ----------------------------------------------------------------------------
def test_500_after_put(fm, fake):
    fake.on("PUT", op="put", nth=1).after_effect().status(500, "InternalError")
    fm.write("f", b"once")
    assert fake.get("b", "f") == b"once" and fm.read("f") == b"once"


def test_500_after_exclusive_create(fm, fake):
    """The retry's 412 is about our own object: it is a success."""
    fake.on("PUT", op="put", nth=1).after_effect().status(500, "InternalError")
    fd = os.open(fm / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, b"mine")
    os.close(fd)
    assert fake.get("b", "f") == b"mine"


def test_connection_closed_after_put(fm, fake):
    """The reply is lost, the effect is not; libcurl must not send the body a second time by itself."""
    fake.put("b", "f", b"old")
    fm.read("f")
    fake.on("PUT", op="put", nth=1).after_effect().close_without_reply()
    fm.write("f", b"new")
    assert fake.get("b", "f") == b"new" and fm.read("f") == b"new"


def big(fm, name="big", n=20 * MIB):
    data = noise(n)
    fm.write(name, data)
    return data


def test_500_after_complete(fm, fake):
    """The upload is gone at the retry (NoSuchUpload): the object that is there is ours."""
    fake.on("POST", op="complete", nth=1).after_effect().status(500, "InternalError")
    data = big(fm)
    assert fake.get("b", "big") == data
    assert not fake.ops.uploads


def test_200_with_an_error_on_complete(fm, fake):
    fake.on("POST", op="complete", nth=1).ok_with_error("InternalError")
    data = big(fm)
    assert fake.get("b", "big") == data and fm.read("big") == data


def test_200_with_an_error_on_copy(fm, fake):
    fake.put("b", "o", b"data")
    fake.on("PUT", op="copy", nth=1).ok_with_error("InternalError")
    os.rename(fm / "o", fm / "p")
    assert fake.keys() == ["p"] and fake.get("b", "p") == b"data"


def test_lost_part_is_sent_again(fm, fake):
    fake.on("PUT", op="part", nth=2).status(500, "InternalError")
    fake.on("PUT", op="part", nth=2).close_without_reply()
    data = big(fm)
    assert fake.get("b", "big") == data


def test_upload_aborted_by_the_server(fm, fake):
    """NoSuchUpload in the middle: from the start again, or an error; not a half object."""
    def vanish(req):
        fake.ops.uploads.pop(req.query["uploadId"], None)
    fake.on("PUT", op="part", nth=2).call(vanish)
    fake.put("b", "big", b"old")
    data = noise(20 * MIB)
    try:
        fm.write("big", data)
        assert fake.get("b", "big") == data
    except OSError:
        assert fake.get("b", "big") == b"old"
    alive(fm, fake)


def test_failed_upload_is_aborted(box, fm, fake):
    fake.on("PUT", op="part", key="big").status(403, "AccessDenied")
    f = open(fm / "big", "wb", buffering=0)
    with pytest.raises(OSError):
        with f:
            for _ in range(20):
                f.write(noise(MIB))
    deadline = time.monotonic() + 5
    while fake.ops.uploads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not fake.ops.uploads, "an orphan upload costs the owner money"


# --- bodies ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["short", "reset_at"])
def test_short_bodies_are_completed(fm, fake, how):
    data = noise(3 * MIB)
    fake.put("b", "o", data)
    rule = fake.on(op="get", times=2)
    rule.short(100) if how == "short" else rule.reset_at(1000)
    assert fm.read("o") == data and rule.used == 2


def test_range_ignored_by_the_server(fm, fake):
    """200 with the whole object instead of 206: the right slice or an error, nothing misplaced."""
    data = noise(2 * MIB)
    fake.put("b", "o", data)
    fake.on(op="get").call(lambda r: Reply(200, data, fake.ops.buckets["b"]["o"].headers()))
    with open(fm / "o", "rb", buffering=0) as f:
        for offset in (MIB + 5, 0, 2 * MIB - 10):
            try:
                assert os.pread(f.fileno(), 1000, offset) == data[offset:offset + 1000]
            except OSError as e:
                assert e.errno == errno.EIO


def test_wrong_content_range(fm, fake):
    data = noise(2 * MIB)
    fake.put("b", "o", data)
    fm.ls()
    fake.on(op="get").header("Content-Range", "bytes 5-100/2097152")
    assert errno_of(fm.read, "o") == errno.EIO
    alive(fm, fake)
    assert fm.read("o") == data


def test_wrong_etag_in_a_range_is_never_mixed(fm, fake):
    """Another version's ETag on a range: the reader gets an error, not a mixture."""
    fake.put("b", "o", noise(4 * MIB))
    fm.ls()
    fake.on(op="get", nth=2).header("ETag", '"another"')
    try:
        assert fm.read("o") == noise(4 * MIB)
    except OSError as e:
        assert e.errno in (errno.ESTALE, errno.EIO)


def test_object_replaced_between_ranges(fm, fake):
    old, new = noise(30 * MIB, 1), noise(30 * MIB, 2)
    fake.put("b", "o", old)
    fm.ls()
    with open(fm / "o", "rb", buffering=0) as f:
        assert f.read(1000) == old[:1000]
        fake.put("b", "o", new)
        f.seek(28 * MIB)
        try:
            assert f.read(1000) == old[28 * MIB:28 * MIB + 1000]
        except OSError as e:
            assert e.errno == errno.ESTALE
    assert all("if-match" in r.headers for r in fake.requests(op="get")), "every range has If-Match"
    time.sleep(1.1)
    assert fm.read("o") == new


def test_object_deleted_while_it_is_read(fm, fake):
    data = noise(30 * MIB)
    fake.put("b", "o", data)
    fm.ls()
    with open(fm / "o", "rb", buffering=0) as f:
        assert f.read(1000) == data[:1000]
        del fake.ops.buckets["b"]["o"]
        f.seek(28 * MIB)
        try:
            assert f.read(1000) == data[28 * MIB:28 * MIB + 1000]
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.ENOENT)
    time.sleep(1.1)
    assert errno_of(fm.read, "o") == errno.ENOENT


def test_slow_server(fm, fake):
    fake.put("b", "o", noise(200000))
    fake.on(op="get").trickle(100000)
    assert fm.read("o") == noise(200000)


# --- headers and time --------------------------------------------------------------------------------
def test_clock_20_minutes_wrong_is_healed_once(box, fake):
    fake.put("b", "f", b"x")
    fake.on().skewed(1200)
    m = box.mount("s3://b", "--rw", *fake.mount_args, env=fake.mount_env)
    assert m.read("f") == b"x"
    m.write("g", b"y")
    assert fake.get("b", "g") == b"y"
    said = [x for x in box.watch.text().splitlines() if "clock" in x.lower() or "skew" in x.lower()]
    assert 1 <= len(said) <= 2, said
    refused = [r for r in fake.log if abs(int(r.signed_date) - int(time.strftime("%Y%m%d"))) > 1]
    assert not refused


@pytest.mark.parametrize("status,code", [(301, "PermanentRedirect"), (307, "TemporaryRedirect"),
                                         (400, "AuthorizationHeaderMalformed")])
def test_wrong_region(box, fake, status, code):
    fake.put("b", "f", b"x")
    fake.on().region("eu-north-1", status, code)
    m = box.mount("s3://b", *fake.mount_args, env=fake.mount_env)
    assert m.read("f") == b"x"
    assert "eu-north-1" in box.watch.text()
    assert {r.signed_region for r in fake.requests(op="get")} == {"eu-north-1"}


def test_redirect_to_another_host_is_not_followed(box, fake, root_dir):
    """Our signature never goes to a host a server names."""
    from scripted_s3 import ScriptedS3
    thief = ScriptedS3()
    box.cleanups.append(thief.close)
    fake.on().status(307, "TemporaryRedirect", {"Location": thief.endpoint + "/b?list-type=2"})
    box.refused("s3://b", *fake.mount_args, env=fake.mount_env)
    assert not thief.log


def test_huge_headers(fm, fake):
    fake.put("b", "o", b"x")
    fm.ls()
    fake.on(op="get").header("x-amz-meta-long", "x" * 500000)
    with pytest.raises(OSError):
        fm.read("o")
    alive(fm, fake)


def test_an_exclusive_create_is_create_only(fm, fake):
    fd = os.open(fm / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, b"n")
    os.close(fd)
    assert fake.requests(op="put", key="new")[-1].headers.get("if-none-match") == "*"


def test_changed_by_another_client_while_we_hold_data(fm, fake):
    """A partial overwrite needs the rest of the version it began with: it fails rather than mix two."""
    fake.put("b", "o", b"seen at open")
    f = open(fm / "o", "r+b", buffering=0)
    f.write(b"MINE")
    fake.put("b", "o", b"written by another host")
    assert errno_of(f.close) == errno.ESTALE
    assert fake.get("b", "o") == b"written by another host"


def test_the_name_works_again_after_a_conflict(fm, fake):
    fake.put("b", "o", b"seen at open")
    f = open(fm / "o", "r+b", buffering=0)
    f.write(b"MINE")
    fake.put("b", "o", b"written by another host")
    errno_of(f.close)
    time.sleep(1.1)
    assert fm.read("o") == b"written by another host"


def test_payloads_over_plain_http_to_loopback_are_hashed_or_unsigned(fm, fake):
    fm.write("f", b"x" * 1000)
    sent = fake.requests(op="put", key="f")[-1].headers["x-amz-content-sha256"]
    assert sent == "UNSIGNED-PAYLOAD" or re.fullmatch("[0-9a-f]{64}", sent)


def test_one_get_for_two_readers(fm, fake):
    """Readers of the same cold block share one request."""
    fake.put("b", "o", noise(100000))
    fm.ls()
    fake.on(op="get").delay(0.7)
    got = []
    threads = [threading.Thread(target=lambda: got.append(fm.read("o"))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [noise(100000)] * 4 and fake.count(op="get") == 1


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_silence_of_a_minute(box, fm, fake):
    """Nothing for a minute, then life: a read waits or fails, an ls of something else works."""
    fake.put("b", "o", noise(100000))
    fake.put("b", "d/f", b"x")
    fm.ls()
    fake.on(op="get", key="o").silence(60)
    result = []

    def reader():
        try:
            result.append(fm.read("o"))
        except OSError as e:
            result.append(e.errno)
    t = threading.Thread(target=reader)
    with box.limit(150):
        t.start()
        time.sleep(1)
        assert fm.ls("d") == ["f"]
        t.join()
    assert result == [noise(100000)] or result[0] in (errno.EIO, errno.ETIMEDOUT)
    alive(fm, fake)
