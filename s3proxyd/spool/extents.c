/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Which bytes of a spool file are valid: a sorted array, for real files are written in few runs. */
#include "s3proxyd/spool/extents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"

#define DISK_BLOCK_BYTES 4096u

void extents_fini(struct extents *set)
{
    free(set->v);
    *set = EXTENTS_NULL;
}

int extents_room(struct extents *set, size_t more)
{
    size_t cap = set->cap ? set->cap : 8;

    if (set->n + more <= set->cap)
        return 0;
    if (more > EXTENTS_MAX || set->n + more > EXTENTS_MAX)
        return -ENOSPC;
    while (cap < set->n + more)
        cap *= 2;
    struct extent *v = realloc(set->v, cap * sizeof(*v));
    if (!v)
        return -ENOMEM;
    set->v = v;
    set->cap = cap;
    return 0;
}

static void count(struct extents *set, struct extent e, bool in)
{
    uint64_t first = e.start / DISK_BLOCK_BYTES;
    uint64_t last = e.end / DISK_BLOCK_BYTES + (e.end % DISK_BLOCK_BYTES != 0);
    uint64_t disk = (last - first) * DISK_BLOCK_BYTES;

    set->bytes += in ? e.end - e.start : -(e.end - e.start);
    set->disk_bytes += in ? disk : -disk;
}

/* The first extent that ends at or past `at`. */
static size_t find(const struct extents *set, uint64_t at)
{
    size_t lo = 0, hi = set->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (set->v[mid].end < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void extents_add(struct extents *set, uint64_t start, uint64_t end)
{
    struct extent e = {start, end};
    size_t i, j;

    must(start <= end);
    if (start == end)
        return;
    i = j = find(set, start);
    while (j < set->n && set->v[j].start <= end) {
        e.start = MIN(e.start, set->v[j].start);
        e.end = MAX(e.end, set->v[j].end);
        count(set, set->v[j++], false);
    }
    must(j > i || set->n < set->cap);
    memmove(&set->v[i + 1], &set->v[j], (set->n - j) * sizeof(set->v[0]));
    set->n = set->n + 1 - (j - i);
    set->v[i] = e;
    count(set, e, true);
}

void extents_clip(struct extents *set, uint64_t end)
{
    while (set->n && set->v[set->n - 1].end > end) {
        struct extent *last = &set->v[set->n - 1];
        count(set, *last, false);
        if (last->start >= end) {
            set->n--;
            continue;
        }
        last->end = end;
        count(set, *last, true);
    }
}

uint64_t extents_covered(const struct extents *set, uint64_t start, uint64_t end)
{
    uint64_t sum = 0;

    for (size_t i = find(set, start); i < set->n && set->v[i].start < end; i++) {
        uint64_t lo = MAX(start, set->v[i].start), hi = MIN(end, set->v[i].end);
        sum += lo < hi ? hi - lo : 0;
    }
    return sum;
}

uint64_t extents_run(const struct extents *set, uint64_t start, uint64_t end, bool *ret_inside)
{
    size_t i = find(set, start + 1);

    *ret_inside = i < set->n && set->v[i].start <= start;
    if (i == set->n)
        return end;
    return MIN(end, *ret_inside ? set->v[i].end : set->v[i].start);
}

bool extents_gap(const struct extents *set, uint64_t start, uint64_t end, struct extent *ret_gap)
{
    bool inside;

    if (start >= end)
        return false;
    uint64_t stop = extents_run(set, start, end, &inside);
    if (inside) { /* a gap follows, for extents never touch */
        start = stop;
        if (start >= end)
            return false;
        stop = extents_run(set, start, end, &inside);
    }
    *ret_gap = (struct extent){start, stop};
    return true;
}
