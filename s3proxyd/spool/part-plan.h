/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* How a large file is cut for a multipart upload. Pure. Parts grow with their number, so that small
 * uploads have many parts in flight and the largest object still fits into the store's part count:
 * of 10,000 parts 1,000 have 8 MiB, 2,000 have 32, 3,000 have 128 and 4,000 have 512 (2.4 TiB in all); all
 * sizes double until the file fits. */
#pragma once

#include <stdint.h>

#define PART_PLAN_UNIT_BYTES (8ULL << 20)
#define PART_PLAN_MAX_BYTES (5ULL << 30) /* S3's largest part */
#define PART_PLAN_TIERS 4u

struct part_plan {
    uint64_t size;
    unsigned count; /* parts, at least 1 */
    struct part_tier {
        unsigned parts;
        uint64_t bytes; /* of each */
    } tiers[PART_PLAN_TIERS];
};

/* part_min_bytes, parts_max: the store's; 0: S3's 5 MiB and 10,000. 0 | -EFBIG */
int part_plan_make(uint64_t size, uint64_t part_min_bytes, unsigned parts_max,
                   struct part_plan *ret_plan);
/* number: 1 … count */
void part_plan_get(const struct part_plan *plan, unsigned number, uint64_t *ret_offset,
                   uint64_t *ret_len);
