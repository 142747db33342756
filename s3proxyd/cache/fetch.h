/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One run of absent blocks being brought in: a ranged GET into the data file, or, for blocks written in an
 * earlier boot, a look at their checksums. */
#pragma once

#include "s3proxyd/cache/obj.h"
#include "s3proxyd/work/pool.h"

#define FETCH_MAX_BLOCKS 64u /* AHEAD_REQUEST_BYTES */

struct fetch {
    struct list link; /* obj->fetches */
    struct cache_obj *obj; /* referenced */
    uint64_t first, end;   /* blocks */
    uint64_t set;          /* GET: [first, set) are present */
    struct store_req req;
    struct work work;
    bool is_get;
    int error;             /* verify: reading failed */
    uint64_t good;         /* verify: bit i for block first + i */
    uint32_t crcs[FETCH_MAX_BLOCKS];
};

/* Start fetching blocks [first, end), all absent and in no fetch. fetch_get: space is reserved by it; may
 * shorten the run to must_end when there is no room for more. They call fill_arrived() as blocks
 * come and fill_ended() once. 0 | -ENOSPC | -ENOMEM */
int fetch_get(struct cache_obj *obj, uint64_t first, uint64_t end, uint64_t must_end);
int fetch_verify(struct cache_obj *obj, uint64_t first, uint64_t end);
