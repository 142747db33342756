# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What the scripted S3 does when its script says nothing: objects, listings with encoding-type=url,
conditions, ranges, copies, multipart uploads. Any bytes are a key here, also those real servers refuse."""
import hashlib
import re
import time
import urllib.parse
import uuid
import xml.etree.ElementTree as ET
from email.utils import formatdate
from xml.sax.saxutils import escape


class Reply:
    def __init__(self, status=200, body=b"", headers=None):
        self.status, self.body = status, body if isinstance(body, bytes) else body.encode()
        self.headers = dict(headers or {})
        self.cut, self.reset, self.trickle, self.stall = None, False, 0, 0


def error_reply(status, code, message, extra=""):
    return Reply(status, '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>%s'
                 "</Message>%s<RequestId>R</RequestId></Error>" % (escape(code), escape(message), extra))


def quote(key):
    """encoding-type=url: a blank may be '+', as real servers write it."""
    return urllib.parse.quote_plus(key.encode("utf-8", "surrogateescape"), safe="/*-._")


class Object:
    def __init__(self, data, meta=None, etag=None, mtime=None):
        self.data, self.meta = data, dict(meta or {})
        self.etag = etag or '"%s"' % hashlib.md5(data).hexdigest()
        self.mtime = time.time() if mtime is None else mtime

    def headers(self):
        h = {"ETag": self.etag, "Last-Modified": formatdate(self.mtime, usegmt=True),
             "Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream"}
        h.update({k: v for k, v in self.meta.items()})
        return h


class Ops:
    def __init__(self):
        self.buckets = {}
        self.uploads = {}  # id → (bucket, key, metadata, {number: data})

    def store(self, bucket, key, data, **kw):
        obj = Object(data, **kw)
        self.buckets[bucket][key] = obj
        return obj

    def answer(self, req):
        if req.op == "buckets":
            return Reply(200, "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>")
        if req.op == "create-bucket":
            self.buckets.setdefault(req.bucket, {})
            return Reply(200)
        if req.bucket not in self.buckets:
            return error_reply(404, "NoSuchBucket", "The specified bucket does not exist")
        handler = getattr(self, "_" + req.op.replace("-", "_"), None)
        if not handler:
            return error_reply(501, "NotImplemented", "not known here: " + req.op)
        return handler(req, self.buckets[req.bucket])

    # --- listing -------------------------------------------------------------------------------------
    def _head_bucket(self, req, objects):
        return Reply(200)

    def _location(self, req, objects):
        return Reply(200, "<LocationConstraint/>")

    def _list(self, req, objects):
        q = req.query
        prefix, delimiter = q.get("prefix", ""), q.get("delimiter", "")
        limit = min(int(q.get("max-keys", 1000)), 1000)
        after = q.get("start-after", "")
        if "continuation-token" in q:
            after = urllib.parse.unquote(q["continuation-token"][2:], errors="surrogateescape")
        encode = quote if q.get("encoding-type") == "url" else (lambda s: escape(s))
        rows, last, truncated, seen = [], after, False, set()
        order = sorted(objects, key=lambda k: k.encode("utf-8", "surrogateescape"))
        for key in order:
            if not key.startswith(prefix):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key[:cut + len(delimiter)] if cut >= 0 else key
            if after and name.encode("utf-8", "surrogateescape") <= \
                    after.encode("utf-8", "surrogateescape"):
                continue
            if name in seen:
                continue
            if len(rows) >= limit:
                truncated = True
                break
            seen.add(name)
            last = name
            rows.append(self._row(name, objects[key], encode, cut >= 0))
        return Reply(200, self._list_body(req, rows, last, truncated, encode))

    @staticmethod
    def _row(name, obj, encode, is_prefix):
        if is_prefix:
            return "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % encode(name)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(obj.mtime))
        return ("<Contents><Key>%s</Key><LastModified>%s.%03dZ</LastModified><ETag>%s</ETag><Size>%d"
                "</Size><StorageClass>STANDARD</StorageClass></Contents>" %
                (encode(name), stamp, int(obj.mtime % 1 * 1000), escape(obj.etag), len(obj.data)))

    @staticmethod
    def _list_body(req, rows, last, truncated, encode):
        q = req.query
        head = "<Name>%s</Name><Prefix>%s</Prefix><MaxKeys>%s</MaxKeys><KeyCount>%d</KeyCount>" % (
            escape(req.bucket), encode(q.get("prefix", "")), q.get("max-keys", "1000"), len(rows))
        if q.get("encoding-type") == "url":
            head += "<EncodingType>url</EncodingType>"
        if q.get("delimiter"):
            head += "<Delimiter>%s</Delimiter>" % encode(q["delimiter"])
        head += "<IsTruncated>%s</IsTruncated>" % ("true" if truncated else "false")
        if truncated:
            head += "<NextContinuationToken>t=%s</NextContinuationToken>" % escape(
                urllib.parse.quote(last.encode("utf-8", "surrogateescape")))
        return ('<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com'
                '/doc/2006-03-01/">%s%s</ListBucketResult>' % (head, "".join(rows)))

    # --- objects -------------------------------------------------------------------------------------
    @staticmethod
    def _missing():
        return error_reply(404, "NoSuchKey", "The specified key does not exist.")

    @staticmethod
    def _condition(req, obj, write):
        """None, or the refusal by If-Match / If-None-Match."""
        want, unwanted = req.headers.get("if-match"), req.headers.get("if-none-match")
        if want is not None:
            if obj is None:
                return Ops._missing()
            if want != "*" and want.strip('"') != obj.etag.strip('"'):
                return error_reply(412, "PreconditionFailed", "At least one condition is false")
        if unwanted is not None and obj is not None:
            if unwanted == "*" or unwanted.strip('"') == obj.etag.strip('"'):
                return error_reply(412 if write else 304, "PreconditionFailed", "It exists")
        return None

    def _head(self, req, objects):
        obj = objects.get(req.key)
        if obj is None:
            return Reply(404)
        return self._condition(req, obj, False) or Reply(200, obj.data, obj.headers())

    def _get(self, req, objects):
        obj = objects.get(req.key)
        if obj is None:
            return self._missing()
        refused = self._condition(req, obj, False)
        if refused:
            return refused
        headers = obj.headers()
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", req.headers.get("range", ""))
        if not m:
            return Reply(200, obj.data, headers)
        start, size = int(m[1]), len(obj.data)
        end = min(int(m[2]) if m[2] else size - 1, size - 1)
        if start >= size or end < start:
            return error_reply(416, "InvalidRange", "The range is not satisfiable")
        headers["Content-Range"] = "bytes %d-%d/%d" % (start, end, size)
        return Reply(206, obj.data[start:end + 1], headers)

    @staticmethod
    def _metadata(req):
        return {k: v for k, v in req.headers.items()
                if k.startswith("x-amz-meta-") or k == "content-type"}

    def _put(self, req, objects):
        refused = self._condition(req, objects.get(req.key), True)
        if refused:
            return refused
        obj = objects[req.key] = Object(req.body, self._metadata(req))
        return Reply(200, b"", {"ETag": obj.etag})

    def _delete(self, req, objects):
        refused = "if-match" in req.headers and self._condition(req, objects.get(req.key), True)
        if refused:
            return refused
        objects.pop(req.key, None)
        return Reply(204)

    def _source(self, req):
        """The object a copy takes from, or a refusal."""
        source = urllib.parse.unquote(req.headers["x-amz-copy-source"], errors="surrogateescape")
        bucket, _, key = source.lstrip("/").partition("/")
        obj = self.buckets.get(bucket, {}).get(key)
        if obj is None:
            return None, self._missing()
        want = req.headers.get("x-amz-copy-source-if-match")
        if want and want.strip('"') != obj.etag.strip('"'):
            return None, error_reply(412, "PreconditionFailed", "The source changed")
        return obj, None

    def _copy(self, req, objects):
        obj, refused = self._source(req)
        refused = refused or self._condition(req, objects.get(req.key), True)
        if refused:
            return refused
        meta = obj.meta
        if req.headers.get("x-amz-metadata-directive", "").upper() == "REPLACE":
            meta = self._metadata(req)
        new = objects[req.key] = Object(obj.data, meta)
        return Reply(200, "<CopyObjectResult><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>"
                     "%s</ETag></CopyObjectResult>" % escape(new.etag))

    def _delete_many(self, req, objects):
        if "content-md5" not in req.headers and not any(h.startswith("x-amz-checksum-")
                                                        for h in req.headers):
            return error_reply(400, "InvalidRequest", "Missing required header: Content-MD5")
        rows = []
        for node in ET.fromstring(req.body).iter():
            if node.tag.endswith("Key"):
                objects.pop(node.text, None)
                rows.append("<Deleted><Key>%s</Key></Deleted>" % escape(node.text))
        return Reply(200, "<DeleteResult>%s</DeleteResult>" % "".join(rows))

    # --- multipart uploads ---------------------------------------------------------------------------
    def _create(self, req, objects):
        upload = uuid.uuid4().hex
        self.uploads[upload] = (req.bucket, req.key, self._metadata(req), {})
        return Reply(200, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s"
                     "</UploadId></InitiateMultipartUploadResult>" % (escape(req.bucket),
                                                                     quote(req.key), upload))

    def _upload(self, req):
        up = self.uploads.get(req.query.get("uploadId"))
        return up, None if up else error_reply(404, "NoSuchUpload", "The upload does not exist")

    def _part(self, req, objects):
        up, refused = self._upload(req)
        if refused:
            return refused
        up[3][int(req.query["partNumber"])] = req.body
        return Reply(200, b"", {"ETag": '"%s"' % hashlib.md5(req.body).hexdigest()})

    def _part_copy(self, req, objects):
        up, refused = self._upload(req)
        obj, refused2 = self._source(req)
        if refused or refused2:
            return refused or refused2
        data = obj.data
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", req.headers.get("x-amz-copy-source-range", ""))
        if m:
            data = data[int(m[1]):int(m[2]) + 1]
        up[3][int(req.query["partNumber"])] = data
        return Reply(200, "<CopyPartResult><ETag>\"%s\"</ETag></CopyPartResult>" %
                     hashlib.md5(data).hexdigest())

    def _complete(self, req, objects):
        up, refused = self._upload(req)
        refused = refused or self._condition(req, objects.get(req.key), True)
        if refused:
            return refused
        parts, data, digests = up[3], b"", b""
        rows = [(int(re.search(r"<PartNumber>(\d+)<", p)[1]),
                 re.search(r"<ETag>(.*?)</ETag>", p)[1].replace("&quot;", '"').strip('"'))
                for p in re.findall(r"<Part>.*?</Part>", req.body.decode(), re.S)]
        if [n for n, _ in rows] != sorted(set(n for n, _ in rows)) or not rows:
            return error_reply(400, "InvalidPartOrder", "The list of parts was not in order")
        for i, (number, etag) in enumerate(rows):
            part = parts.get(number)
            if part is None or hashlib.md5(part).hexdigest() != etag:
                return error_reply(400, "InvalidPart", "One of the parts could not be found")
            if len(part) < 5 << 20 and i + 1 < len(rows):
                return error_reply(400, "EntityTooSmall", "A part is too small")
            data += part
            digests += hashlib.md5(part).digest()
        obj = objects[req.key] = Object(data, up[2], '"%s-%d"' % (hashlib.md5(digests).hexdigest(),
                                                                  len(rows)))
        del self.uploads[req.query["uploadId"]]
        return Reply(200, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>"
                     % escape(obj.etag))

    def _abort(self, req, objects):
        refused = self._upload(req)[1]
        if refused:
            return refused
        del self.uploads[req.query["uploadId"]]
        return Reply(204)

    def _list_parts(self, req, objects):
        up, refused = self._upload(req)
        if refused:
            return refused
        rows = "".join("<Part><PartNumber>%d</PartNumber><ETag>\"%s\"</ETag><Size>%d</Size></Part>" %
                       (n, hashlib.md5(d).hexdigest(), len(d)) for n, d in sorted(up[3].items()))
        return Reply(200, "<ListPartsResult><IsTruncated>false</IsTruncated>%s</ListPartsResult>" % rows)

    def _list_uploads(self, req, objects):
        rows = "".join("<Upload><Key>%s</Key><UploadId>%s</UploadId></Upload>" % (escape(u[1]), i)
                       for i, u in self.uploads.items() if u[0] == req.bucket)
        return Reply(200, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>%s"
                     "</ListMultipartUploadsResult>" % rows)
