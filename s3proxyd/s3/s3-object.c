/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One object as a whole: HEAD, PUT, CopyObject, DELETE. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/s3/s3-request.h"

#define COPY_STALL_MS 300000u /* the server may copy 5 GiB before it says a word */

static void head_build(struct s3_request *rq)
{
    rq->call.method = HTTP_HEAD;
    rq->call.key = rq->req->key;
    s3_call_header(&rq->call, "If-Match", rq->req->if_match);
}

static int head_reply(struct s3_request *rq)
{
    const char *length = http_header(&rq->http, "Content-Length");

    if (s3_reply_meta(rq) < 0)
        return -ENOMEM;
    if (!rq->req->meta.etag || !length || str_to_u64(length, 10, &rq->req->meta.size) < 0 ||
        rq->req->meta.size > INT64_MAX) {
        rq->broken = S3_BROKEN_GARBAGE;
        return S3_STEP_BROKEN;
    }
    return S3_STEP_DONE;
}

static void put_build(struct s3_request *rq)
{
    rq->call.method = HTTP_PUT;
    rq->call.key = rq->req->key;
    s3_call_conditions(&rq->call, rq->req);
    s3_call_describe(&rq->call, rq->req);
    s3_call_body(&rq->call, rq->req);
}

static void copy_build(struct s3_request *rq)
{
    rq->call.method = HTTP_PUT;
    rq->call.key = rq->req->key;
    rq->call.xml = true;
    rq->call.want = XML_COPY;
    rq->call.stall_timeout_ms = COPY_STALL_MS;
    s3_call_source(&rq->call, rq->store, rq->req);
    s3_call_conditions(&rq->call, rq->req);
    if (rq->req->user) {
        s3_call_header(&rq->call, "x-amz-metadata-directive", "REPLACE");
        s3_call_describe(&rq->call, rq->req);
    }
}

/* A copy of a multipart object has another ETag than its source: only the reply's counts. */
static int copy_reply(struct s3_request *rq)
{
    struct store_meta *m = &rq->req->meta;

    if (s3_reply_meta(rq) < 0)
        return -ENOMEM;
    free(m->etag);
    m->etag = take(rq->reply.etag);
    m->size = rq->req->length; /* what the caller knows of the source */
    if (rq->reply.mtime_ns)
        m->mtime_ns = rq->reply.mtime_ns;
    return S3_STEP_DONE;
}

static void delete_build(struct s3_request *rq)
{
    rq->call.method = HTTP_DELETE;
    rq->call.key = rq->req->key;
    s3_call_header(&rq->call, "If-Match", rq->req->if_match);
}

static int delete_reply(struct s3_request *rq)
{
    return s3_reply_meta(rq);
}

static int delete_refused(struct s3_request *rq, const struct s3_verdict *v)
{
    return v->error == -ENOENT && !rq->req->if_match ? S3_STEP_DONE : v->error;
}

const struct s3_op s3_op_head = {"head", S3_CTX_HEAD, head_build, NULL, head_reply, NULL, NULL};
const struct s3_op s3_op_put = {"put", S3_CTX_WRITE, put_build, NULL, s3_reply_stored, NULL, NULL};
const struct s3_op s3_op_copy = {
    "copy", S3_CTX_WRITE | S3_CTX_COPY, copy_build, NULL, copy_reply, NULL, NULL};
const struct s3_op s3_op_delete = {"delete",     S3_CTX_WRITE,   delete_build, NULL,
                                   delete_reply, delete_refused, NULL};
