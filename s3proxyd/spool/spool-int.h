/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the files of spool/ share: spool-dir.c (accounting, orphans), spool.c (life and queue), spool-io.c
 * (write, truncate), spool-read.c, spool-commit.c with spool-fill.c and spool-upload.c.
 *
 * Where a byte of the file comes from, in this order: the spool file if the extents hold it; the base below
 * base_limit; else zero. Shrinking lowers base_limit, so bytes cut off never come back. */
#pragma once

#include "proto/base/loop.h"
#include "s3proxyd/spool/extents.h"
#include "s3proxyd/spool/spool.h"

struct commit_run;

struct spool_dir {
    struct loop *loop;
    struct pool *pool;
    struct cache *cache;
    char *path;
    int fd, orphans_fd, lock_fd;
    uint64_t size_bytes;
    uint64_t used_bytes;     /* sum of spool->charged */
    uint64_t missing_bytes;  /* part of it: not on disk yet */
    uint64_t reserved_bytes; /* of operations under way */
    uint64_t next, orphans, spools;
};

struct spool {
    struct spool_dir *dir;
    char *name;
    uint64_t number;
    int fd;
    bool marked_clean;        /* the file's name says that nothing in it is unsaved */
    struct cache_obj *base;   /* or NULL */
    uint64_t base_limit;      /* the base counts below this */
    uint64_t missing;         /* of it not in the extents: what a commit downloads */
    bool engaged;             /* `missing` is charged */
    uint64_t charged, charged_missing;
    struct extents set;
    bool scarred;             /* a failed write left bytes outside of the extents */
    uint64_t size, generation, saved_generation;
    struct cache_history ra;
    struct list queue;        /* spool_io, in order */
    struct spool_io *running;
    size_t nops, nchanges;    /* submitted and not done: all, writes and truncates */
    struct spool_commit *commit;
    struct commit_run *run;   /* its state */
    enum { SPOOL_LIVES, SPOOL_DROPS, SPOOL_ASIDE, SPOOL_RETIRES } end;
    struct spool_retire *retire;
};

/* spool-dir.c */
#define SPOOL_FILE_SIZE 40u
void spool_file_name(const struct spool *spool, char out[SPOOL_FILE_SIZE]);
int spool_mark(struct spool *spool, bool clean); /* 0 | -errno */
int spool_dir_reserve(struct spool_dir *dir, uint64_t bytes); /* 0 | -ENOSPC */
void spool_dir_unreserve(struct spool_dir *dir, uint64_t bytes);
void spool_recount(struct spool *spool); /* after extents, base_limit or engaged changed */
void spool_dir_keep_orphan(struct spool *spool);

/* spool.c */
void spool_submit(struct spool *spool, struct spool_io *io); /* into the queue */
void spool_kick(struct spool *spool); /* starts the next operation that may run */
void spool_finish(struct spool_io *io); /* the running one is over */
bool spool_changing(const struct spool *spool); /* a write or truncate is running */

/* Start the running operation; they end in spool_finish(), later. */
void spool_write_begin(struct spool_io *io);
void spool_truncate_begin(struct spool_io *io);
void spool_read_begin(struct spool_io *io);

/* spool-commit.c */
void spool_commit_wake(struct spool *spool); /* no change is running any more */
