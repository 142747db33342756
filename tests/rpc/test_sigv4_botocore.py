# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Signatures against botocore: real client calls are caught before they are sent, and our program is asked
to make the same request from the bare facts (bucket, key, parameters, headers). Target, Host and
Authorization must come out equal, byte for byte. The fixed vectors are in tests/unit/aws."""
import datetime
import os
import random
import string
import subprocess
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import pytest

botocore = pytest.importorskip("botocore")
import botocore.auth  # noqa: E402
import botocore.awsrequest  # noqa: E402
import botocore.config  # noqa: E402
import botocore.credentials  # noqa: E402
import botocore.session  # noqa: E402

ACCESS = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 2, 28, 23, 59, 58, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def signer():
    build = os.environ.get("HAFIZ_BUILD")
    if not build:
        pytest.skip("HAFIZ_BUILD does not name a build directory")
    path = os.path.join(build, "tests", "unit", "aws", "sigv4-cli")
    proc = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            encoding="utf-8")
    yield proc
    proc.stdin.close()
    assert proc.wait(30) == 0


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch):
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: NOW)


def hexed(s):
    return (s if isinstance(s, bytes) else s.encode()).hex()


def ours(signer, *, endpoint, method, payload, region, bucket=None, label=None, key=b"", query=(),
         headers=(), token=None, secret=SECRET):
    """(target, host, date, authorization) as hafiz makes them."""
    lines = ["endpoint\t" + endpoint, "method\t" + method, "payload\t" + payload,
             "time\t%d" % NOW.timestamp(), "region\t" + region, "access\t" + ACCESS,
             "secret\t" + hexed(secret), "key\t" + hexed(key)]
    if bucket is not None:
        lines.append("bucket\t" + hexed(bucket))
    if label is not None:
        lines.append("label\t" + label)
    if token is not None:
        lines.append("token\t" + hexed(token))
    lines += ["query\t%s\t%s" % (hexed(n), hexed(v)) for n, v in query]
    lines += ["header\t%s\t%s" % (n, hexed(v)) for n, v in headers]
    signer.stdin.write("\n".join(lines) + "\nsign\n")
    signer.stdin.flush()
    answer = signer.stdout.readline().rstrip("\n")
    assert not answer.startswith("error"), answer
    return tuple(answer.split("\t"))


class Caught(Exception):
    pass


def client(endpoint=None, token=None, region="eu-central-1", style="path"):
    session = botocore.session.Session()
    session.set_credentials(ACCESS, SECRET, token)
    # Payloads are signed as they are, as hafiz does it over plain http.
    config = botocore.config.Config(
        s3={"addressing_style": style}, signature_version="s3v4", retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required", response_checksum_validation="when_required")
    c = session.create_client("s3", region_name=region, endpoint_url=endpoint, config=config)

    def catch(request, **kwargs):
        raise Caught(request)
    c.meta.events.register("before-send.s3", catch)
    return c


def caught(c, operation, **arguments):
    with pytest.raises(Caught) as e:
        getattr(c, operation)(**arguments)
    return e.value.args[0]


def text(value):
    return value.decode() if isinstance(value, bytes) else value


OWN = {"host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}


def compare(signer, request, *, bucket, key=b"", token=None, region="eu-central-1"):
    """Re-makes a request of botocore's from the facts and compares."""
    url = urlsplit(request.url)
    theirs = {k.lower(): text(v) for k, v in request.headers.items()}
    signed = theirs["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    label, netloc = None, url.netloc
    if netloc.startswith(bucket + "."):
        label, netloc = bucket, netloc[len(bucket) + 1:]
    query = parse_qsl(url.query, keep_blank_values=True, encoding="utf-8", errors="strict")
    target, host, date, authorization = ours(
        signer, endpoint="%s://%s" % (url.scheme, netloc), method=request.method,
        payload=theirs["x-amz-content-sha256"], region=region, label=label,
        bucket=None if label else bucket, key=key, query=query, token=token,
        headers=[(n, theirs[n]) for n in reversed(signed) if n not in OWN])
    assert host == botocore.auth._host_from_url(request.url)  # without the scheme's own port
    assert date == theirs["x-amz-date"]
    assert target.split("?")[0] == url.path
    # botocore sends the query in its own order and spelling; the canonical one is in the signature.
    assert sorted(parse_qsl(urlsplit(target).query, keep_blank_values=True)) == sorted(query)
    assert authorization == theirs["authorization"]


def key_of(request, bucket):
    path = urlsplit(request.url).path
    return unquote_to_bytes(path[len(bucket) + 2:])


ODD_KEYS = [
    "plain", "dir/", "a//b", "/lead", "a/../b", "a/./b", ".", "..", "a b", "a+b", "a=b", "a&b?c#d",
    "100%", "%41", "%2F", "~-._", "tab\tnew\nline\rreturn", "\x01\x1f\x7f", "quote\"'`", "semi;colon:",
    "@,$!*()[]{}<>|\\^", "soap", "café", "日本語/ファイル", "\U0001f600", "e\u0301", "\u00a0", "\ufffd",
    "x" * 1024, "/".join("d" * 100 for _ in range(10)),
    "".join(chr(i) for i in range(1, 128)),
    "".join(chr(i) for i in range(0x80, 0x180)),
    "".join(chr(i) for i in range(0x7c0, 0x900)),
]


@pytest.mark.parametrize("endpoint", [
    "http://127.0.0.1:9000", "https://s3.example.com", "http://s3.example.com:80",
    "https://s3.example.com:443", "https://s3.example.com:8443", "http://[::1]:9000"])
def test_keys(signer, endpoint):
    c = client(endpoint)
    for key in ODD_KEYS:
        compare(signer, caught(c, "get_object", Bucket="buck-et.x", Key=key), bucket="buck-et.x",
                key=key)


def test_every_character_alone_as_key(signer):
    c = client("http://127.0.0.1:9000")
    for i in [*range(1, 0x250), 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfffd, 0x10000, 0x10ffff]:
        key = "k" + chr(i) + "k"
        compare(signer, caught(c, "head_object", Bucket="b-b", Key=key), bucket="b-b", key=key)


def test_virtual_hosts_of_aws(signer):
    for region in ("us-east-1", "eu-central-1", "cn-north-1"):
        c = client(region=region, style="virtual")
        for key in ODD_KEYS[:20]:
            compare(signer, caught(c, "get_object", Bucket="examplebucket", Key=key),
                    bucket="examplebucket", key=key, region=region)
        compare(signer, caught(c, "list_objects_v2", Bucket="examplebucket"), bucket="examplebucket",
                region=region)


@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzEBYaD+/==" * 30])
def test_every_call_hafiz_makes(signer, token):
    c = client("http://127.0.0.1:9000", token=token)
    key, etag = "dir/a b+c", '"d41d8cd98f00b204e9800998ecf8427e-2"'
    source = {"Bucket": "buck", "Key": "old/ä b%"}
    mpu = {"Key": key, "UploadId": "aZ09._-~+/=upload id"}
    calls = [
        ("list_objects_v2", {"Prefix": "dir/ä+b/", "Delimiter": "/", "EncodingType": "url",
                             "MaxKeys": 1000, "ContinuationToken": "1ueGcx/LPRx1+XYE=",
                             "StartAfter": "dir/x y&z=~"}),
        ("list_objects", {"Prefix": "", "Delimiter": "/", "Marker": "a/b"}),
        ("head_object", {"Key": key}),
        ("head_object", {"Key": key, "VersionId": "null", "IfMatch": etag}),
        ("get_object", {"Key": key, "Range": "bytes=0-1023", "IfMatch": etag}),
        ("get_object", {"Key": key, "IfNoneMatch": etag, "RequestPayer": "requester",
                        "ResponseContentType": "text/plain; charset=utf-8"}),
        ("put_object", {"Key": key, "Body": b"hello", "IfNoneMatch": "*", "ContentType": "a/b",
                        "ContentMD5": "XUFAKrxLKna5cZ2REBfFkg==",
                        "Metadata": {"mode": "33188", "Two-Words": "two   words\t here"}}),
        ("put_object", {"Key": key, "Body": b"", "IfMatch": etag, "Metadata": {"empty": ""}}),
        ("delete_object", {"Key": key, "IfMatch": etag}),
        ("delete_objects", {"Delete": {"Objects": [{"Key": "a"}, {"Key": "b&c"}], "Quiet": True}}),
        ("copy_object", {"Key": key, "CopySource": source, "CopySourceIfMatch": etag,
                         "MetadataDirective": "REPLACE", "Metadata": {"mtime": "1.5"},
                         "IfNoneMatch": "*"}),
        ("create_multipart_upload", {"Key": key, "Metadata": {"a": "b"}, "ContentType": "x/y"}),
        ("upload_part", {**mpu, "PartNumber": 10000, "Body": b"x" * 1000}),
        ("upload_part_copy", {**mpu, "PartNumber": 1, "CopySource": source,
                              "CopySourceRange": "bytes=0-5242879", "CopySourceIfMatch": etag}),
        ("complete_multipart_upload", {**mpu, "IfNoneMatch": "*", "MpuObjectSize": 7,
                                       "MultipartUpload": {"Parts": [{"ETag": etag,
                                                                      "PartNumber": 1}]}}),
        ("abort_multipart_upload", mpu),
        ("list_parts", {**mpu, "MaxParts": 1000, "PartNumberMarker": 7}),
        ("head_bucket", {}),
        ("put_object", {"Key": key, "Body": b"x", "ServerSideEncryption": "aws:kms",
                        "SSEKMSKeyId": "arn:aws:kms:eu-central-1:1:key/a", "StorageClass": "GLACIER",
                        "ExpectedBucketOwner": "111122223333"}),
    ]
    for operation, arguments in calls:
        request = caught(c, operation, Bucket="buck", **arguments)
        compare(signer, request, bucket="buck", key=arguments.get("Key", ""), token=token)


def test_copy_source_is_a_path(signer):
    """What hafiz sends as x-amz-copy-source is what uri_path() gives; botocore leaves the first '/' out."""
    c = client("http://127.0.0.1:9000")
    for key in ODD_KEYS:
        request = caught(c, "copy_object", Bucket="buck", Key="k",
                         CopySource={"Bucket": "src", "Key": key})
        target = ours(signer, endpoint="http://127.0.0.1:9000", method="GET", payload="x",
                      region="r", bucket="src", key=key)[0]
        assert target == "/" + text(request.headers["x-amz-copy-source"])


def raw(signer, method, url, headers, region, token, secret, *, endpoint, bucket, key, query):
    """Below the client: what botocore's signer says of a request that no client call makes."""
    request = botocore.awsrequest.AWSRequest(method=method, url=url, headers=dict(headers))
    credentials = botocore.credentials.Credentials(ACCESS, secret, token)
    botocore.auth.S3SigV4Auth(credentials, "s3", region).add_auth(request)
    got = ours(signer, endpoint=endpoint, method=method, region=region, bucket=bucket, key=key,
               payload=request.headers["X-Amz-Content-SHA256"], query=query, headers=headers,
               token=token, secret=secret)
    assert endpoint + got[0] == url
    assert got[3] == request.headers["Authorization"]


def quote(b, safe=b""):
    keep = (string.ascii_letters + string.digits + "-._~").encode() + safe
    return "".join(chr(c) if c in keep else "%%%02X" % c for c in b)


def test_random_requests(signer):
    """Any byte in keys and queries (not only UTF-8), any blanks in headers; the seed is in the output."""
    seed = int(os.environ.get("HAFIZ_SEED") or random.randrange(1 << 32))
    print("HAFIZ_SEED=%d" % seed)
    rand = random.Random(seed)
    endpoint = "http://127.0.0.1:9000"
    for _ in range(2000):
        key = bytes(rand.randrange(1, 256) for _ in range(rand.randrange(1, 60)))
        pairs = [(bytes(rand.randrange(1, 256) for _ in range(rand.randrange(1, 6))),
                  bytes(rand.randrange(1, 256) for _ in range(rand.randrange(0, 20))))
                 for _ in range(rand.randrange(0, 6))]
        query = "&".join("%s=%s" % p for p in sorted((quote(n), quote(v)) for n, v in pairs))
        letters = string.ascii_letters + string.digits + "-_"
        names = {"x-amz-meta-" + "".join(rand.choices(letters, k=rand.randrange(1, 12))).lower()
                 for _ in range(rand.randrange(0, 8))}
        value = string.ascii_letters + "  \t\t,;=\"%é"
        headers = [("-".join(w.capitalize() for w in n.split("-")),
                    "".join(rand.choices(value, k=rand.randrange(0, 30)))) for n in names]
        raw(signer, rand.choice(["GET", "PUT", "POST", "DELETE", "HEAD"]),
            endpoint + "/bb/" + quote(key, b"/") + ("?" + query if query else ""), headers,
            rand.choice(["us-east-1", "auto", "x"]),
            rand.choice([None, "token/+="]),
            "".join(rand.choices(string.printable[:94], k=rand.randrange(1, 120))),
            endpoint=endpoint, bucket="bb", key=key, query=pairs)
