/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Read-ahead as arithmetic: see ahead.h. */
#include "s3proxyd/cache/ahead.h"

#include "proto/base/must.h"

/* On the expected offset, a little late (reads in flight overtake each other), or a skip within
 * what was already asked for: all of these are still one stream. A first read at 0 starts one. */
static bool is_sequential(const struct cache_history *h, uint64_t offset)
{
    if (offset == h->next_offset)
        return true;
    if (offset < h->next_offset)
        return h->sequential > 0 && h->next_offset - offset <= AHEAD_LATE_BYTES;
    return h->sequential > 0 && offset < h->ahead_until;
}

uint64_t ahead_until(struct cache_history *h, uint64_t offset, uint64_t len, uint64_t object_size,
                     uint64_t max_window)
{
    uint64_t end = len < object_size - offset ? offset + len : object_size;

    h->reads++;
    if (!is_sequential(h, offset)) {
        *h = (struct cache_history){.next_offset = end, .ahead_until = end, .reads = h->reads};
        return end;
    }
    h->sequential++;
    if (end > h->next_offset)
        h->next_offset = end;
    if (h->ahead_until < h->next_offset)
        h->ahead_until = h->next_offset;
    /* Half a window in hand is enough: the next request leaves before the reader reaches its end.
     */
    if (h->ahead_until - h->next_offset > h->window_bytes / 2)
        return end;
    h->window_bytes = h->window_bytes ? h->window_bytes * 2 : AHEAD_FIRST_BYTES;
    h->window_bytes = MIN(h->window_bytes, max_window);
    h->window_bytes = MIN(h->window_bytes, (uint64_t)AHEAD_REQUESTS * AHEAD_REQUEST_BYTES);

    uint64_t until = h->next_offset + MIN(h->window_bytes, object_size - h->next_offset);
    if (until < object_size && h->window_bytes >= 2 * (uint64_t)AHEAD_REQUEST_BYTES)
        until -= until % AHEAD_REQUEST_BYTES; /* whole requests; still past next_offset */
    h->ahead_until = MAX(h->ahead_until, until);
    return MAX(h->ahead_until, end);
}
