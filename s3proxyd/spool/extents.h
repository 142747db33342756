/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A set of byte ranges: sorted, disjoint, never touching (neighbours are merged). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXTENTS_MAX (1u << 20) /* 16 MiB of memory for one file; past it writes get ENOSPC */

struct extent { /* [start, end), start < end */
    uint64_t start, end;
};
struct extents {
    struct extent *v;
    size_t n, cap;
    uint64_t bytes;      /* covered */
    uint64_t disk_bytes; /* at most what they allocate: each rounded out to disk blocks */
};
#define EXTENTS_NULL ((struct extents){0})

void extents_fini(struct extents *set);
/* Makes the next `more` calls of extents_add() succeed. 0 | -ENOMEM | -ENOSPC (EXTENTS_MAX) */
int extents_room(struct extents *set, size_t more);
void extents_add(struct extents *set, uint64_t start, uint64_t end); /* start <= end */
void extents_clip(struct extents *set, uint64_t end); /* forgets everything from end on */
uint64_t extents_covered(const struct extents *set, uint64_t start, uint64_t end);
/* The part of [start, end) that begins at start and is all in the set or all outside of it: returns its end
 * and whether it is inside. start < end */
uint64_t extents_run(const struct extents *set, uint64_t start, uint64_t end, bool *ret_inside);
/* The first gap in [start, end). False: none. */
bool extents_gap(const struct extents *set, uint64_t start, uint64_t end, struct extent *ret_gap);
