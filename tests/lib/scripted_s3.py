# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A fake S3 that answers what real servers will not answer on demand. It keeps objects in memory and is an
ordinary, polite server until a rule of its script matches a request:

    fake = ScriptedS3()
    fake.put("b", "key", b"data")
    fake.on("GET", key="key", nth=1).status(503, "SlowDown")        the first such GET only
    fake.on("PUT", op="put").after_effect().status(500, "InternalError")
    fake.on("GET", op="get").reset_at(1000)
    assert fake.count("GET", op="get") == 2                         what was asked, in order: fake.log

op is one of: list buckets head get put delete copy delete-many create part part-copy complete abort
list-parts list-uploads. nth: which of the matching requests (1, 2, …), times: how many (default: all).
Signatures are not checked, but their presence and the access key are.
"""
import hashlib
import re
import socket
import struct
import threading
import time
import urllib.parse
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

from scripted_s3_ops import Ops, Reply, error_reply


class Rule:
    """One line of the script: which requests, and what happens to them."""

    def __init__(self, method, key, op, nth, times):
        self.method, self.key, self.op, self.nth, self.times = method, key, op, nth, times
        self.seen = 0
        self.used = 0
        self.effect_first = False
        self.actions = []

    def matches(self, req):
        if self.method not in (None, "*", req.method) or (self.op and self.op != req.op):
            return False
        if self.key is not None:
            if isinstance(self.key, re.Pattern):
                if not self.key.search(req.key):
                    return False
            elif self.key != req.key:
                return False
        self.seen += 1
        if self.nth is not None and self.seen != self.nth:
            return False
        if self.times is not None and self.used >= self.times:
            return False
        self.used += 1
        return True

    def _do(self, name, *args):
        self.actions.append((name, args))
        return self

    def after_effect(self):
        """The request does what it asks for; only the answer is replaced."""
        self.effect_first = True
        return self

    def status(self, status, code="", headers=None, extra=""):
        return self._do("status", status, code, headers or {}, extra)

    def delay(self, seconds):
        return self._do("delay", seconds)

    def ok_with_error(self, code="InternalError"):
        """200 whose body is an error document, after some blanks, as CompleteMultipartUpload may do."""
        return self._do("ok_with_error", code)

    def body(self, body, status=200, headers=None):
        return self._do("body", body, status, headers or {})

    def short(self, missing):
        """Content-Length promises `missing` bytes more than come; then an orderly close."""
        return self._do("short", missing)

    def reset_at(self, n):
        """The connection is reset after n bytes of the body."""
        return self._do("reset_at", n)

    def stall_at(self, n, seconds=3600):
        """After n bytes of the body nothing more comes, and the connection stays."""
        return self._do("stall_at", n, seconds)

    def silence(self, seconds=3600):
        return self._do("silence", seconds)

    def header(self, name, value):
        """The ordinary answer with one header replaced."""
        return self._do("header", name, value)

    def trickle(self, bytes_per_second):
        return self._do("trickle", bytes_per_second)

    def close_without_reply(self):
        return self._do("close")

    def skewed(self, seconds=1200):
        """403 RequestTimeTooSkewed for requests whose x-amz-date is not about `seconds` off our clock:
        the server's clock is `seconds` ahead."""
        return self._do("skewed", seconds)

    def region(self, name, status=301, code="PermanentRedirect"):
        """Re-route unless the request was signed for region `name`."""
        return self._do("region", name, status, code)

    def call(self, function):
        """function(request) → Reply, or None for the ordinary answer."""
        return self._do("call", function)


class Request:
    """What a client asked, parsed."""

    def __init__(self, handler):
        self.method = handler.command
        self.raw_path = handler.path
        path, _, query = handler.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.headers = {k.lower(): v for k, v in handler.headers.items()}
        host = self.headers.get("host", "").partition(":")[0]
        if host.endswith(".localhost"):  # virtual-host style
            path = "/" + host[:-len(".localhost")] + path
        parts = urllib.parse.unquote(path, errors="surrogateescape").split("/", 2)
        self.bucket = parts[1] if len(parts) > 1 else ""
        self.key = parts[2] if len(parts) > 2 else ""
        self.body = b""
        self.op = self._op()
        self.time = time.monotonic()
        m = re.search(r"Credential=([^/]*)/([^/]*)/([^/]*)/", self.headers.get("authorization", ""))
        self.access_key, self.signed_date, self.signed_region = m.groups() if m else ("", "", "")

    def _op(self):
        q, copy = self.query, "x-amz-copy-source" in self.headers
        if not self.bucket:
            return "buckets"
        if self.method == "GET" and not self.key:
            if "location" in q:
                return "location"
            return "list-uploads" if "uploads" in q else "list"
        if self.method == "HEAD" and not self.key:
            return "head-bucket"
        if self.method == "GET":
            return "list-parts" if "uploadId" in q else "get"
        if self.method == "PUT":
            if not self.key:
                return "create-bucket"
            if "partNumber" in q:
                return "part-copy" if copy else "part"
            return "copy" if copy else "put"
        if self.method == "POST":
            if "delete" in q:
                return "delete-many"
            return "create" if "uploads" in q else "complete"
        if self.method == "DELETE":
            return "abort" if "uploadId" in q else "delete"
        return self.method.lower()

    def __repr__(self):
        return "%s %s %s" % (self.method, self.op, self.raw_path)


class ScriptedS3:
    """The server. Everything a test may ask stands here; what S3 does is in scripted_s3_ops.py."""

    def __init__(self, access_key=None):
        self.lock = threading.RLock()
        self.ops = Ops()
        self.rules, self.log = [], []
        self.access_key = access_key
        self.closing = threading.Event()
        outer = self

        class Handler(_Handler):
            server_s3 = outer

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # clients that hang up are part of the tests

        self.http = Server(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        self.endpoint = "http://127.0.0.1:%d" % self.port
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        self.make_bucket("b")

    def close(self):
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()

    # --- for tests -----------------------------------------------------------------------------------
    def make_bucket(self, name):
        self.ops.buckets.setdefault(name, {})

    def put(self, bucket, key, data, **kw):
        with self.lock:
            return self.ops.store(bucket, key, data, **kw)

    def get(self, bucket, key):
        with self.lock:
            return self.ops.buckets[bucket][key].data

    def keys(self, bucket="b"):
        with self.lock:
            return sorted(self.ops.buckets[bucket])

    def on(self, method=None, key=None, op=None, nth=None, times=None):
        """Add a rule; the first that matches wins. key: the text, or a compiled regular expression."""
        rule = Rule(method, key, op, nth, times)
        with self.lock:
            self.rules.append(rule)
        return rule

    def calm(self):
        """Forget the script."""
        with self.lock:
            self.rules.clear()

    def requests(self, method=None, op=None, key=None):
        with self.lock:
            return [r for r in self.log if method in (None, r.method) and op in (None, r.op)
                    and key in (None, r.key)]

    def count(self, method=None, op=None, key=None):
        return len(self.requests(method, op, key))

    def forget_log(self):
        with self.lock:
            self.log.clear()

    mount_args = property(lambda self: ["--endpoint", self.endpoint])
    mount_env = {"HAFIZ_ACCESS_KEY": "fake", "HAFIZ_SECRET_KEY": "fakesecret"}
    source = "s3://b"
    kind = "scripted"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_s3 = None
    timeout = 600

    def log_message(self, *args):
        pass

    def do_any(self):
        s3 = self.server_s3
        req = Request(self)
        with s3.lock:
            s3.log.append(req)
            rule = next((r for r in s3.rules if r.matches(req)), None)
        if "100-continue" in req.headers.get("expect", ""):
            self.send_response_only(100)
            self.end_headers()
        req.body = self._body(req)
        reply = self._scripted(rule, req) if rule else self._ordinary(req)
        if reply is not None:
            self._send(req, reply)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_any

    def _body(self, req):
        if "chunked" in req.headers.get("transfer-encoding", ""):
            data = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return data
        return self.rfile.read(int(req.headers.get("content-length", 0)))

    def _ordinary(self, req):
        s3 = self.server_s3
        if s3.access_key and req.access_key != s3.access_key:
            return error_reply(403, "InvalidAccessKeyId", "The access key is not known")
        sent = req.headers.get("x-amz-content-sha256", "")
        if re.fullmatch("[0-9a-f]{64}", sent) and sent != hashlib.sha256(req.body).hexdigest():
            return error_reply(400, "XAmzContentSHA256Mismatch", "The body is not what was signed")
        with s3.lock:
            return s3.ops.answer(req)

    def _scripted(self, rule, req):
        reply = None
        if rule.effect_first:
            self._ordinary(req)
        for name, args in rule.actions:
            reply = getattr(self, "_act_" + name)(req, reply, *args)
            if reply is False:
                return None
        return reply if reply is not None else self._ordinary(req)

    # Each action gets the reply so far and returns the reply so far, or False: nothing more is sent.
    def _act_status(self, req, reply, status, code, headers, extra):
        r = error_reply(status, code, "scripted", extra)
        r.headers.update(headers)
        return r

    def _act_delay(self, req, reply, seconds):
        self.server_s3.closing.wait(seconds)
        return reply

    def _act_ok_with_error(self, req, reply, code):
        r = error_reply(200, code, "scripted")
        r.body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + b" " * 300 + \
            r.body[r.body.index(b"<Error>"):]
        return r

    def _act_body(self, req, reply, body, status, headers):
        return Reply(status, body, dict(headers))

    def _act_short(self, req, reply, missing):
        r = reply or self._ordinary(req)
        r.cut = max(0, len(r.body) - missing)
        return r

    def _act_reset_at(self, req, reply, n):
        r = reply or self._ordinary(req)
        r.cut, r.reset = n, True
        return r

    def _act_stall_at(self, req, reply, n, seconds):
        r = reply or self._ordinary(req)
        r.cut, r.stall = n, seconds
        return r

    def _act_silence(self, req, reply, seconds):
        self.server_s3.closing.wait(seconds)
        return self._act_close(req, reply)

    def _act_close(self, req, reply):
        self.close_connection = True
        return False

    def _act_header(self, req, reply, name, value):
        r = reply or self._ordinary(req)
        r.headers[name] = value
        return r

    def _act_trickle(self, req, reply, bytes_per_second):
        r = reply or self._ordinary(req)
        r.trickle = bytes_per_second
        return r

    def _act_skewed(self, req, reply, seconds):
        server_now = time.time() + seconds
        signed = time.mktime(time.strptime(req.headers.get("x-amz-date", "20000101T000000Z"),
                                           "%Y%m%dT%H%M%SZ")) - time.timezone
        r = reply or (self._ordinary(req) if abs(signed - server_now) < 300 else
                      error_reply(403, "RequestTimeTooSkewed", "The clocks differ too much"))
        r.headers["Date"] = formatdate(server_now, usegmt=True)
        return r

    def _act_region(self, req, reply, name, status, code):
        if req.signed_region == name:
            return reply
        r = error_reply(status, code, "The bucket is elsewhere", "<Region>%s</Region>" % escape(name))
        r.headers["x-amz-bucket-region"] = name
        return r

    def _act_call(self, req, reply, function):
        return function(req) or reply

    def _send(self, req, reply):
        body = reply.body
        self.send_response_only(reply.status)
        headers = {"Date": formatdate(usegmt=True), "Server": "scripted", "x-amz-request-id": "R",
                   "Content-Type": "application/xml", "Content-Length": str(len(body))}
        headers.update(reply.headers)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if req.method == "HEAD" or reply.status in (204, 304):
            return
        if reply.cut is not None:
            body = body[:reply.cut]
        if reply.trickle:
            for i in range(0, len(body), max(1, reply.trickle // 10)):
                self.wfile.write(body[i:i + max(1, reply.trickle // 10)])
                if self.server_s3.closing.wait(0.1):
                    return
        else:
            self.wfile.write(body)
        if reply.stall:
            self.wfile.flush()
            self.server_s3.closing.wait(reply.stall)
        if reply.reset:
            self.wfile.flush()
            time.sleep(0.05)  # what was sent must arrive before the reset overtakes it
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if reply.reset or reply.cut is not None:
            self.close_connection = True
