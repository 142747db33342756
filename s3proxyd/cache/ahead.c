/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Read-ahead as arithmetic: see ahead.h. */
#include "s3proxyd/cache/ahead.h"

#include "proto/base/must.h"
#include "proto/limits.h"

static uint64_t block_up(uint64_t offset, uint64_t object_size)
{
    return MIN((offset + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES, object_size);
}

/* Clients read present blocks without a word, so the next that is heard of a stream is, as a rule,
 * the first block that was not asked for: offset == ahead_until. Reads in flight overtake each
 * other: a stream may also be a little late, or a little early. A first read at 0 starts one. */
static bool is_sequential(const struct cache_history *h, uint64_t offset)
{
    uint64_t slack = h->sequential > 0 ? AHEAD_LATE_BYTES : 0;

    if (offset < h->next_offset)
        return h->next_offset - offset <= slack;
    return offset <= h->ahead_until || offset - h->ahead_until <= slack;
}

uint64_t ahead_until(struct cache_history *h, uint64_t offset, uint64_t len, uint64_t object_size,
                     uint64_t max_window)
{
    uint64_t end = len < object_size - offset ? offset + len : object_size;

    h->reads++;
    if (!is_sequential(h, offset)) {
        *h = (struct cache_history){
            .next_offset = end, .ahead_until = block_up(end, object_size), .reads = h->reads};
        return end;
    }
    h->sequential++;
    h->next_offset = MAX(h->next_offset, end);
    /* The spool's reads of its base are all heard of: half a window in hand is enough for them. */
    if (h->ahead_until > h->next_offset && h->ahead_until - h->next_offset > h->window_bytes / 2)
        return end;
    h->window_bytes = h->window_bytes ? h->window_bytes * 2 : AHEAD_FIRST_BYTES;
    h->window_bytes = MIN(h->window_bytes, max_window);
    h->window_bytes = MIN(h->window_bytes, (uint64_t)AHEAD_REQUESTS * AHEAD_REQUEST_BYTES);

    uint64_t until = h->next_offset + MIN(h->window_bytes, object_size - h->next_offset);
    if (until < object_size && h->window_bytes >= 2 * (uint64_t)AHEAD_REQUEST_BYTES)
        until -= until % AHEAD_REQUEST_BYTES; /* whole requests; still past next_offset */
    h->ahead_until = MAX(h->ahead_until, block_up(until, object_size));
    return MAX(h->ahead_until, end);
}
