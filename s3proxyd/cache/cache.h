/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The read cache: one sparse file per object version and beside it a sidecar that says which blocks are
 * present. Clients hold read-only descriptors of both. Everything here runs on the main loop; bytes are
 * written by transfer threads (through store_sink) and verified by the pool.
 *
 * Sidecar protocol for readers (see proto/sidecar.h): read revoked and seq, test the block's bit, pread the
 * data, read revoked and seq again; equal and not revoked: the bytes are good. The cache raises seq, clears
 * bits, and only then punches or truncates. A bit is set only after the bytes were written (and, in
 * this boot, verified). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3proxyd/store/store.h"
#include "s3proxyd/work/pool.h"

struct cache;
struct cache_obj; /* one object version, reference counted; main loop only */

struct cache_config {
    const char *dir;           /* created 0700; locked against a second backend */
    uint64_t size_bytes;       /* hard bound */
    uint64_t min_free_bytes;
};
/* 0 | -EBUSY (another backend owns the directory) | -EOPNOTSUPP (no hole punching, or FUSE) | -errno */
int cache_new(struct loop *loop, struct pool *pool, const struct cache_config *config,
              struct cache **ret_cache, const char **ret_why);
void cache_free(struct cache *cache);

struct cache_key {
    const char *endpoint, *bucket, *key, *etag;
    uint64_t scope; /* cred_scope() */
    uint64_t size;  /* of the object */
};
/* Finds or makes the object's files; maps an old sidecar again. 0 | -errno */
int cache_obj_get(struct cache *cache, struct store *store, const struct cache_key *key,
                  struct cache_obj **ret_obj);
struct cache_obj *cache_obj_ref(struct cache_obj *obj);
void cache_obj_unref(struct cache_obj *obj);
/* Read-only descriptors to hand to a client; borrowed, the channel duplicates them. */
void cache_obj_fds(const struct cache_obj *obj, int *ret_data_fd, int *ret_side_fd);
uint64_t cache_obj_size(const struct cache_obj *obj);
const char *cache_obj_etag(const struct cache_obj *obj);
/* From now on clients must ask for every read of this version (an own write changed the inode). */
void cache_obj_revoke(struct cache_obj *obj);
void cache_obj_unrevoke(struct cache_obj *obj);

/* Makes [offset, offset+len) present (clipped at the size). Joins fetches under way; asks the store with
 * If-Match for the rest; reads ahead by the history of `ra`.
 * Result: 0 all present now | -EINPROGRESS: done runs once, later, with 0 or -errno (-ESTALE: replaced) |
 * other -errno: failed, done never runs. */
struct cache_history { /* one per open handle: its access pattern; zero-initialised */
    uint64_t next_offset, window_bytes, ahead_until;
    uint64_t sequential, reads;
};
struct cache_wait {
    struct list link;
    struct cache_obj *obj;
    uint64_t offset, len;
    void (*done)(struct cache_wait *wait, int error);
};
int cache_fill_start(struct cache_obj *obj, uint64_t offset, uint64_t len,
                     struct cache_history *ra, struct cache_wait *wait);
void cache_fill_cancel(struct cache_wait *wait); /* silent and final; the fetch itself goes on */
/* Copies present bytes. 0 and *ret_got | -EAGAIN (a block is absent, fill again). Blocking pread: called from
 * pool work or for page-cached data. Any thread that holds a reference through its owner. */
int cache_obj_pread(const struct cache_obj *obj, void *buf, uint64_t offset, size_t len,
                    size_t *ret_got);
/* What was uploaded becomes cache content: links the complete file at path (same file system; else -EXDEV)
 * as the data of the version `key`; all blocks are present for this boot. The path is gone afterwards. */
int cache_adopt(struct cache *cache, const struct cache_key *key, const char *path);
/* Forgets a version nobody has open (object deleted). */
void cache_forget(struct cache *cache, const struct cache_key *key);

struct cache_stats {
    uint64_t size_bytes, used_bytes, objects, open_objects, hits, fills, evicted_bytes, fetched_bytes;
};
void cache_stats(const struct cache *cache, struct cache_stats *ret);
