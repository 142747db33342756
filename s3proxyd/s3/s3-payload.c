/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Digests a request's body on its transfer thread, a slice per turn of the loop, so that the
 * thread's other transfers go on meanwhile. Needed when the payload is part of the signature, and
 * to recognise our own bytes after an answer was lost. */
#include <errno.h>
#include <stdlib.h>

#include "proto/base/must.h"
#include "s3proxyd/s3/s3-request.h"

#define SLICE_BYTES (256u * 1024)

void s3_payload_fini(struct s3_request *rq)
{
    if (rq->digest)
        loop_task_cancel(&rq->digest_task);
    digest_free(rq->digest);
    free(rq->digest_buf);
    rq->digest = NULL;
    rq->digest_buf = NULL;
}

static int digest_slice(struct s3_request *rq, bool *ret_end)
{
    const struct store_req *req = rq->req;
    size_t len = (size_t)MIN((uint64_t)SLICE_BYTES, req->length - rq->digest_pos), got = len;
    const void *data = (const char *)req->body.memory + (req->body.fd < 0 ? rq->digest_pos : 0);
    int r = 0;

    if (req->body.fd >= 0 && len) {
        data = rq->digest_buf;
        r = fd_pread_full(req->body.fd, rq->digest_buf, len, req->body.offset + rq->digest_pos,
                          &got);
        if (r >= 0 && got < len)
            r = -EIO; /* somebody truncated it */
    }
    if (r >= 0 && len)
        r = digest_update(rq->digest, data, len);
    if (r >= 0)
        rq->digest_pos += len;
    *ret_end = rq->digest_pos == req->length;
    return r;
}

static int digest_end(struct s3_request *rq)
{
    uint8_t sum[DIGEST_SHA256_BYTES];
    int r = digest_final(rq->digest, rq->digest_kind == DIGEST_MD5 ? rq->payload_md5 : sum);

    if (r < 0)
        return r;
    if (rq->digest_kind == DIGEST_MD5)
        rq->has_md5 = rq->md5_known = true;
    else
        digest_hex(sum, sizeof(sum), rq->payload_hex);
    return 0;
}

static void payload_step(void *arg)
{
    struct s3_request *rq = arg;
    bool end = true;
    int r = 0;

    if (rq->late)
        r = -ETIMEDOUT;
    else if (rq->req->cancelled)
        r = -ECANCELED;
    else
        r = digest_slice(rq, &end);
    if (r >= 0 && !end) {
        loop_task_add(net_thread_loop(rq->thread), &rq->digest_task);
        return;
    }
    if (r >= 0)
        r = digest_end(rq);
    s3_payload_fini(rq);
    rq->digest_ready(rq, r);
}

/* Without MD5 (a FIPS libcrypto) the probe has to do without; without SHA-256 nothing can be
 * signed. */
void s3_payload_start(struct s3_request *rq, enum digest_kind kind,
                      void (*ready)(struct s3_request *rq, int error))
{
    int r = digest_new(kind, &rq->digest);

    rq->digest_kind = kind;
    rq->digest_pos = 0;
    if (r >= 0 && rq->req->body.fd >= 0) {
        rq->digest_buf = malloc(SLICE_BYTES);
        if (!rq->digest_buf)
            r = -ENOMEM;
    }
    if (r < 0) {
        s3_payload_fini(rq);
        if (kind == DIGEST_MD5)
            rq->has_md5 = true;
        ready(rq, kind == DIGEST_MD5 ? 0 : r);
        return;
    }
    rq->digest_ready = ready;
    loop_task_init(&rq->digest_task, payload_step, rq);
    loop_task_add(net_thread_loop(rq->thread), &rq->digest_task);
}
