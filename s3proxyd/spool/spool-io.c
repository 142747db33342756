/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Writes and truncates. Room is reserved when they are submitted, what is valid changes when they
 * are done. */
#include "s3proxyd/spool/spool.h"

#include <errno.h>
#include <unistd.h>

#include "proto/base/str.h"
#include "s3proxyd/spool/spool-int.h"

#define DISK_BLOCK_BYTES 4096u

/* The first change also reserves what a commit will download. */
static bool first_change(const struct spool *spool)
{
    return !spool->engaged && spool->nchanges == 0;
}

static int submit_change(struct spool *spool, struct spool_io *io, uint64_t bytes)
{
    int r = spool_dir_reserve(spool->dir, bytes);

    if (r < 0)
        return r;
    io->spool = spool;
    io->reserved = bytes;
    io->error = 0;
    spool->nops++;
    spool->nchanges++;
    spool_submit(spool, io);
    return -EINPROGRESS;
}

int spool_write_start(struct spool *spool, struct spool_io *io)
{
    if (spool->end != SPOOL_LIVES)
        return -EBADF;
    io->got = 0;
    if (io->size == 0)
        return 0;
    if (!range_ok(io->offset, io->size))
        return -EFBIG;
    io->kind = SPOOL_WRITE;
    uint64_t first = io->offset / DISK_BLOCK_BYTES;
    uint64_t last = (io->offset + io->size - 1) / DISK_BLOCK_BYTES;
    return submit_change(spool, io,
                         (last - first + 1) * DISK_BLOCK_BYTES +
                             (first_change(spool) ? spool->missing : 0));
}

int spool_truncate_start(struct spool *spool, struct spool_io *io)
{
    if (spool->end != SPOOL_LIVES)
        return -EBADF;
    if (!range_ok(0, io->size))
        return -EFBIG;
    if (io->size == spool->size && spool->nchanges == 0)
        return 0;
    io->kind = SPOOL_TRUNCATE;
    uint64_t limit = MIN(spool->base_limit, io->size);
    return submit_change(spool, io,
                         first_change(spool) ? limit - extents_covered(&spool->set, 0, limit) : 0);
}

/* From the pool. The ring the bytes come from is another process's to change: each is looked at
 * once. */
static void write_run(struct work *work)
{
    struct spool_io *io = container_of(work, struct spool_io, work);

    if (io->error == 0)
        io->error = fd_pwrite_full(io->spool->fd, io->buf, io->size, io->offset);
}

static void note_missing(struct spool *spool)
{
    spool->missing = spool->base_limit - extents_covered(&spool->set, 0, spool->base_limit);
    spool_recount(spool);
}

static void write_done(struct work *work)
{
    struct spool_io *io = container_of(work, struct spool_io, work);
    struct spool *spool = io->spool;
    uint64_t end = io->offset + io->size;

    if (io->error < 0) {
        spool->scarred = true; /* some of it may be in the file */
        spool_finish(io);
        return;
    }
    if (io->offset < spool->base_limit) {
        uint64_t below = MIN(end, spool->base_limit);
        spool->missing -= below - io->offset - extents_covered(&spool->set, io->offset, below);
    }
    extents_add(&spool->set, io->offset, end);
    spool->size = MAX(spool->size, end);
    spool->generation++;
    spool->engaged = true;
    spool_recount(spool);
    io->got = io->size;
    spool_finish(io);
}

void spool_write_begin(struct spool_io *io)
{
    struct spool *spool = io->spool;

    io->error = extents_room(&spool->set, 1);
    if (io->error == 0)
        io->error = spool_mark(spool, false);
    io->work = (struct work){.run = write_run, .done = write_done};
    pool_submit(spool->dir->pool, &io->work);
}

static void truncate_run(struct work *work)
{
    struct spool_io *io = container_of(work, struct spool_io, work);

    if (io->error == 0 && ftruncate(io->spool->fd, (off_t)io->size) < 0)
        io->error = -errno;
}

static void truncate_done(struct work *work)
{
    struct spool_io *io = container_of(work, struct spool_io, work);
    struct spool *spool = io->spool;

    if (io->error == 0) {
        extents_clip(&spool->set, io->size);
        spool->base_limit = MIN(spool->base_limit, io->size);
        spool->size = io->size;
        spool->generation++;
        spool->engaged = true;
        note_missing(spool);
    }
    spool_finish(io);
}

void spool_truncate_begin(struct spool_io *io)
{
    io->error = spool_mark(io->spool, false);
    io->work = (struct work){.run = truncate_run, .done = truncate_done};
    pool_submit(io->spool->dir->pool, &io->work);
}
