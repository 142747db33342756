/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One object copied inside the store. */
#include "s3proxyd/op/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"

#define COPY_PART_BYTES (256ULL << 20)

static void note_error(struct copy *c, const struct store_req *req)
{
    if (c->error == 0 && req->error < 0) {
        c->error = req->error;
        snprintf(c->error_text, sizeof(c->error_text), "%s", req->error_text);
    }
}

static void submit(struct copy *c, struct store_req req)
{
    store_req_fini(&c->req);
    c->req = req;
    store_submit(c->store, &c->req);
}

static void whole_done(struct store_req *req);

/* versitygw and others that keep objects as files refuse to copy a directory's marker: it is empty, so
 * writing a new one is the same. */
static bool marker_instead(struct copy *c, const struct store_req *req)
{
    size_t len = strlen(c->dst);
    if (req->op != STORE_COPY || c->size > 0 || len == 0 || c->dst[len - 1] != '/' ||
        (req->error != -EISDIR && req->error != -ENOTDIR && req->error != -EINVAL &&
         req->error != -EOPNOTSUPP && req->error != -EIO))
        return false;
    submit(c, (struct store_req){.op = STORE_PUT,
                                 .key = c->dst,
                                 .if_none_match = c->if_absent,
                                 .body = {.fd = -1, .memory = ""},
                                 .done = whole_done});
    return true;
}

static void whole_done(struct store_req *req)
{
    struct copy *c = container_of(req, struct copy, req);
    if (req->error < 0 && marker_instead(c, req))
        return;
    note_error(c, req);
    if (c->error == 0) {
        c->etag = take(req->meta.etag);
        c->mtime_ns = req->meta.mtime_ns;
    }
    c->done(c);
}

static void aborted(struct store_req *req)
{
    struct copy *c = container_of(req, struct copy, req);
    c->done(c); /* with the error that led here */
}

static void parts_ended(struct copy *c)
{
    if (c->error < 0) {
        submit(c, (struct store_req){.op = STORE_MPU_ABORT,
                                     .key = c->dst,
                                     .upload_id = c->upload_id,
                                     .done = aborted});
        return;
    }
    submit(c, (struct store_req){.op = STORE_MPU_COMPLETE,
                                 .key = c->dst,
                                 .upload_id = c->upload_id,
                                 .part_etags = (const char *const *)c->etags,
                                 .nparts = c->nparts,
                                 .length = c->size,
                                 .if_none_match = c->if_absent,
                                 .done = whole_done});
}

static void part_start(struct copy *c, struct store_req *slot);

static void part_done(struct store_req *req)
{
    struct copy *c = (struct copy *)req->body.memory; /* carried along, see part_start() */
    note_error(c, req);
    if (req->error == 0)
        c->etags[req->part_number - 1] = take(req->meta.etag);
    store_req_fini(req);
    c->running--;
    if (c->error == 0 && c->next < c->nparts)
        part_start(c, req);
    else if (c->running == 0)
        parts_ended(c);
}

static void part_start(struct copy *c, struct store_req *slot)
{
    uint64_t at = (uint64_t)c->next * c->part_bytes;
    *slot = (struct store_req){.op = STORE_MPU_PART_COPY,
                               .key = c->dst,
                               .src_key = c->src,
                               .src_if_match = c->if_match,
                               .upload_id = c->upload_id,
                               .part_number = ++c->next,
                               .offset = at,
                               .length = MIN(c->part_bytes, c->size - at),
                               .body = {.fd = -1, .memory = c},
                               .done = part_done};
    c->running++;
    store_submit(c->store, slot);
}

static void created(struct store_req *req)
{
    struct copy *c = container_of(req, struct copy, req);
    note_error(c, req);
    c->upload_id = take(req->ret_upload_id);
    c->etags = calloc(c->nparts, sizeof(*c->etags));
    if (c->error == 0 && (!c->upload_id || !c->etags))
        c->error = -ENOMEM;
    if (c->error < 0) {
        c->done(c);
        return;
    }
    for (unsigned i = 0; i < COPY_PARTS_AT_ONCE && c->next < c->nparts; i++)
        part_start(c, &c->parts[i]);
}

static void headed(struct store_req *req)
{
    struct copy *c = container_of(req, struct copy, req);
    note_error(c, req);
    if (c->error < 0) {
        c->done(c);
        return;
    }
    /* A copy by parts is a new object: what describes the old one has to be given again. */
    c->source = req->meta;
    req->meta = (struct store_meta){0};
    submit(c, (struct store_req){.op = STORE_MPU_CREATE,
                                 .key = c->dst,
                                 .user = c->source.user,
                                 .nuser = c->source.nuser,
                                 .content_type = c->source.content_type,
                                 .done = created});
}

void copy_start(struct copy *c)
{
    if (c->size <= c->store->copy_max_bytes) {
        submit(c, (struct store_req){.op = STORE_COPY,
                                     .key = c->dst,
                                     .src_key = c->src,
                                     .src_if_match = c->if_match,
                                     .if_none_match = c->if_absent,
                                     .done = whole_done});
        return;
    }
    uint64_t least = c->size / c->store->parts_max + 1;
    c->part_bytes = MAX(COPY_PART_BYTES, least);
    c->nparts = (unsigned)((c->size + c->part_bytes - 1) / c->part_bytes);
    submit(c, (struct store_req){.op = STORE_HEAD, .key = c->src, .done = headed});
}

void copy_fini(struct copy *c)
{
    store_req_fini(&c->req);
    store_meta_fini(&c->source);
    free(c->upload_id);
    free(c->etag);
    for (unsigned i = 0; c->etags && i < c->nparts; i++)
        free(c->etags[i]);
    free(c->etags);
    *c = (struct copy){0};
}
