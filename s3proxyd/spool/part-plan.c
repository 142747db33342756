/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Part sizes: see part-plan.h. */
#include "s3proxyd/spool/part-plan.h"

#include <errno.h>

#include "proto/base/must.h"

static const struct {
    unsigned tenths; /* of the part count */
    unsigned factor; /* of the unit */
} shape[PART_PLAN_TIERS] = {{1, 1}, {2, 4}, {3, 16}, {4, 64}};

static uint64_t capacity(const struct part_plan *plan)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < PART_PLAN_TIERS; i++)
        sum += plan->tiers[i].parts * plan->tiers[i].bytes;
    return sum;
}

static void shape_tiers(struct part_plan *plan, uint64_t unit, unsigned parts_max)
{
    unsigned left = parts_max;

    for (unsigned i = 0; i < PART_PLAN_TIERS; i++) {
        unsigned parts = (unsigned)((uint64_t)parts_max * shape[i].tenths / 10);
        if (i == PART_PLAN_TIERS - 1)
            parts = left; /* what rounding left over */
        plan->tiers[i].parts = parts;
        plan->tiers[i].bytes = MIN(unit * shape[i].factor, PART_PLAN_MAX_BYTES);
        left -= parts;
    }
}

static unsigned parts_for(const struct part_plan *plan)
{
    uint64_t left = plan->size;
    unsigned count = 0;

    for (unsigned i = 0; i < PART_PLAN_TIERS && left > 0; i++) {
        const struct part_tier *t = &plan->tiers[i];
        uint64_t n = left / t->bytes + (left % t->bytes != 0);
        n = MIN(n, (uint64_t)t->parts);
        count += (unsigned)n;
        left -= MIN(left, n * t->bytes);
    }
    return count ? count : 1;
}

int part_plan_make(uint64_t size, uint64_t part_min_bytes, unsigned parts_max,
                   struct part_plan *ret_plan)
{
    struct part_plan plan = {.size = size};
    uint64_t unit = MAX(PART_PLAN_UNIT_BYTES, part_min_bytes);

    if (parts_max == 0)
        parts_max = 10000;
    for (; unit <= PART_PLAN_MAX_BYTES; unit *= 2) {
        shape_tiers(&plan, unit, parts_max);
        if (capacity(&plan) >= size)
            break;
    }
    if (unit > PART_PLAN_MAX_BYTES) { /* the last try: all parts at their largest */
        shape_tiers(&plan, PART_PLAN_MAX_BYTES, parts_max);
        if (part_min_bytes > PART_PLAN_MAX_BYTES || capacity(&plan) < size)
            return -EFBIG;
    }
    plan.count = parts_for(&plan);
    *ret_plan = plan;
    return 0;
}

void part_plan_get(const struct part_plan *plan, unsigned number, uint64_t *ret_offset,
                   uint64_t *ret_len)
{
    uint64_t offset = 0, bytes = 0;
    unsigned before = number - 1;

    must(number >= 1 && number <= plan->count);
    for (unsigned i = 0; i < PART_PLAN_TIERS; i++) {
        unsigned n = MIN(before, plan->tiers[i].parts);
        offset += n * plan->tiers[i].bytes;
        before -= n;
        if (n < plan->tiers[i].parts) {
            bytes = plan->tiers[i].bytes;
            break;
        }
    }
    *ret_offset = offset;
    *ret_len = MIN(bytes, plan->size - offset);
}
