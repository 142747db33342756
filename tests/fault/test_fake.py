# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The fake S3 itself, against boto3: a fake that answers wrongly would prove wrong things."""
import botocore.exceptions
import pytest

from s3server import client
from scripted_s3 import ScriptedS3


@pytest.fixture
def s3():
    fake = ScriptedS3()
    yield fake, client(fake.endpoint, "fake", "fakesecret")
    fake.close()


def code_of(call):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call()
    return e.value.response["Error"]["Code"]


def test_put_get_range_and_head(s3):
    fake, c = s3
    c.put_object(Bucket="b", Key="d/ä b+c", Body=b"0123456789")
    assert c.get_object(Bucket="b", Key="d/ä b+c", Range="bytes=2-4")["Body"].read() == b"234"
    assert c.head_object(Bucket="b", Key="d/ä b+c")["ContentLength"] == 10
    assert code_of(lambda: c.get_object(Bucket="b", Key="d/ä b+c", Range="bytes=10-")) == "InvalidRange"
    assert code_of(lambda: c.get_object(Bucket="b", Key="none")) == "NoSuchKey"


def test_listing_pages_and_prefixes(s3):
    fake, c = s3
    for i in range(1, 26):
        fake.put("b", "f%02d" % i, b"x")
    fake.put("b", "dir/a", b"")
    fake.put("b", "dir/\x01b", b"")
    names = []
    pages = c.get_paginator("list_objects_v2").paginate(
        Bucket="b", Delimiter="/", PaginationConfig={"PageSize": 10})
    for page in pages:
        names += [o["Key"] for o in page.get("Contents", [])]
        names += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
    assert sorted(names) == ["dir/"] + ["f%02d" % i for i in range(1, 26)]
    inside = c.list_objects_v2(Bucket="b", Prefix="dir/")["Contents"]
    assert [o["Key"] for o in inside] == ["dir/\x01b", "dir/a"]


def test_conditions(s3):
    fake, c = s3
    etag = c.put_object(Bucket="b", Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    put = lambda **kw: c.put_object(Bucket="b", Key="k", Body=b"2", **kw)
    assert code_of(lambda: put(IfNoneMatch="*")) == "PreconditionFailed"
    assert code_of(lambda: put(IfMatch='"x"')) == "PreconditionFailed"
    put(IfMatch=etag)
    assert fake.get("b", "k") == b"2"


def test_multipart_copy_delete(s3):
    fake, c = s3
    up = c.create_multipart_upload(Bucket="b", Key="m")["UploadId"]
    parts = []
    for n, data in ((1, b"a" * (5 << 20)), (2, b"tail")):
        r = c.upload_part(Bucket="b", Key="m", UploadId=up, PartNumber=n, Body=data)
        parts.append({"PartNumber": n, "ETag": r["ETag"]})
    c.complete_multipart_upload(Bucket="b", Key="m", UploadId=up, MultipartUpload={"Parts": parts})
    c.copy_object(Bucket="b", Key="n", CopySource="b/m")
    assert fake.get("b", "n") == b"a" * (5 << 20) + b"tail"
    c.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "m"}, {"Key": "n"}]})
    assert fake.keys() == []


def test_script_and_log(s3):
    fake, c = s3
    fake.put("b", "k", b"data")
    fake.on("GET", key="k", nth=2).status(403, "AccessDenied")
    c.get_object(Bucket="b", Key="k")
    assert code_of(lambda: c.get_object(Bucket="b", Key="k")) == "AccessDenied"
    c.get_object(Bucket="b", Key="k")
    assert fake.count("GET", op="get", key="k") == 3
    fake.on("PUT", op="put").after_effect().status(400, "Whatever")
    assert code_of(lambda: c.put_object(Bucket="b", Key="p", Body=b"x")) == "Whatever"
    assert fake.get("b", "p") == b"x"
    fake.on("GET", op="get").reset_at(2)
    with pytest.raises(botocore.exceptions.BotoCoreError):
        c.get_object(Bucket="b", Key="k")["Body"].read()


def test_skew_and_region(s3):
    fake, c = s3
    fake.on(op="list").skewed(1200)
    assert code_of(lambda: c.list_objects_v2(Bucket="b")) == "RequestTimeTooSkewed"
    fake.calm()
    fake.on(op="list").region("eu-north-1")
    c.list_objects_v2(Bucket="b")  # botocore follows
    assert fake.requests(op="list")[-1].signed_region == "eu-north-1"
