/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The read cache: one sparse file per object version and beside it a sidecar that says which blocks are
 * present. Clients hold read-only descriptors of both. Everything here runs on the main loop; bytes are
 * written by transfer threads (through store_sink) and verified by the pool.
 *
 * Sidecar protocol for readers (see proto/sidecar.h): read revoked and seq, test the block's bit, pread the
 * data, read revoked and seq again; equal and not revoked: the bytes are good. The cache raises seq, clears
 * bits, raises seq once more, and only then punches. A bit is set only after the bytes were written
 * (and, in this boot, verified).
 *
 * size_bytes is enforced before a fetch is issued, on disk blocks of data and sidecars. What readers wait
 * for is fetched even when nothing can be evicted for it; read-ahead is not. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3proxyd/cache/plan.h"
#include "s3proxyd/store/store.h"
#include "s3proxyd/work/pool.h"

struct cache;
struct cache_obj; /* one object version, reference counted; main loop only */

struct cache_config {
    const char *dir;           /* created 0700; locked against a second backend */
    uint64_t size_bytes;       /* hard bound */
    uint64_t min_free_bytes;
    bool memory; /* the directory is in memory: what is free of that counts as well */
};
/* 0 | -EBUSY (another backend owns the directory) | -EOPNOTSUPP (no hole punching, or FUSE) | -errno */
int cache_new(struct loop *loop, struct pool *pool, const struct cache_config *config,
              struct cache **ret_cache, const char **ret_why);
void cache_free(struct cache *cache); /* no object referenced, cache_idle() */
bool cache_idle(const struct cache *cache); /* no fetch under way (and none is started by itself) */
/* Bytes that could be cached in all, were everything else evicted: the bound, or what min_free leaves of the
 * disk, less what is promised. */
uint64_t cache_room(const struct cache *cache);
uint64_t cache_charge(uint64_t size); /* what a whole object of that size takes of it */
/* Evicts until the file system has `bytes` free for others (the spool), if that can be had. */
void cache_make_room(struct cache *cache, uint64_t bytes);

struct cache_key {
    const char *endpoint, *bucket, *key, *etag;
    uint64_t scope; /* cred_scope() */
    uint64_t size;  /* of the object */
};
/* Finds or makes the object's files; maps an old sidecar again. Later fills use this store.
 * 0 | -ENOSPC | -errno */
int cache_obj_get(struct cache *cache, struct store *store, const struct cache_key *key,
                  struct cache_obj **ret_obj);
struct cache_obj *cache_obj_ref(struct cache_obj *obj);
void cache_obj_unref(struct cache_obj *obj);
/* Read-only descriptors to hand to a client; borrowed, the channel duplicates them. */
void cache_obj_fds(const struct cache_obj *obj, int *ret_data_fd, int *ret_side_fd);
uint64_t cache_obj_size(const struct cache_obj *obj);
const char *cache_obj_etag(const struct cache_obj *obj);
const char *cache_obj_key(const struct cache_obj *obj);
struct store *cache_obj_store(const struct cache_obj *obj);
/* Promises that the version stays whole for as long as a kernel may read it past us (promise.h).
 * false: it is not whole, or too small, or too much of the cache is promised already. */
bool cache_obj_promise(struct cache_obj *obj);
/* All blocks of [offset, offset+len) are present now (clipped at the size). */
bool cache_obj_present(const struct cache_obj *obj, uint64_t offset, uint64_t len);
/* From now on clients must ask for every read of this version (an own write changed the inode). Whoever
 * drops the last reference to a revoked version deletes its files: it was replaced. */
void cache_obj_revoke(struct cache_obj *obj);
void cache_obj_unrevoke(struct cache_obj *obj);

/* Makes [offset, offset+len) present (clipped at the size). Joins fetches under way; asks the store
 * with If-Match for the rest; reads ahead as the plan of `ra` says (plan.h). Result: 0 all present
 * now | -EINPROGRESS: done runs once, later, with 0 or -errno (-ESTALE: replaced) | other -errno:
 * failed, done never runs. */
struct cache_history { /* one per open handle: its access pattern; zero-initialised */
    struct plan_history plan;
    uint64_t
        tell_at; /* out: cache_told() wants to hear when the reader has come here; 0: need not */
};
struct cache_wait { /* zero-initialised; free or reused once done() was called */
    struct list link;
    struct cache_obj *obj;
    uint64_t offset, len;
    void (*done)(struct cache_wait *wait, int error);
    int error; /* these two are the cache's own */
    bool behind;
};
/* ra may be NULL: no read-ahead. wait holds a reference to obj until done() returned. */
int cache_fill_start(struct cache_obj *obj, uint64_t offset, uint64_t len,
                     struct cache_history *ra, struct cache_wait *wait);
/* The same for whom nobody waits: as many requests at once as the store takes, but while readers fetch
 * something, or did a moment ago, one. Room is had by evicting only; -ENOSPC: there is none. */
int cache_fill_behind(struct cache_obj *obj, uint64_t offset, uint64_t len,
                      struct cache_wait *wait);
/* done() will not run. What was to be fetched behind readers, and nobody else waits for, ends. */
void cache_fill_cancel(struct cache_wait *wait);
/* The reader has come to `offset` without our help: reads ahead. */
void cache_told(struct cache_obj *obj, uint64_t offset, struct cache_history *ra);
/* A reader has closed: what was to be read ahead and has not begun is dropped. */
void cache_reader_gone(struct cache_obj *obj);
/* Copies present bytes. 0 and *ret_got | -EAGAIN (a block is absent, fill again). Blocking pread: called from
 * pool work or for page-cached data. Any thread that holds a reference through its owner. */
int cache_obj_pread(const struct cache_obj *obj, void *buf, uint64_t offset, size_t len,
                    size_t *ret_got);
/* What was uploaded becomes cache content: links the complete file at path (same file system; else -EXDEV)
 * as the data of the version `key`; all blocks are present for this boot. The path is gone afterwards,
 * also on failure. Nobody may write to the file any more. 0 (or it was there already) | -ENOSPC | -errno */
int cache_adopt(struct cache *cache, const struct cache_key *key, const char *path);
/* The object has another key now, and perhaps another ETag, with the same bytes (a copy in the store): what
 * is cached goes along, also for who has it open. Not while some of it is being fetched by the old key:
 * then the new version is fetched anew. */
void cache_rename(struct cache *cache, const struct cache_key *from, const struct cache_key *to);
/* Forgets a version nobody has open (object deleted). */
void cache_forget(struct cache *cache, const struct cache_key *key);

struct cache_stats { /* hits: fills that found everything present. Reads clients do alone are not counted */
    uint64_t size_bytes, used_bytes, objects, open_objects, hits, fills;
    uint64_t evicted_bytes, fetched_bytes, hedged, promised_bytes;
};
void cache_stats(const struct cache *cache, struct cache_stats *ret);
