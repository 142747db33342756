/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Multipart uploads. Conditions belong to Complete; parts and Abort can be repeated at will,
 * Complete cannot (s3-probe.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/s3/s3-request.h"

/* The store may copy or join gigabytes before it answers; AWS sends blanks meanwhile, others
 * nothing. */
#define SERVER_SIDE_STALL_MS 300000u

static void create_build(struct s3_request *rq)
{
    rq->call.method = HTTP_POST;
    rq->call.key = rq->req->key;
    rq->call.fresh = true; /* sent twice, it leaves an upload behind that nobody knows */
    rq->call.xml = true;
    rq->call.want = XML_INITIATE;
    s3_call_query(&rq->call, "uploads", NULL);
    s3_call_describe(&rq->call, rq->req);
}

static int create_reply(struct s3_request *rq)
{
    free(rq->req->ret_upload_id);
    rq->req->ret_upload_id = take(rq->reply.upload_id);
    return s3_reply_meta(rq);
}

static void part_address(struct s3_request *rq)
{
    char number[12];

    snprintf(number, sizeof(number), "%u", rq->req->part_number);
    rq->call.method = HTTP_PUT;
    rq->call.key = rq->req->key;
    s3_call_query(&rq->call, "partNumber", number);
    s3_call_query(&rq->call, "uploadId", rq->req->upload_id);
}

static void part_build(struct s3_request *rq)
{
    part_address(rq);
    s3_call_body(&rq->call, rq->req);
}

static void part_copy_build(struct s3_request *rq)
{
    const struct store_req *req = rq->req;

    part_address(rq);
    rq->call.xml = true;
    rq->call.want = XML_COPY;
    rq->call.stall_timeout_ms = SERVER_SIDE_STALL_MS;
    s3_call_source(&rq->call, rq->store, req);
    s3_call_headerf(&rq->call, "x-amz-copy-source-range", "bytes=%llu-%llu",
                    (unsigned long long)req->offset,
                    (unsigned long long)(req->offset + req->length - 1));
}

/* Of a part copy or a whole upload: the ETag is in the document. */
static int document_reply(struct s3_request *rq)
{
    struct store_meta *m = &rq->req->meta;

    if (s3_reply_meta(rq) < 0)
        return -ENOMEM;
    free(m->etag);
    m->etag = take(rq->reply.etag);
    m->size = rq->req->length;
    if (rq->reply.mtime_ns)
        m->mtime_ns = rq->reply.mtime_ns;
    return S3_STEP_DONE;
}

static void complete_build(struct s3_request *rq)
{
    const struct store_req *req = rq->req;

    rq->call.method = HTTP_POST;
    rq->call.key = req->key;
    rq->call.xml = true;
    rq->call.want = XML_COMPLETE;
    rq->call.stall_timeout_ms = SERVER_SIDE_STALL_MS;
    s3_call_query(&rq->call, "uploadId", req->upload_id);
    s3_call_header(&rq->call, "Content-Type", "application/xml");
    s3_call_conditions(&rq->call, req);
    rq->call.error =
        rq->call.error ?: xml_write_complete(&rq->call.text, req->part_etags, req->nparts);
}

static void abort_build(struct s3_request *rq)
{
    rq->call.method = HTTP_DELETE;
    rq->call.key = rq->req->key;
    s3_call_query(&rq->call, "uploadId", rq->req->upload_id);
}

static int abort_reply(struct s3_request *rq)
{
    (void)rq;
    return S3_STEP_DONE;
}

/* What is gone needs no abort. */
static int abort_refused(struct s3_request *rq, const struct s3_verdict *v)
{
    bool gone = v->error == -ENOENT || !strcmp(rq->reply.error.code, "NoSuchUpload");

    return s3_request_answered(rq) && gone ? S3_STEP_DONE : v->error;
}

const struct s3_op s3_op_mpu_create = {"create-upload", 0,    create_build, NULL,
                                       create_reply,    NULL, NULL};
const struct s3_op s3_op_mpu_part = {"part",          S3_CTX_WRITE, part_build, NULL,
                                     s3_reply_stored, NULL,         NULL};
const struct s3_op s3_op_mpu_part_copy = {
    "part-copy", S3_CTX_WRITE | S3_CTX_COPY, part_copy_build, NULL, document_reply, NULL, NULL};
const struct s3_op s3_op_mpu_complete = {"complete",
                                         S3_CTX_WRITE | S3_CTX_COMPLETE | S3_CTX_MUTATION,
                                         complete_build,
                                         NULL,
                                         document_reply,
                                         NULL,
                                         NULL};
const struct s3_op s3_op_mpu_abort = {"abort",       0,   abort_build, NULL, abort_reply,
                                      abort_refused, NULL};
