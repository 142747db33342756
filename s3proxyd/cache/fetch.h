/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One run of absent blocks being brought in: a ranged GET into the data file, or, for blocks
 * written in an earlier boot, a look at their checksums (verify.c).
 *
 * A GET that nobody waits for starts when the store's pace lets it, else it stands in the cache's
 * queue; one that is fetched behind readers waits until these have been quiet for a moment, too. One
 * that has gone silent or slow gets a second leg, once (hedge.c): the same bytes asked for again, and
 * whichever brings them first is taken. */
#pragma once

#include "s3proxyd/cache/obj.h"
#include "s3proxyd/cache/plan.h"
#include "s3proxyd/work/pool.h"

#define FETCH_MAX_BLOCKS (PLAN_REQUEST_MAX_BYTES / BLOCK_BYTES)

enum fetch_need {
    FETCH_BEHIND, /* readers, see cache_fill_behind() */
    FETCH_AHEAD,  /* of a reader */
    FETCH_NEEDED,
};

struct leg { /* one GET of a fetch */
    struct fetch *fetch;
    struct store_req req;
    uint64_t first; /* block it begins with; it ends where the fetch ends */
    uint64_t paced; /* bytes told to the pace */
    bool running;
    uint32_t crcs[];
};

struct fetch {
    struct list link; /* obj->fetches */
    struct list gets; /* a GET's: cache->queue or cache->behind until it starts, then cache->running */
    bool queued, abandoned; /* abandoned: its end is no error of who came to wait for it since */
    enum fetch_need need;
    unsigned *counted;      /* one of cache->nreaders and ->nbehind, while it runs */
    struct cache_obj *obj; /* referenced */
    struct store *store;
    uint64_t first, end;   /* blocks */
    uint64_t set;          /* GET: [first, set) are present */
    struct leg *legs[2];
    uint64_t began_ns, moved_ns; /* CLOCK_MONOTONIC; moved: bytes came */
    uint64_t seen;               /* of the first leg: store_req.arriving, at the last look */
    int error;
    bool won; /* a leg has brought all of it, and of the right version */
};

/* Start fetching blocks [first, end), all absent and in no fetch. fetch_get: space is reserved by
 * it; may shorten the run to must_end when there is no room for more, and *ret_end is where it
 * ends; nothing of it is needed when must_end <= first. They call fill_arrived() as blocks come and
 * fill_ended() once. 0 | -ENOSPC | -ENOMEM */
int fetch_get(struct cache_obj *obj, uint64_t first, uint64_t end, uint64_t must_end,
              enum fetch_need need, uint64_t *ret_end);
int fetch_verify(struct cache_obj *obj, uint64_t first, uint64_t end);

void fetch_want(struct fetch *f, enum fetch_need need); /* somebody else wants it, too */
/* Ends what is waited for by nobody and wanted no more than so: what stands in a queue for obj, and what
 * runs behind readers. */
void fetch_drop(struct cache_obj *obj, enum fetch_need need);

/* ---- for hedge.c and verify.c */
struct fetch *fetch_alloc(struct cache_obj *obj, uint64_t first, uint64_t end);
void fetch_finish(struct fetch *f, int error);
int fetch_make_side(struct cache_obj *obj, uint64_t first, uint64_t end); /* 0 | -ENOSPC | -errno */
int fetch_leg(struct fetch *f, unsigned i); /* asks for [set, end); 0 | -ENOMEM */
bool fetch_leg_running(const struct fetch *f, unsigned i);
int hedge_init(struct cache *cache);   /* 0 | -ENOMEM */
void hedge_watch(struct cache *cache); /* there are fetches: look at them from time to time */
