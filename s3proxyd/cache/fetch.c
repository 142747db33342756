/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Bytes arrive: store threads write them into the data file, the pool verifies old ones; here, on
 * the main loop, blocks become present. */
#include "s3proxyd/cache/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/cache/ahead.h"
#include "s3proxyd/cache/fill.h"
#include "s3proxyd/cache/space.h"

_Static_assert(FETCH_MAX_BLOCKS *(uint64_t)BLOCK_BYTES == AHEAD_REQUEST_BYTES, "one request");

static uint64_t charge_of(const struct cache_obj *obj, uint64_t first, uint64_t end)
{
    if (first == end)
        return 0;
    return (end - 1 - first) * BLOCK_BYTES + side_block_charge(&obj->side, end - 1);
}

static struct fetch *fetch_alloc(struct cache_obj *obj, uint64_t first, uint64_t end)
{
    struct fetch *f = calloc(1, sizeof(*f));

    must(first < end && end - first <= FETCH_MAX_BLOCKS && end <= obj->side.blocks);
    if (!f)
        return NULL;
    f->first = f->set = first;
    f->end = end;
    f->obj = cache_obj_ref(obj);
    list_add_tail(&obj->fetches, &f->link);
    obj->cache->nfetches++;
    return f;
}

static void fetch_finish(struct fetch *f, int error)
{
    struct cache_obj *obj = f->obj;
    struct obj_span span = {f->first, f->end};

    list_del(&f->link);
    obj->cache->nfetches--;
    if (f->is_get)
        store_req_fini(&f->req);
    free(f);
    fill_ended(obj, span, error);
    cache_obj_unref(obj);
}

/* The first `got` bytes are written: shows the blocks they complete. */
static void show_blocks(struct fetch *f, uint64_t got)
{
    struct cache_obj *obj = f->obj;
    uint64_t end = f->first + got / BLOCK_BYTES;

    if (got >= f->req.length)
        end = f->end; /* the object's last block may be short */
    if (end <= f->set)
        return;
    side_set(&obj->side, f->set, end, f->crcs + (f->set - f->first));
    uint64_t charge = charge_of(obj, f->set, end);
    obj->cache->inflight_bytes -= charge;
    obj->cache->stats.fetched_bytes += charge;
    f->set = end;
}

static void get_progress(struct store_req *req, uint64_t got)
{
    struct fetch *f = container_of(req, struct fetch, req);
    struct cache_obj *obj = f->obj;
    uint64_t before = f->set;

    show_blocks(f, MIN(got, req->length));
    if (f->set > before)
        fill_arrived(obj, (struct obj_span){before, f->set});
}

/* The version changed while it was read: what came may be of either. */
static void hide_blocks(struct fetch *f)
{
    struct cache_obj *obj = f->obj;

    for (uint64_t b = f->first; b < f->set; b++)
        side_clear(&obj->side, b / 64, 1ULL << (b % 64));
    space_punch(obj, f->first, f->set);
    space_release(obj->cache, obj->entry, charge_of(obj, f->first, f->set));
}

static void get_done(struct store_req *req)
{
    struct fetch *f = container_of(req, struct fetch, req);
    struct cache_obj *obj = f->obj;
    int error = req->error;

    show_blocks(f, MIN(req->got, req->length));
    if (error == 0 && f->set < f->end)
        error = -EIO; /* a store that says yes and sends less */
    if (f->set < f->end) {
        uint64_t charge = charge_of(obj, f->set, f->end);
        obj->cache->inflight_bytes -= charge;
        space_punch(obj, f->set, f->end);
        space_release(obj->cache, obj->entry, charge);
    }
    if (error == -ESTALE && f->set > f->first)
        hide_blocks(f);
    if (error == -ENOENT)
        error = -ESTALE; /* there was such a version when it was opened */
    if (error < 0)
        log_debug("cache", "fetch of %s blocks %llu-%llu: %s %s", log_esc(obj->key),
                  (unsigned long long)f->first, (unsigned long long)f->end, strerror(-error),
                  log_esc(req->error_text));
    fetch_finish(f, error);
}

static int reserve_run(struct cache_obj *obj, uint64_t first, uint64_t must_end, uint64_t *end)
{
    struct cache *cache = obj->cache;
    bool must_all = must_end >= *end;

    int r = space_reserve(cache, obj->entry, charge_of(obj, first, *end), must_all);
    if (r == 0 || must_all || must_end <= first)
        return r;
    *end = must_end;
    return space_reserve(cache, obj->entry, charge_of(obj, first, *end), true);
}

int fetch_get(struct cache_obj *obj, uint64_t first, uint64_t end, uint64_t must_end)
{
    must(obj->store);
    int r = reserve_run(obj, first, must_end, &end);
    if (r < 0)
        return r;
    struct fetch *f = fetch_alloc(obj, first, end);
    if (!f) {
        space_release(obj->cache, obj->entry, charge_of(obj, first, end));
        return -ENOMEM;
    }
    uint64_t offset = first * BLOCK_BYTES;
    f->is_get = true;
    f->req = (struct store_req){
        .op = STORE_GET,
        .key = obj->key,
        .if_match = obj->etag[0] ? obj->etag : NULL,
        .offset = offset,
        .length = MIN(end * BLOCK_BYTES, obj->side.object_size) - offset,
        .sink = {.fd = obj->data_fd,
                 .fd_offset = offset,
                 .object_size = obj->side.object_size,
                 .block_crcs = f->crcs,
                 .progress = get_progress},
        .done = get_done,
    };
    obj->cache->inflight_bytes += charge_of(obj, first, end);
    store_submit(obj->store, &f->req);
    return 0;
}

/* On a pool thread: which blocks still are what was written in another boot? */
static void verify_run(struct work *work)
{
    struct fetch *f = container_of(work, struct fetch, work);
    const struct cache_obj *obj = f->obj;
    _cleanup_(freep) uint8_t *buf = malloc(BLOCK_BYTES);

    if (!buf) {
        f->error = -ENOMEM;
        return;
    }
    f->error = side_crcs(&obj->side, f->first, f->end, f->crcs);
    for (uint64_t b = f->first; f->error == 0 && b < f->end; b++) {
        uint64_t offset = b * BLOCK_BYTES;
        size_t want = MIN((uint64_t)BLOCK_BYTES, obj->side.object_size - offset), got;
        if (fd_pread_full(obj->data_ro, buf, want, offset, &got) == 0 && got == want &&
            digest_crc32c(0, buf, want) == f->crcs[b - f->first])
            f->good |= 1ULL << (b - f->first);
    }
}

static void verify_done(struct work *work)
{
    struct fetch *f = container_of(work, struct fetch, work);
    struct cache_obj *obj = f->obj;
    int error = f->error == -ENOMEM ? -ENOMEM : 0;

    for (uint64_t b = f->first; error == 0 && b < f->end; b++) {
        if (f->good >> (b - f->first) & 1) {
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
    struct fetch *f = fetch_alloc(obj, first, end);

    if (!f)
        return -ENOMEM;
    f->work = (struct work){.run = verify_run, .done = verify_done};
    pool_submit(obj->cache->pool, &f->work);
    return 0;
}
