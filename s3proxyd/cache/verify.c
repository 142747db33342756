/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Blocks written in an earlier boot: a crash or a bad disk may have changed them since. They are
 * read once, on the pool, and shown when their checksums are right; what is damaged is fetched
 * anew. */
#include <errno.h>
#include <stdlib.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/cache/fetch.h"
#include "s3proxyd/cache/space.h"

#define PIECE_BLOCKS 16u /* read at once */

struct verify {
    struct work work;
    struct fetch *fetch;
    int error;
    uint64_t good[FETCH_MAX_BLOCKS / 64]; /* bit i: block first + i */
    uint32_t crcs[FETCH_MAX_BLOCKS];
};

/* Of the `blocks` blocks from `first` on: those that are as they were written. */
static void look(struct verify *v, uint8_t *buf, uint64_t first, uint64_t blocks)
{
    const struct cache_obj *obj = v->fetch->obj;
    uint64_t offset = first * BLOCK_BYTES;
    size_t want = MIN(blocks * BLOCK_BYTES, obj->side.object_size - offset), got = 0;

    if (fd_pread_full(obj->data_ro, buf, want, offset, &got) < 0)
        return; /* unreadable is damaged */
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t from = i * BLOCK_BYTES, n = first + i - v->fetch->first;
        size_t len = MIN((size_t)BLOCK_BYTES, want - from);
        if (from + len <= got && digest_crc32c(0, buf + from, len) == v->crcs[n])
            v->good[n / 64] |= 1ULL << (n % 64);
    }
}

static void verify_run(struct work *work)
{
    struct verify *v = container_of(work, struct verify, work);
    const struct fetch *f = v->fetch;
    _cleanup_(freep) uint8_t *buf = malloc((size_t)PIECE_BLOCKS * BLOCK_BYTES);

    v->error = buf ? side_crcs(&f->obj->side, f->first, f->end, v->crcs) : -ENOMEM;
    for (uint64_t b = f->first; v->error == 0 && b < f->end; b += PIECE_BLOCKS)
        look(v, buf, b, MIN(f->end - b, (uint64_t)PIECE_BLOCKS));
}

static void verify_done(struct work *work)
{
    _cleanup_(freep) struct verify *v = container_of(work, struct verify, work);
    struct fetch *f = v->fetch;
    struct cache_obj *obj = f->obj;
    int error = v->error == -ENOMEM ? -ENOMEM : 0;

    for (uint64_t b = f->first; error == 0 && b < f->end; b++) {
        uint64_t n = b - f->first;
        if (v->good[n / 64] >> (n % 64) & 1) {
            side_set(&obj->side, b, b + 1, NULL);
            continue;
        }
        side_clear(&obj->side, b / 64, 1ULL << (b % 64));
        space_punch(obj, b, b + 1);
        space_release(obj->cache, obj->entry, side_block_charge(&obj->side, b));
    }
    fetch_finish(f, error);
}

int fetch_verify(struct cache_obj *obj, uint64_t first, uint64_t end)
{
    int r = fetch_make_side(obj, first, end);
    if (r < 0)
        return r;
    _cleanup_(freep) struct verify *v = calloc(1, sizeof(*v));
    struct fetch *f = v ? fetch_alloc(obj, first, end) : NULL;
    if (!f)
        return -ENOMEM;
    v->fetch = f;
    v->work = (struct work){.run = verify_run, .done = verify_done};
    pool_submit(obj->cache->pool, &take(v)->work);
    return 0;
}
