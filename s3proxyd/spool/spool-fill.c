/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A commit's first phase: brings what is missing from the base into the spool file, piece by piece:
 * copied when the cache has it, else downloaded straight into the file. Reads of the spool may run
 * meanwhile; a piece becomes valid when all of it is there. */
#include "s3proxyd/spool/commit-run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"

#define COPY_BYTES (1u << 20)

static void piece_valid(struct commit_slot *slot)
{
    struct spool *spool = slot->run->spool;
    struct extent p = slot->piece;

    extents_add(&spool->set, p.start, p.end); /* room was made when it started */
    spool->missing -= p.end - p.start;
    spool_recount(spool);
}

static void get_done(struct store_req *req)
{
    struct commit_slot *slot = container_of(req, struct commit_slot, req);
    struct commit_run *run = slot->run;
    int error = req->error;

    if (error == 0 && req->got < req->length)
        error = -EIO;
    if (error == -ENOENT)
        error = -ESTALE; /* the version that was changed here is gone */
    slot->busy = false;
    if (error < 0)
        commit_run_fail(run, error, req->error_text);
    else
        piece_valid(slot);
    store_req_fini(req);
    commit_fill(run);
}

static void get_piece(struct commit_slot *slot)
{
    struct spool *spool = slot->run->spool;
    struct store *store = cache_obj_store(spool->base);
    const char *etag = cache_obj_etag(spool->base);

    slot->req = (struct store_req){
        .op = STORE_GET,
        .key = cache_obj_key(spool->base),
        .if_match = etag[0] ? etag : NULL,
        .offset = slot->piece.start,
        .length = slot->piece.end - slot->piece.start,
        .sink = {.fd = spool->fd,
                 .fd_offset = slot->piece.start,
                 .object_size = cache_obj_size(spool->base)},
        .done = get_done,
    };
    commit_run_submit(slot, store ? store : slot->run->commit->store);
}

static void copy_run(struct work *work)
{
    struct commit_slot *slot = container_of(work, struct commit_slot, work);
    struct spool *spool = slot->run->spool;
    _cleanup_(freep) uint8_t *buf = malloc(COPY_BYTES);

    slot->error = buf ? 0 : -ENOMEM;
    for (uint64_t at = slot->piece.start; slot->error == 0 && at < slot->piece.end;) {
        size_t got = 0, want = MIN(slot->piece.end - at, (uint64_t)COPY_BYTES);
        slot->error = cache_obj_pread(spool->base, buf, at, want, &got);
        if (slot->error == 0 && got < want)
            slot->error = -EIO;
        if (slot->error == 0)
            slot->error = fd_pwrite_full(spool->fd, buf, got, at);
        at += got;
    }
}

static void copy_done(struct work *work)
{
    struct commit_slot *slot = container_of(work, struct commit_slot, work);
    struct commit_run *run = slot->run;

    slot->busy = false;
    if (slot->error == -EAGAIN && run->error == 0) { /* evicted meanwhile */
        get_piece(slot);
        return;
    }
    if (slot->error < 0)
        commit_run_fail(run, slot->error, NULL);
    else
        piece_valid(slot);
    commit_fill(run);
}

static void start_piece(struct commit_slot *slot, struct extent piece)
{
    struct spool *spool = slot->run->spool;

    slot->piece = piece;
    if (!cache_obj_present(spool->base, piece.start, piece.end - piece.start)) {
        get_piece(slot);
        return;
    }
    slot->busy = true;
    slot->work = (struct work){.run = copy_run, .done = copy_done};
    pool_submit(spool->dir->pool, &slot->work);
}

void commit_fill(struct commit_run *run)
{
    struct spool *spool = run->spool;
    struct commit_slot *slot;
    struct extent gap;

    while (run->error == 0 && (slot = commit_run_slot(run)) &&
           extents_gap(&spool->set, run->fill_next, spool->base_limit, &gap)) {
        /* One more for each piece in flight: none may lack a place when it is there. */
        int r = extents_room(&spool->set, COMMIT_SLOTS);
        if (r < 0) {
            commit_run_fail(run, r, NULL);
            break;
        }
        gap.end = MIN(gap.end, gap.start + COMMIT_PIECE_BYTES);
        run->fill_next = gap.end;
        start_piece(slot, gap);
    }
    if (!commit_run_idle(run))
        return;
    if (run->error)
        commit_run_end(run);
    else
        commit_seal(run);
}
