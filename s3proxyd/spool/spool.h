/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Unsaved data. One spool per inode that was written: a sparse file at the object's own offsets, the set
 * of ranges that are valid in it, and the base version that everything else still comes from.
 * Main loop only; disk work goes through the pool in order. While a commit reads the file, writes wait. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "s3proxyd/cache/cache.h"
#include "s3proxyd/store/store.h"

struct spool_dir; /* where the files live; accounts their bytes against spool_size */
struct spool;

int spool_dir_new(struct loop *loop, struct pool *pool, struct cache *cache, const char *dir,
                  uint64_t size_bytes, struct spool_dir **ret_dir);
void spool_dir_free(struct spool_dir *dir);
uint64_t spool_dir_used_bytes(const struct spool_dir *dir);
uint64_t spool_dir_orphans(const struct spool_dir *dir); /* files a crashed backend left, kept aside */

/* Bytes count against spool_size before they are accepted, with what a commit will have to download from
 * the base; when the disk is full, the cache gives way. A spool without a base starts dirty: nothing of it
 * is in the store.
 *
 * name: what the file is called in `hafizctl status` and aside after a crash (the key). base: the version
 * being changed, or NULL for a new or truncated file; referenced. 0 | -ENOSPC | -errno */
int spool_new(struct spool_dir *dir, const char *name, struct cache_obj *base, uint64_t size,
              struct spool **ret_spool);
/* The data is gone. No commit may be under way; operations in flight still end as usual. */
void spool_free(struct spool *spool);
/* As spool_free(), but the file is kept with the orphans when it holds unsaved data. */
void spool_set_aside(struct spool *spool);

uint64_t spool_size(const struct spool *spool);
bool spool_dirty(const struct spool *spool);   /* written or resized since the last good commit,
                                                * or about to be: operations are queued */
uint64_t spool_generation(const struct spool *spool); /* raised by every write and resize */

/* All operations: 0 finished now | -EINPROGRESS: done once, later | -errno. They queue in order; only
 * reads pass writes that wait for a commit. There is no cancel: they end soon, a read of absent base bytes
 * when its fetch does. */
struct spool_io {
    uint64_t offset, size;
    void *buf;             /* write: source (ring memory); read: target, caller's */
    size_t got;            /* read: bytes, short at the end of the file only */
    int error;
    void (*done)(struct spool_io *io);

    /* the spool's own, while submitted */
    struct list link;
    struct spool *spool;
    struct work work;
    enum { SPOOL_READ, SPOOL_WRITE, SPOOL_TRUNCATE } kind;
    struct cache_wait wait;
    uint64_t reserved;
    unsigned tries;
    void *plan;            /* read: where each piece comes from */
};
/* Copies from buf (one look at each byte) and extends the file; a gap before it reads as zeros. */
int spool_write_start(struct spool *spool, struct spool_io *io);
int spool_read_start(struct spool *spool, struct spool_io *io); /* fills from the base first */
int spool_truncate_start(struct spool *spool, struct spool_io *io); /* io->size: the new size */

/* Commit: download what is missing from the base, then one PUT or a multipart upload of the whole file
 * with the given condition; on success the spool is clean and its new base is (etag, size).
 * done: error and, on 0, meta of the new version (etag, size, mtime) owned by the struct. */
struct spool_commit {
    struct spool *spool;
    struct store *store;
    char *key;                 /* owned */
    char *if_match;            /* owned; or NULL */
    bool if_none_match;
    int error;
    char error_text[256];
    struct store_meta meta;
    uint64_t generation;       /* of the data that was committed */
    void (*done)(struct spool_commit *commit);
    void *impl;
};
/* -EINPROGRESS | -EBUSY (one is under way) | -ENOMEM. done() may start the next one or end the spool. */
int spool_commit_start(struct spool *spool, struct spool_commit *commit);
void spool_commit_fini(struct spool_commit *commit);
/* A clean, complete spool nobody writes any more becomes the cache's file of that version; the spool is
 * freed either way (as by spool_free()). scope, endpoint… as in cache_key, etag and size of the committed
 * version. */
void spool_retire(struct spool *spool, struct cache *cache, const struct cache_key *key);
