/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* How far to fetch: a pure function of one handle's access pattern and of sizes. Random readers get the
 * blocks they asked for; a sequential reader's window doubles until several requests are in parallel.
 *
 * Only reads of absent blocks are heard of. A reader that is faster than the network asks for blocks that
 * are under way, so the window moves on before it is used up. A slower one is silent until it has read
 * everything and waits once per window, which is why the window grows to tens of MiB. */
#pragma once

#include <stdint.h>

#include "s3proxyd/cache/cache.h"

#define AHEAD_REQUEST_BYTES (8u * 1024 * 1024) /* one ranged GET; a multiple of BLOCK_BYTES */
#define AHEAD_REQUESTS 4u                      /* of one sequential reader, in parallel */
#define AHEAD_FIRST_BYTES (512u * 1024)        /* the first window */
#define AHEAD_LATE_BYTES (1024u * 1024)        /* reads may overtake each other by this */

/* The reader wants [offset, offset+len), len > 0, below object_size. Notes it in h and returns the offset
 * up to which the object should be made present, never less than the end of the request (clipped).
 * max_window bounds how far ahead: a small cache must not be flushed by one reader. */
uint64_t ahead_until(struct cache_history *h, uint64_t offset, uint64_t len, uint64_t object_size,
                     uint64_t max_window);
