# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Listings a server should not send: garbage, loops, pages that lie."""
import errno
import time

import pytest

from faulty import alive
from helpers import errno_of
from scripted_s3 import Reply

GARBAGE = {"not xml": b"this is not xml", "empty": b"", "cut": b'<?xml version="1.0"?><ListBucketResult><Con',
           "html": b"<html><body>Welcome to the hotel's network</body></html>",
           "doctype": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
                      b"<ListBucketResult><Name>&b;</Name></ListBucketResult>",
           "deep": b"<ListBucketResult>" + b"<a>" * 100000,
           "binary": bytes(range(256)) * 100,
           "nokey": b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents>"
                    b"</ListBucketResult>",
           "negative size": b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key><Size>"
                            b"-5</Size><ETag>x</ETag><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                            b"</Contents></ListBucketResult>",
           "huge size": b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key><Size>"
                        b"99999999999999999999</Size><ETag>x</ETag><LastModified>2024-01-01T00:00:00.000Z"
                        b"</LastModified></Contents></ListBucketResult>"}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_listings(box, fm, fake, name):
    fake.put("b", "d/f", b"x")
    fake.on(op="list").body(GARBAGE[name])
    with box.limit(110):
        try:
            assert fm.ls("d") in ([], ["f"])
        except OSError as e:
            assert e.errno in (errno.EIO, errno.ENOENT, errno.ETIMEDOUT)
    alive(fm, fake)
    assert fm.ls("d") == ["f"]


def test_garbage_listing_once_is_healed(fm, fake):
    fake.put("b", "d/f", b"x")
    fake.on(op="list", times=1).body(GARBAGE["cut"])
    assert fm.ls("d") == ["f"]


def test_token_loop_ends(box, fm, fake):
    """A server that says "truncated" for ever with the same page and token."""
    page = (b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuation"
            b"Token><Contents><Key>d/f</Key><Size>1</Size><ETag>x</ETag><LastModified>2024-01-01T00:00:00"
            b".000Z</LastModified></Contents></ListBucketResult>")
    fake.put("b", "d/f", b"x")
    fake.on(op="list", key="").call(lambda r: Reply(200, page) if r.query.get("prefix") == "d/" else None)
    with box.limit(60):
        try:
            fm.ls("d")
        except OSError as e:
            assert e.errno == errno.EIO
    assert fake.count(op="list") < 200
    alive(fm, fake)


def test_empty_truncated_page_is_followed(fm, fake):
    fake.put("b", "d/f", b"x")
    first = (b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t=d</Next"
             b"ContinuationToken></ListBucketResult>")
    fake.on(op="list").call(lambda r: Reply(200, first) if r.query.get("prefix") == "d/" and
                            "continuation-token" not in r.query else None)
    assert fm.ls("d") == ["f"]


def test_bucket_deleted_under_the_mount(fm, fake):
    fake.put("b", "o", b"x")
    fm.ls()
    bucket = fake.ops.buckets.pop("b")
    time.sleep(1.1)
    assert errno_of(fm.ls) in (errno.ENXIO, errno.EIO, errno.ENOENT)
    fake.ops.buckets["b"] = bucket
    alive(fm, fake)


def test_stale_listing_does_not_hide_our_own_new_file(fm, fake):
    """An eventually consistent store lists without what was just written."""
    fake.put("b", "d/old", b"x")
    assert fm.ls("d") == ["old"]
    fm.write("d/new", b"y")
    fake.on(op="list").call(lambda r: None if r.query.get("prefix") != "d/" else
                            hidden(fake, r, "d/new"))
    assert fm.ls("d") == ["new", "old"] and fm.read("d/new") == b"y"


def hidden(fake, req, key):
    objects = dict(fake.ops.buckets["b"])
    objects.pop(key, None)
    return fake.ops._list(req, objects)


ROW = (b"<Contents><Key>%s</Key><Size>1</Size><ETag>x</ETag><LastModified>2024-01-01T00:00:00.000Z"
       b"</LastModified></Contents>")


def test_keys_of_somewhere_else_are_refused(box, fm, fake):
    """They do not begin with what was asked for, and may be shorter than it."""
    fake.put("b", "a-directory-with-a-long-name/f", b"x")
    rows = b"".join(ROW % k for k in (b"b", b"zz", b"somewhere-else/another-long-name"))
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated>" + rows + b"</ListBucketResult>"
    fake.on(op="list").call(lambda r: Reply(200, page) if r.query.get("prefix") else None)
    with box.limit(60):
        assert errno_of(fm.ls, "a-directory-with-a-long-name") == errno.EIO
    alive(fm, fake)
    assert fm.ls("a-directory-with-a-long-name") == ["f"]


def test_a_listing_that_hides_behind_other_tokens_ends(box, fm, fake):
    """Each page shows the same names, each of which might still turn out to be a directory."""
    rows = b"".join(ROW % (b"d/n" + b"!" * i) for i in range(100))
    asked = []

    def answer(req):
        if req.query.get("prefix") != "d/" or "delimiter" not in req.query or len(asked) > 300:
            return None
        asked.append(req)
        return Reply(200, b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t%d"
                          b"</NextContinuationToken>%s</ListBucketResult>" % (len(asked), rows))
    fake.put("b", "d/f", b"x")
    fake.on(op="list").call(answer)
    with box.limit(60):
        assert errno_of(fm.ls, "d") == errno.EIO
    assert len(asked) < 200
    alive(fm, fake)
