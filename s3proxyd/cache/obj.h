/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the files of cache/ share. Two levels:
 *   cache_entry  every version known to be on disk: its name (a hash), its charge, its place in the LRU
 *   cache_obj    an entry somebody has open: descriptors, mapped sidecar, waits and fetches
 * An entry may be promised: a kernel reads it past us, and no block of it may go (promise.c).
 * entry.c names and finds, obj.c opens, view.c shows, fill.c and fetch.c bring blocks, space.c charges and
 * evicts, recall.c and walk.c remember entries between runs. All of it on the main loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/clock.h"
#include "proto/base/table.h"
#include "s3proxyd/cache/cache.h"
#include "s3proxyd/cache/side.h"

#define ENTRY_HASH_BYTES 32u
#define OBJ_RECENT 8u
#define OBJ_RECENT_NS (2 * NS_PER_S) /* from being woken to having read */

struct cache_entry {
    struct table_node node; /* cache->entries, by hash */
    struct list lru;        /* cache->lru, oldest first */
    uint8_t hash[ENTRY_HASH_BYTES];
    uint64_t bytes;         /* charged: sidecar, held blocks, blocks being fetched */
    struct cache_obj *obj;  /* while open */
    struct list promise;    /* cache->promised, see promise.h */
    uint64_t promised_bytes; /* 0: not promised, as far as we know */
    bool promise_known;
};

struct cache {
    struct loop *loop;
    struct pool *pool;
    char *dir;
    int dir_fd, objects_fd, lock_fd;
    uint64_t size_bytes, min_free_bytes;
    bool memory;
    struct side_boot boot;
    struct table entries;
    struct list lru;
    uint64_t used_bytes;
    bool can_promise;        /* the file system says who has a file open */
    struct list promised;    /* entries, the longest promised first */
    uint64_t promised_bytes;
    uint64_t inflight_bytes; /* part of used_bytes: charged, perhaps not yet on disk */
    size_t nfetches, nopen;
    struct list queue, behind, running; /* GETs, see fetch.h */
    unsigned nreaders, nbehind;         /* of those that run */
    uint64_t reader_ns;                 /* when a reader's began or ended; 0: never */
    struct loop_timer *hedge_timer;
    bool hedge_armed;
    struct cache_stats stats; /* the counters of it */
    struct walk *walk; /* under way, see recall.h */
    bool space_warned;
};

/* If somebody deleted the directories: makes them anew and forgets what was in them, but for keep and what
 * is open, which lives on without a name. 0 | -ENOENT: they are there | -errno */
int cache_renew(struct cache *cache, const struct cache_entry *keep);

struct obj_span { /* blocks [first, end) */
    uint64_t first, end;
};

struct cache_obj {
    struct cache *cache;
    struct cache_entry *entry;
    struct store *store; /* NULL: opened only to evict from it */
    char *key, *etag;    /* NULL: opened only to evict from it */
    unsigned refs;
    bool doomed;         /* files go with the last reference */
    int data_fd;         /* read-write: fetches, punching */
    int data_ro, side_ro; /* for clients */
    struct side side;
    struct list waits, fetches;
    struct obj_span filling; /* its fetches are just being started: what is there of it stays */
    struct {
        struct obj_span span;
        uint64_t at_ns;
    } recent[OBJ_RECENT]; /* asked for just now: not evicted from under the asker */
    unsigned recent_next;
    uint64_t evict_next; /* word of the bitmap where eviction goes on */
};

/* Opens the entry's files; -ENOENT | -EBADMSG: unusable. object_size as in side_open(). */
int obj_open(struct cache *cache, struct cache_entry *entry, uint64_t object_size,
             struct cache_obj **ret_obj);
void obj_touch(struct cache_obj *obj); /* the most recently used one */
void obj_note_recent(struct cache_obj *obj, struct obj_span span);
