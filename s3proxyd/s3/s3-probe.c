/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* When the answer to a write was lost, nobody knows whether it took effect; sending a conditional
 * write again would then be refused because of our own success. So the target is looked at first:
 *
 *   our bytes are there          → the write succeeded
 *   they are not, and the server → its answer stands (a 412 after a lost reply that was not ours)
 *     gave a definite answer
 *   they are not, no answer      → send again
 *
 * "Our bytes" needs proof: the MD5 of what we sent against an ETag that is one. Where a store's
 * ETags are something else, size alone proves nothing and the write counts as not having happened.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/log.h"
#include "s3proxyd/s3/s3-request.h"

#define MD5_MAX_BYTES (64ull * 1024 * 1024) /* reading more again costs more than it proves */

static bool put_is_ours(const struct s3_request *rq)
{
    uint8_t md5[DIGEST_MD5_BYTES];
    unsigned parts;

    return rq->md5_known && rq->req->meta.size == rq->req->length &&
           s3_reply_etag_md5(rq->req->meta.etag, md5, &parts) && !parts &&
           !memcmp(md5, rq->payload_md5, sizeof(md5));
}

/* The upload is gone, and a whole of as many parts and bytes is there: without MD5s good enough,
 * since only Complete and Abort end an upload and nobody else knows it. */
static bool complete_is_ours(const struct s3_request *rq)
{
    const struct store_req *req = rq->req;
    uint8_t md5[DIGEST_MD5_BYTES], part[DIGEST_MD5_BYTES], sum[DIGEST_MD5_BYTES];
    struct digest *d = NULL;
    unsigned parts, n;
    bool same = false, known = true,
         upload_gone = !rq->pending.maybe_applied && rq->pending.error == -EIO;

    if (req->meta.size != req->length || !s3_reply_etag_md5(req->meta.etag, md5, &parts) ||
        parts != req->nparts)
        return false;
    if (digest_new(DIGEST_MD5, &d) < 0)
        return upload_gone;
    for (size_t i = 0; known && i < req->nparts; i++) {
        known = s3_reply_etag_md5(req->part_etags[i], part, &n) && !n;
        known = known && digest_update(d, part, sizeof(part)) >= 0;
    }
    if (known && digest_final(d, sum) >= 0)
        same = !memcmp(sum, md5, sizeof(md5));
    digest_free(d);
    return known ? same : upload_gone;
}

static bool is_ours(const struct s3_request *rq)
{
    const struct store_req *req = rq->req;

    switch (req->op) {
    case STORE_PUT:
        return put_is_ours(rq);
    case STORE_MPU_COMPLETE:
        return complete_is_ours(rq);
    case STORE_COPY: /* a copy keeps the ETag of a source that was written in one piece */
        return req->src_if_match && s3_reply_etag_eq(req->src_if_match, req->meta.etag) &&
               (!req->if_match || !s3_reply_etag_eq(req->if_match, req->src_if_match));
    default:
        return false;
    }
}

/* Not proven ours: the server's earlier answer, or once more. */
static int probe_undecided(struct s3_request *rq)
{
    store_meta_fini(&rq->req->meta);
    rq->op = rq->main_op;
    if (rq->pending.maybe_applied)
        return S3_STEP_AGAIN;
    s3_reply_text(rq, "%s", rq->pending_text);
    return rq->pending.error;
}

static void probe_build(struct s3_request *rq)
{
    rq->call.method = HTTP_HEAD;
    rq->call.key = rq->req->key;
    rq->call.needs_md5 = rq->req->op == STORE_PUT && rq->req->length <= MD5_MAX_BYTES;
}

static int probe_reply(struct s3_request *rq)
{
    const char *length = http_header(&rq->http, "Content-Length");

    if (s3_reply_meta(rq) < 0)
        return -ENOMEM;
    if (!rq->req->meta.etag || !length || str_to_u64(length, 10, &rq->req->meta.size) < 0) {
        rq->broken = S3_BROKEN_GARBAGE;
        return S3_STEP_BROKEN;
    }
    if (!is_ours(rq))
        return probe_undecided(rq);
    log_debug("s3", "%s %s: had taken effect though its answer was lost", rq->main_op->name,
              log_esc(rq->req->key));
    rq->op = rq->main_op;
    return S3_STEP_DONE;
}

static int probe_refused(struct s3_request *rq, const struct s3_verdict *v)
{
    (void)v;
    if (!s3_request_answered(rq) || rq->http.status != 404) /* the outcome stays unknown */
        return rq->pending.error;
    if (rq->req->op == STORE_DELETE) { /* with a condition, and it is gone */
        rq->op = rq->main_op;
        return S3_STEP_DONE;
    }
    return probe_undecided(rq);
}

static const struct s3_op probe = {"probe",     S3_CTX_HEAD,   probe_build, NULL,
                                   probe_reply, probe_refused, NULL};

void s3_probe_start(struct s3_request *rq, const struct s3_verdict *v)
{
    rq->pending = *v;
    snprintf(rq->pending_text, sizeof(rq->pending_text), "%s", rq->req->error_text);
    rq->op = &probe;
}
