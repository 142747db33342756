/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reads. First the base bytes are made present in the cache (outside of the queue: a slow store
 * must not hold up writes), then the queue's turn fixes where each piece comes from, then the pool
 * copies. */
#include "s3proxyd/spool/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/spool/spool-int.h"

#define READ_TRIES 16u /* base blocks evicted between the fill and the copy */

struct read_plan {
    struct cache_obj *base; /* referenced while the pool reads it */
    size_t n;
    struct read_piece {
        enum { PIECE_SPOOL, PIECE_BASE, PIECE_ZERO } from;
        uint64_t start, end;
    } pieces[];
};

static uint64_t read_end(const struct spool_io *io)
{
    const struct spool *spool = io->spool;

    if (io->offset >= spool->size)
        return io->offset;
    return io->offset + MIN(io->size, spool->size - io->offset);
}

/* From the first to the last base byte of the read that is not in the spool. */
static bool base_range(const struct spool_io *io, struct extent *ret)
{
    const struct spool *spool = io->spool;
    uint64_t end = MIN(read_end(io), spool->base_limit), at = io->offset;
    struct extent gap;
    bool any = false;

    while (extents_gap(&spool->set, at, end, &gap)) {
        if (!any)
            ret->start = gap.start;
        ret->end = at = gap.end;
        any = true;
    }
    return any;
}

static void read_filled(struct cache_wait *wait, int error);

/* 0: everything the read needs of the base is present | -EINPROGRESS: read_filled() | -errno */
static int read_fill(struct spool_io *io)
{
    struct spool *spool = io->spool;
    struct extent range;

    if (!base_range(io, &range))
        return 0;
    if (io->tries++ >= READ_TRIES)
        return -EIO;
    io->wait = (struct cache_wait){.done = read_filled};
    list_init(&io->wait.link);
    return cache_fill_start(spool->base, range.start, range.end - range.start, &spool->ra,
                            &io->wait);
}

static void read_filled(struct cache_wait *wait, int error)
{
    struct spool_io *io = container_of(wait, struct spool_io, wait);

    struct extent range;

    /* A failed one ends in its turn; but a commit may have brought the bytes meanwhile. */
    io->error = error < 0 && base_range(io, &range) ? error : 0;
    spool_submit(io->spool, io);
}

int spool_read_start(struct spool *spool, struct spool_io *io)
{
    if (spool->end != SPOOL_LIVES)
        return -EBADF;
    io->spool = spool;
    io->kind = SPOOL_READ;
    io->got = 0;
    io->error = 0;
    io->reserved = 0;
    io->tries = 0;
    io->plan = NULL;
    list_init(&io->link);
    if (read_end(io) == io->offset && spool->nchanges == 0)
        return 0;
    int r = read_fill(io);
    if (r < 0 && r != -EINPROGRESS)
        return r;
    spool->nops++;
    if (r == 0)
        spool_submit(spool, io);
    return -EINPROGRESS;
}

static struct read_piece piece_at(const struct spool *spool, uint64_t at, uint64_t end)
{
    struct read_piece p = {.start = at};
    bool inside;

    p.end = extents_run(&spool->set, at, end, &inside);
    if (inside) {
        p.from = PIECE_SPOOL;
    } else if (at < spool->base_limit) {
        p.from = PIECE_BASE;
        p.end = MIN(p.end, spool->base_limit);
    } else {
        p.from = PIECE_ZERO;
    }
    return p;
}

static int make_plan(struct spool_io *io)
{
    const struct spool *spool = io->spool;
    uint64_t end = read_end(io);
    struct read_plan *plan;
    size_t n = 0;

    for (uint64_t at = io->offset; at < end; n++)
        at = piece_at(spool, at, end).end;
    plan = calloc(1, sizeof(*plan) + n * sizeof(plan->pieces[0]));
    if (!plan)
        return -ENOMEM;
    for (uint64_t at = io->offset; at < end; at = plan->pieces[plan->n++].end)
        plan->pieces[plan->n] = piece_at(spool, at, end);
    plan->base = spool->base ? cache_obj_ref(spool->base) : NULL;
    io->plan = plan;
    return 0;
}

static int read_piece(const struct spool_io *io, const struct read_piece *p)
{
    const struct read_plan *plan = io->plan;
    uint8_t *to = (uint8_t *)io->buf + (p->start - io->offset);
    size_t len = p->end - p->start, got = len;
    int r = 0;

    if (p->from == PIECE_ZERO)
        memset(to, 0, len);
    else if (p->from == PIECE_BASE)
        r = cache_obj_pread(plan->base, to, p->start, len, &got);
    else
        r = fd_pread_full(io->spool->fd, to, len, p->start, &got);
    return r < 0 ? r : got < len ? -EIO : 0;
}

static void read_run(struct work *work)
{
    struct spool_io *io = container_of(work, struct spool_io, work);
    const struct read_plan *plan = io->plan;

    for (size_t i = 0; io->error == 0 && i < plan->n; i++) {
        io->error = read_piece(io, &plan->pieces[i]);
        if (io->error == 0)
            io->got += plan->pieces[i].end - plan->pieces[i].start;
    }
}

static void read_done(struct work *work)
{
    struct spool_io *io = container_of(work, struct spool_io, work);
    struct spool *spool = io->spool;
    struct read_plan *plan = io->plan;

    if (plan)
        cache_obj_unref(plan->base);
    free(plan);
    io->plan = NULL;
    if (io->error == -EAGAIN) { /* evicted meanwhile */
        spool->running = NULL;
        io->got = 0;
        io->error = read_fill(io);
        if (io->error != -EINPROGRESS)
            list_add_head(&spool->queue, &io->link);
        spool_kick(spool);
        return;
    }
    if (io->error < 0)
        io->got = 0;
    spool_finish(io);
}

void spool_read_begin(struct spool_io *io)
{
    struct extent range;
    struct spool *spool = io->spool;

    if (io->error == 0 && base_range(io, &range) &&
        !cache_obj_present(spool->base, range.start, range.end - range.start)) {
        io->error = -EAGAIN;
    }
    if (io->error == 0)
        io->error = make_plan(io);
    /* Also with an error: it ends from the loop, never inside of the call that started it. */
    io->work = (struct work){.run = read_run, .done = read_done};
    pool_submit(spool->dir->pool, &io->work);
}
