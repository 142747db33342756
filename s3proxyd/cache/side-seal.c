/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* While nobody has a version open its files may be changed by others: a seal in the sidecar says
 * how they were left. Where it does not fit, blocks are verified before they are shown, as after a
 * boot. */
#include "proto/base/clock.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/cache/side.h"

/* Over what says that a block may be read without being looked at. Never 0. Not over `promised`,
 * which ends while nobody has the file open, and is nothing without the bits. */
static uint64_t sum(const struct side *side)
{
    uint64_t words = sidecar_bitmap_bytes(side->object_size) / 8;
    uint32_t crc = 0;

    for (uint64_t w = 0; w < words; w++) {
        w += side_absent_words(side, w);
        uint64_t row[2] = {w, w < words ? side_present_word(side, w) : 0};
        if (row[1])
            crc = digest_crc32c(crc, row, sizeof(row));
    }
    return 1ULL << 32 | crc;
}

static uint64_t time_ns(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec;
}

void side_seal(struct side *side, const struct stat *data)
{
    side->head->sealed_time_ns = time_ns(data);
    side->head->sealed_sum = sum(side);
}

void side_check_seal(struct side *side, const struct stat *data)
{
    if (side->head->sealed_time_ns != time_ns(data) || side->head->sealed_sum != sum(side))
        side_hide_all(side);
}
