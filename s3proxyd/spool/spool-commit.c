/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A commit from start to end: see commit-run.h for its phases. Whatever fails, the spool keeps
 * every byte and stays dirty, and what was downloaded for this commit need not be for the next. */
#include "s3proxyd/spool/commit-run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"

void commit_run_fail(struct commit_run *run, int error, const char *text)
{
    if (run->error)
        return;
    run->error = error;
    snprintf(run->commit->error_text, sizeof(run->commit->error_text), "%s",
             text && text[0] ? text : strerror(-error));
    for (unsigned i = 0; i < COMMIT_SLOTS; i++)
        if (run->slots[i].busy && run->slots[i].is_req)
            store_cancel(&run->slots[i].req);
}

struct commit_slot *commit_run_slot(struct commit_run *run)
{
    for (unsigned i = 0; i < COMMIT_SLOTS; i++)
        if (!run->slots[i].busy) {
            run->slots[i] = (struct commit_slot){.run = run};
            return &run->slots[i];
        }
    return NULL;
}

bool commit_run_idle(const struct commit_run *run)
{
    for (unsigned i = 0; i < COMMIT_SLOTS; i++)
        if (run->slots[i].busy)
            return false;
    return true;
}

void commit_run_submit(struct commit_slot *slot, struct store *store)
{
    slot->busy = slot->is_req = true;
    store_submit(store, &slot->req);
}

static void run_free(struct commit_run *run)
{
    loop_task_cancel(&run->task);
    extents_fini(&run->holes);
    for (unsigned i = 0; run->etags && i < run->plan.count; i++)
        free(run->etags[i]);
    free(run->etags);
    free(run->upload_id);
    free(run);
}

/* Everything is in the file now and in the store: the base is history. */
static void saved(struct spool *spool, uint64_t generation)
{
    cache_obj_unref(take(spool->base));
    spool->base_limit = spool->missing = 0;
    spool->saved_generation = generation;
    spool_recount(spool);
    if (spool->generation == generation && spool->nchanges == 0 && spool_mark(spool, true) < 0)
        log_debug("spool", "%s keeps its name", log_esc(spool->name));
}

void commit_run_end(struct commit_run *run)
{
    struct spool *spool = run->spool;
    struct spool_commit *commit = run->commit;

    must(commit_run_idle(run));
    commit->error = run->error;
    if (run->error == 0) {
        commit->error_text[0] = 0;
        commit->meta.size = spool->size;
        saved(spool, commit->generation);
    }
    commit->impl = NULL;
    spool->commit = NULL;
    spool->run = NULL;
    run_free(run);
    spool_kick(spool); /* the writes that waited; a spool with any of them is dirty */
    commit->done(commit);
}

static void begin(void *arg)
{
    struct commit_run *run = arg;
    struct spool *spool = run->spool;

    if (run->begun || spool_changing(spool))
        return; /* spool_commit_wake() comes again */
    run->begun = true;
    run->commit->generation = spool->generation;
    if (!spool->engaged) { /* room for what will be downloaded */
        int r = spool_dir_reserve(spool->dir, spool->missing);
        if (r < 0) {
            commit_run_fail(run, r, NULL);
            commit_run_end(run);
            return;
        }
        spool_dir_unreserve(spool->dir, spool->missing);
        spool->engaged = true;
        spool_recount(spool);
    }
    commit_fill(run);
}

void spool_commit_wake(struct spool *spool)
{
    if (spool->run && !spool->run->begun)
        loop_task_add(spool->dir->loop, &spool->run->task);
}

int spool_commit_start(struct spool *spool, struct spool_commit *commit)
{
    if (spool->commit)
        return -EBUSY;
    if (spool->end != SPOOL_LIVES)
        return -EBADF;
    struct commit_run *run = calloc(1, sizeof(*run));
    if (!run)
        return -ENOMEM;
    run->commit = commit;
    run->spool = spool;
    loop_task_init(&run->task, begin, run);
    commit->spool = spool;
    commit->impl = run;
    commit->error = 0;
    commit->error_text[0] = 0;
    spool->commit = commit;
    spool->run = run;
    loop_task_add(spool->dir->loop, &run->task);
    return -EINPROGRESS;
}

void spool_commit_fini(struct spool_commit *commit)
{
    free(commit->key);
    free(commit->if_match);
    commit->key = commit->if_match = NULL;
    store_meta_fini(&commit->meta);
}

/* ---- seal */

/* From the pool: the holes read as zeros, whatever a failed write left there. */
static void seal_run(struct work *work)
{
    struct commit_slot *slot = container_of(work, struct commit_slot, work);
    const struct commit_run *run = slot->run;
    int fd = run->spool->fd;

    if (ftruncate(fd, (off_t)run->spool->size) < 0)
        slot->error = -errno;
    for (size_t i = 0; slot->error == 0 && i < run->holes.n; i++) {
        const struct extent *h = &run->holes.v[i];
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)h->start,
                      (off_t)(h->end - h->start)) < 0)
            slot->error = -errno;
    }
}

static void seal_done(struct work *work)
{
    struct commit_slot *slot = container_of(work, struct commit_slot, work);
    struct commit_run *run = slot->run;

    slot->busy = false;
    if (slot->error < 0) {
        commit_run_fail(run, slot->error, NULL);
        commit_run_end(run);
        return;
    }
    run->spool->scarred = false;
    commit_upload(run);
}

static int collect_holes(struct commit_run *run)
{
    const struct spool *spool = run->spool;
    struct extent gap;
    uint64_t at = 0;

    while (extents_gap(&spool->set, at, spool->size, &gap)) {
        int r = extents_room(&run->holes, 1);
        if (r < 0)
            return r;
        extents_add(&run->holes, gap.start, gap.end);
        at = gap.end;
    }
    return 0;
}

/* Most files were written from the start to the end: nothing to do for the pool. */
static bool is_sealed(const struct spool *spool)
{
    struct stat st;

    return !spool->scarred && fstat(spool->fd, &st) == 0 && (uint64_t)st.st_size == spool->size;
}

void commit_seal(struct commit_run *run)
{
    if (is_sealed(run->spool)) {
        commit_upload(run);
        return;
    }
    int r = run->spool->scarred ? collect_holes(run) : 0;
    if (r < 0) {
        commit_run_fail(run, r, NULL);
        commit_run_end(run);
        return;
    }
    struct commit_slot *slot = commit_run_slot(run);
    slot->busy = true;
    slot->work = (struct work){.run = seal_run, .done = seal_done};
    pool_submit(run->spool->dir->pool, &slot->work);
}
