/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A commit's last phase: one PUT when the file is small, else a multipart upload, its parts read
 * from the file by the transfer threads: no memory grows with the file. */
#include "s3proxyd/spool/commit-run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"

#define PARTS_USUAL 200u
#define PART_USUAL_MAX_BYTES (128ULL << 20)

static void base_request(struct commit_slot *slot, enum store_op op,
                         void (*done)(struct store_req *))
{
    const struct commit_run *run = slot->run;

    slot->req = (struct store_req){.op = op,
                                   .key = run->commit->key,
                                   .upload_id = run->upload_id,
                                   .body.fd = -1,
                                   .done = done};
}

/* ---- one PUT */

static void take_meta(struct commit_run *run, struct store_req *req)
{
    store_meta_fini(&run->commit->meta);
    run->commit->meta = req->meta;
    req->meta = (struct store_meta){0};
}

static void put_done(struct store_req *req)
{
    struct commit_slot *slot = container_of(req, struct commit_slot, req);
    struct commit_run *run = slot->run;

    slot->busy = false;
    if (req->error < 0)
        commit_run_fail(run, req->error, req->error_text);
    else
        take_meta(run, req);
    store_req_fini(req);
    commit_run_end(run);
}

static void set_condition(struct commit_run *run, struct store_req *req)
{
    req->if_match = run->commit->if_match;
    req->if_none_match = run->commit->if_none_match;
}

static void put(struct commit_run *run)
{
    struct commit_slot *slot = commit_run_slot(run);

    base_request(slot, STORE_PUT, put_done);
    slot->req.length = run->spool->size;
    if (run->spool->size > 0)
        slot->req.body.fd = run->spool->fd;
    set_condition(run, &slot->req);
    commit_run_submit(slot, run->commit->store);
}

/* ---- parts */

static void abort_done(struct store_req *req)
{
    struct commit_slot *slot = container_of(req, struct commit_slot, req);
    struct commit_run *run = slot->run;

    slot->busy = false;
    if (req->error < 0 && req->error != -ENOENT)
        log_warn("spool", "upload of %s not aborted, parts may stay in the bucket: %s",
                 log_esc(run->commit->key), strerror(-req->error));
    store_req_fini(req);
    commit_run_end(run);
}

/* Idle with an error: nobody shall pay for the parts. */
static void give_up(struct commit_run *run)
{
    if (!run->upload_id) {
        commit_run_end(run);
        return;
    }
    struct commit_slot *slot = commit_run_slot(run);
    base_request(slot, STORE_MPU_ABORT, abort_done);
    commit_run_submit(slot, run->commit->store);
}

static void complete_done(struct store_req *req)
{
    struct commit_slot *slot = container_of(req, struct commit_slot, req);
    struct commit_run *run = slot->run;
    int error = req->error;

    slot->busy = false;
    if (error < 0)
        commit_run_fail(run, error, req->error_text);
    else
        take_meta(run, req);
    store_req_fini(req);
    if (error < 0)
        give_up(run);
    else
        commit_run_end(run);
}

static void complete(struct commit_run *run)
{
    struct commit_slot *slot = commit_run_slot(run);

    base_request(slot, STORE_MPU_COMPLETE, complete_done);
    slot->req.length = run->spool->size;
    slot->req.part_etags = (const char *const *)run->etags;
    slot->req.nparts = run->plan.count;
    set_condition(run, &slot->req);
    commit_run_submit(slot, run->commit->store);
}

static void send_parts(struct commit_run *run);

static void part_done(struct store_req *req)
{
    struct commit_slot *slot = container_of(req, struct commit_slot, req);
    struct commit_run *run = slot->run;

    slot->busy = false;
    if (req->error == 0 && !req->meta.etag)
        commit_run_fail(run, -EIO, "the store named no ETag for a part");
    else if (req->error < 0)
        commit_run_fail(run, req->error, req->error_text);
    else
        run->etags[slot->part - 1] = take(req->meta.etag);
    store_req_fini(req);
    send_parts(run);
}

static void send_part(struct commit_slot *slot, unsigned number)
{
    struct commit_run *run = slot->run;

    slot->part = number;
    base_request(slot, STORE_MPU_PART, part_done);
    slot->req.part_number = number;
    slot->req.body.fd = run->spool->fd;
    part_plan_get(&run->plan, number, &slot->req.body.offset, &slot->req.length);
    commit_run_submit(slot, run->commit->store);
}

static void send_parts(struct commit_run *run)
{
    struct commit_slot *slot;

    while (run->error == 0 && run->next_part <= run->plan.count && (slot = commit_run_slot(run)))
        send_part(slot, run->next_part++);
    if (!commit_run_idle(run))
        return;
    if (run->error)
        give_up(run);
    else
        complete(run);
}

static void create_done(struct store_req *req)
{
    struct commit_slot *slot = container_of(req, struct commit_slot, req);
    struct commit_run *run = slot->run;

    slot->busy = false;
    if (req->error < 0)
        commit_run_fail(run, req->error, req->error_text);
    else if (!req->ret_upload_id)
        commit_run_fail(run, -EIO, "the store named no upload id");
    else
        run->upload_id = take(req->ret_upload_id);
    store_req_fini(req);
    run->next_part = 1;
    send_parts(run);
}

/* The size is known here, so parts need not begin small. A few hundred of them are plenty in flight, and all
 * that some stores can note down: versitygw on ext4 keeps them in one xattr, and refused to complete 768. */
static uint64_t part_least(const struct commit_run *run)
{
    uint64_t few = run->spool->size / PARTS_USUAL;
    uint64_t whole = (few + (1 << 20) - 1) >> 20 << 20;
    uint64_t usual = MIN(whole, PART_USUAL_MAX_BYTES);

    return MAX(run->commit->store->part_min_bytes, usual);
}

static int plan_parts(struct commit_run *run)
{
    const struct store *store = run->commit->store;

    int r = part_plan_make(run->spool->size, part_least(run), store->parts_max, &run->plan);
    if (r < 0)
        return r;
    run->etags = calloc(run->plan.count, sizeof(*run->etags));
    return run->etags ? 0 : -ENOMEM;
}

void commit_upload(struct commit_run *run)
{
    uint64_t size = run->spool->size, max = run->commit->store->object_max_bytes;
    int r = max && size > max ? -EFBIG : 0;

    if (r == 0 && size <= COMMIT_PUT_MAX_BYTES) {
        put(run);
        return;
    }
    if (r == 0)
        r = plan_parts(run);
    if (r < 0) {
        commit_run_fail(run, r, NULL);
        commit_run_end(run);
        return;
    }
    struct commit_slot *slot = commit_run_slot(run);
    base_request(slot, STORE_MPU_CREATE, create_done);
    commit_run_submit(slot, run->commit->store);
}
