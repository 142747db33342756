/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A range of an object into a file. Every exchange asks for what is still missing, pinned to one
 * version by If-Match, and is believed only after its status, range, total and ETag fit: bytes
 * never land in a wrong place, and a replaced object is ESTALE, not a mixture. libcurl's 16 KiB
 * pieces are gathered into larger writes; the block checksums are computed on the way. */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/limits.h"
#include "s3proxyd/s3/s3-request.h"

/* Written at once. Larger writes get larger folios, and on a virtual machine whose host takes back free
 * memory those are the ones whose first touch is slow: 1 GiB by 256 KiB cost 1.0-2.6 CPU s where 32
 * KiB cost 0.3, and no less than 256 KiB where memory is warm. */
#define GATHER_BYTES (32u * 1024)
#define PROGRESS_BYTES (512u * 1024) /* after the first piece; the kernel asks for as much at once */
#define BULK_ABOVE_BYTES (64u * 1024)

static void progress_home(struct mail *mail)
{
    struct s3_request *rq = container_of(mail, struct s3_request, progress_mail);

    rq->progress_out = false; /* before the count is read: a later one is not lost */
    rq->req->sink.progress(rq->req, rq->progress);
}

static void tell_progress(struct s3_request *rq)
{
    if (!rq->req->sink.progress || (rq->progress && rq->sink.pos - rq->progress < PROGRESS_BYTES))
        return;
    rq->progress = rq->sink.pos;
    if (atomic_exchange(&rq->progress_out, true))
        return;
    rq->progress_mail.run = progress_home;
    mailbox_post(net_home(rq->store->net), &rq->progress_mail);
}

/* Checksums of the blocks that lie in the range as a whole; `at` is the data's offset in the
 * object. */
static void checksum(struct s3_request *rq, uint64_t at, const char *data, size_t len)
{
    const struct store_req *req = rq->req;
    uint64_t first = req->offset / BLOCK_BYTES;

    while (len) {
        uint64_t start = at - at % BLOCK_BYTES;
        uint64_t end = MIN(start + BLOCK_BYTES, req->sink.object_size);
        size_t n = (size_t)MIN((uint64_t)len, end - at);

        if (at == start)
            rq->sink.crc = 0;
        rq->sink.crc = digest_crc32c(rq->sink.crc, data, n);
        if (at + n == end && start >= req->offset)
            req->sink.block_crcs[start / BLOCK_BYTES - first] = rq->sink.crc;
        at += n;
        data += n;
        len -= n;
    }
}

static int sink_flush(struct s3_request *rq)
{
    struct s3_sink *sink = &rq->sink;
    struct store_req *req = rq->req;
    uint64_t done = sink->pos - sink->fill;
    int r;

    if (!sink->fill)
        return 0;
    r = fd_pwrite_full(req->sink.fd, sink->buf, sink->fill, req->sink.fd_offset + done);
    if (r < 0)
        return r;
    if (req->sink.block_crcs)
        checksum(rq, req->offset + done, sink->buf, sink->fill);
    sink->fill = 0;
    req->got = sink->pos;
    if (sink->pos < sink->want) /* the last one goes home with the request */
        tell_progress(rq);
    return 0;
}

static int stale(struct s3_request *rq, const char *text)
{
    s3_reply_text(rq, "%s", text);
    return -ESTALE;
}

static int mismatch(struct s3_request *rq)
{
    rq->broken = S3_BROKEN_MISMATCH;
    return -EBADMSG;
}

static int check_range(struct s3_request *rq)
{
    const char *range = http_header(&rq->http, "Content-Range");
    uint64_t start, end, total, size = rq->req->sink.object_size;
    char total_text[24];

    if (!range ||
        sscanf(range, "bytes %" SCNu64 "-%" SCNu64 "/%23s", &start, &end, total_text) != 3 ||
        start != rq->req->offset + rq->sink.pos || end < start)
        return mismatch(rq);
    if (strcmp(total_text, "*") && str_to_u64(total_text, 10, &total) < 0)
        return mismatch(rq);
    if (strcmp(total_text, "*") && total != size)
        return stale(rq, "the object has another size now");
    return 0;
}

/* The server did not look at Range: take our slice out of the whole. */
static int check_whole(struct s3_request *rq)
{
    const char *length = http_header(&rq->http, "Content-Length");
    uint64_t total;

    if (length && str_to_u64(length, 10, &total) < 0)
        return mismatch(rq);
    if (length && total != rq->req->sink.object_size)
        return stale(rq, "the object has another size now");
    rq->sink.skip = rq->req->offset + rq->sink.pos;
    return 0;
}

/* Before the first byte of each reply is used. */
static int sink_check(struct s3_request *rq)
{
    struct s3_sink *sink = &rq->sink;
    const char *etag = http_header(&rq->http, "ETag"), *want = rq->req->if_match;
    int r = rq->http.status == 206   ? check_range(rq)
            : rq->http.status == 200 ? check_whole(rq)
                                     : mismatch(rq);

    if (r < 0)
        return r;
    if (!want || !strcmp(want, "*"))
        want = sink->etag;
    if (want && etag && !s3_reply_etag_eq(want, etag))
        return stale(rq, "the object was replaced");
    if (!sink->etag && etag) {
        sink->etag = strdup(etag);
        if (!sink->etag)
            return -ENOMEM;
    }
    if (!sink->buf) {
        sink->buf = malloc((size_t)MIN((uint64_t)GATHER_BYTES, sink->want));
        if (!sink->buf)
            return -ENOMEM;
    }
    sink->checked = true;
    return 0;
}

static int get_data(struct s3_request *rq, const void *data, size_t len)
{
    struct s3_sink *sink = &rq->sink;
    const char *p = data;
    int r = sink->checked ? 0 : sink_check(rq);

    if (r >= 0 && sink->skip) {
        size_t n = (size_t)MIN(sink->skip, (uint64_t)len);

        sink->skip -= n;
        p += n;
        len -= n;
    }
    while (r >= 0 && len && sink->pos < sink->want) {
        uint64_t room = MIN((uint64_t)GATHER_BYTES, sink->want) - sink->fill;
        size_t n = (size_t)MIN(room, (uint64_t)len);

        n = (size_t)MIN((uint64_t)n, sink->want - sink->pos);

        memcpy(sink->buf + sink->fill, p, n);
        sink->fill += n;
        sink->pos += n;
        p += n;
        len -= n;
        if (n == room || sink->pos == sink->want)
            r = sink_flush(rq);
    }
    if (r < 0)
        return r;
    atomic_store_explicit(&rq->req->arriving, sink->pos, memory_order_relaxed);
    sink->full = sink->pos == sink->want;
    return sink->full && len ? -ECANCELED : 0; /* the rest is not ours: hang up */
}

static void get_build(struct s3_request *rq)
{
    struct s3_sink *sink = &rq->sink;
    const struct store_req *req = rq->req;
    const char *pin = req->if_match && strcmp(req->if_match, "*") ? req->if_match : sink->etag;
    uint64_t start = req->offset + sink->pos, end = req->offset + sink->want;

    if (sink->pos > sink->attempt_pos) { /* it moves: patience starts anew */
        rq->tries = rq->limited_tries = 0;
        if (!req->deadline_ns)
            rq->give_up_ns = clock_mono_ns() + s3_patience_ns(rq->store, req->op);
    }
    sink->attempt_pos = sink->pos;
    sink->checked = sink->full = false;
    sink->skip = 0;
    rq->call.method = HTTP_GET;
    rq->call.key = req->key;
    rq->call.bulk = end - start > BULK_ABOVE_BYTES;
    s3_call_header(&rq->call, "If-Match", pin ?: req->if_match);
    s3_call_headerf(&rq->call, "Range", "bytes=%" PRIu64 "-%" PRIu64, start, end - 1);
}

static int get_reply(struct s3_request *rq)
{
    struct s3_sink *sink = &rq->sink;
    int r = sink->checked ? 0 : sink_check(rq); /* a reply without one byte */

    if (r == -EBADMSG)
        return S3_STEP_BROKEN;
    if (r < 0)
        return r;
    if (sink->pos < sink->want) { /* less than was asked for, but whole as it announced */
        rq->broken = S3_BROKEN_SHORT;
        return sink->pos > sink->attempt_pos ? S3_STEP_AGAIN : S3_STEP_BROKEN;
    }
    r = s3_reply_meta(rq);
    rq->req->meta.size = rq->req->sink.object_size;
    return r;
}

static int get_refused(struct s3_request *rq, const struct s3_verdict *v)
{
    return v->error == -ERANGE ? stale(rq, "the object is shorter now") : v->error;
}

static void get_fini(struct s3_request *rq)
{
    if (rq->sink.fill)
        sink_flush(rq); /* failed half-way: what came is good and is counted */
    free(rq->sink.buf);
    free(rq->sink.etag);
    rq->sink.buf = rq->sink.etag = NULL;
}

const struct s3_op s3_op_get = {"get", 0, get_build, get_data, get_reply, get_refused, get_fini};
