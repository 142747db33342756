/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Bytes arrive: store threads write them into the data file; here, on the main loop, blocks become
 * present. */
#include "s3proxyd/cache/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "s3proxyd/cache/fill.h"
#include "s3proxyd/cache/space.h"

_Static_assert(PLAN_REQUEST_MAX_BYTES % BLOCK_BYTES == 0, "whole blocks");

#define READER_QUIET_NS NS_PER_S /* between two reads of somebody who reads on */
#define SMALL_BLOCKS 8u

static void queue_pump(struct cache *cache);

static bool readers_busy(const struct cache *cache)
{
    return cache->nreaders > 0 ||
           (cache->reader_ns && clock_mono_ns() - cache->reader_ns < READER_QUIET_NS);
}

/* Would more run, if the pace let them? */
static bool more_wanted(const struct cache *cache)
{
    return !list_empty(&cache->queue) || (!list_empty(&cache->behind) && !readers_busy(cache));
}

static uint64_t charge_of(const struct cache_obj *obj, uint64_t first, uint64_t end)
{
    if (first == end)
        return 0;
    return (end - 1 - first) * BLOCK_BYTES + side_block_charge(&obj->side, end - 1);
}

struct fetch *fetch_alloc(struct cache_obj *obj, uint64_t first, uint64_t end)
{
    struct fetch *f = calloc(1, sizeof(*f));

    must(first < end && end - first <= FETCH_MAX_BLOCKS && end <= obj->side.blocks);
    if (!f)
        return NULL;
    f->first = f->set = first;
    f->end = end;
    f->obj = cache_obj_ref(obj);
    list_init(&f->gets);
    list_add_tail(&obj->fetches, &f->link);
    obj->cache->nfetches++;
    return f;
}

static void uncount(struct fetch *f)
{
    struct cache *cache = f->obj->cache;

    if (!f->counted)
        return;
    if (f->counted == &cache->nreaders)
        cache->reader_ns = clock_mono_ns();
    --*f->counted;
    f->counted = NULL;
}

static void count(struct fetch *f)
{
    struct cache *cache = f->obj->cache;

    uncount(f);
    f->counted = f->need == FETCH_BEHIND ? &cache->nbehind : &cache->nreaders;
    ++*f->counted;
}

static void fetch_free(struct fetch *f)
{
    struct cache_obj *obj = f->obj;

    uncount(f);
    list_del(&f->link);
    list_del(&f->gets);
    obj->cache->nfetches--;
    for (unsigned i = 0; i < ARRAY_SIZE(f->legs); i++) {
        if (f->legs[i])
            store_req_fini(&f->legs[i]->req);
        free(f->legs[i]);
    }
    free(f);
    cache_obj_unref(obj);
}

void fetch_finish(struct fetch *f, int error)
{
    struct cache_obj *obj = cache_obj_ref(f->obj);
    struct obj_span span = {f->first, f->end};

    fetch_free(f);
    fill_ended(obj, span, error);
    cache_obj_unref(obj);
}

bool fetch_leg_running(const struct fetch *f, unsigned i)
{
    return f->legs[i] && f->legs[i]->running;
}

/* ---- what has come */

/* The first `got` bytes of the leg are written: shows the blocks they complete. */
static void show_blocks(struct leg *leg, uint64_t got)
{
    struct fetch *f = leg->fetch;
    struct cache_obj *obj = f->obj;
    uint64_t end = leg->first + got / BLOCK_BYTES;

    if (got >= leg->req.length)
        end = f->end; /* the object's last block may be short */
    if (got > leg->paced)
        pace_bytes(&f->store->pace, got - leg->paced);
    leg->paced = MAX(leg->paced, got);
    if (end <= f->set)
        return;
    side_set(&obj->side, f->set, end, leg->crcs + (f->set - leg->first));
    uint64_t charge = charge_of(obj, f->set, end);
    obj->cache->inflight_bytes -= charge;
    obj->cache->stats.fetched_bytes += charge;
    f->set = end;
    f->moved_ns = clock_mono_ns();
}

static void get_progress(struct store_req *req, uint64_t got)
{
    struct leg *leg = container_of(req, struct leg, req);
    struct fetch *f = leg->fetch;
    uint64_t before = f->set;

    if (f->error) /* stale: what came may be of another version */
        return;
    show_blocks(leg, MIN(got, req->length));
    if (f->set > before)
        fill_arrived(f->obj, (struct obj_span){before, f->set});
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

/* Gives back what was reserved for blocks that did not come. */
static void forget_absent(struct fetch *f)
{
    struct cache_obj *obj = f->obj;
    uint64_t charge = charge_of(obj, f->set, f->end);

    if (f->set == f->end)
        return;
    obj->cache->inflight_bytes -= charge;
    space_punch(obj, f->set, f->end);
    space_release(obj->cache, obj->entry, charge);
}

/* No leg runs any more. */
static void get_over(struct fetch *f)
{
    struct cache *cache = f->obj->cache;
    int error = f->set == f->end && f->error != -ESTALE ? 0 : f->error;

    if (f->abandoned && error == -ECANCELED)
        error = 0;
    forget_absent(f);
    if (error == -ESTALE && f->set > f->first)
        hide_blocks(f);
    fetch_finish(f, error);
    queue_pump(cache);
}

static void leg_done(struct store_req *req)
{
    struct leg *leg = container_of(req, struct leg, req);
    struct fetch *f = leg->fetch;
    struct leg *other = f->legs[leg == f->legs[0]];
    int error = req->error == -ENOENT ? -ESTALE /* there was such a version when it was opened */
                                      : req->error;

    leg->running = false;
    uint64_t before = f->set;
    if (!f->error)
        show_blocks(leg, MIN(req->got, req->length));
    if (error == 0 && f->set < f->end)
        error = -EIO; /* a store that says yes and sends less */
    pace_end(&f->store->pace, more_wanted(f->obj->cache), req->throttled, clock_mono_ns());
    if (error < 0 && error != -ECANCELED)
        log_debug("cache", "fetch of %s blocks %llu-%llu: %s %s", log_esc(f->obj->key),
                  (unsigned long long)f->first, (unsigned long long)f->end, strerror(-error),
                  log_esc(req->error_text));
    bool other_runs = other && other->running;
    if (error == 0)
        f->won = true;
    if (f->won) /* whatever the other one says: it began later, or ended later */
        error = 0;
    if (error < 0 && (!f->error || error == -ESTALE) && (!other_runs || error == -ESTALE))
        f->error = error;
    if (!other_runs) {
        get_over(f);
        return;
    }
    if (f->set == f->end || f->error) /* it has won, or there is nothing to win */
        f->store->impl->cancel(f->store, &other->req);
    if (f->set > before && !f->error) /* the other one may take its time to end */
        fill_arrived(f->obj, (struct obj_span){before, f->set});
}

/* ---- asking */

int fetch_leg(struct fetch *f, unsigned i)
{
    struct cache_obj *obj = f->obj;
    struct leg *leg = calloc(1, sizeof(*leg) + (f->end - f->set) * sizeof(leg->crcs[0]));
    uint64_t offset = f->set * BLOCK_BYTES;

    if (!leg)
        return -ENOMEM;
    leg->fetch = f;
    leg->first = f->set;
    leg->running = true;
    leg->req = (struct store_req){
        .op = STORE_GET,
        .key = obj->key,
        .if_match = obj->etag[0] ? obj->etag : NULL,
        .offset = offset,
        .length = MIN(f->end * BLOCK_BYTES, obj->side.object_size) - offset,
        .sink = {.fd = obj->data_fd,
                 .fd_offset = offset,
                 .object_size = obj->side.object_size,
                 .block_crcs = leg->crcs,
                 .progress = get_progress},
        .done = leg_done,
    };
    f->legs[i] = leg;
    pace_start(&f->store->pace, clock_mono_ns());
    store_submit(f->store, &leg->req);
    return 0;
}

static void enqueue(struct fetch *f)
{
    struct cache *cache = f->obj->cache;

    f->queued = true;
    list_add_tail(f->need == FETCH_BEHIND ? &cache->behind : &cache->queue, &f->gets);
}

/* Of small ones round trips are what takes long, and the line is not full of them: they need no pace, unless
 * the store says so. */
static bool takes_more(const struct fetch *f)
{
    const struct pace *pace = &f->store->pace;
    bool small = f->end - f->first <= SMALL_BLOCKS && pace->hold_ns <= clock_mono_ns();

    return pace_open(pace) || (small && f->need == FETCH_BEHIND);
}

static bool may_start(const struct fetch *f)
{
    const struct cache *cache = f->obj->cache;

    if (f->need == FETCH_NEEDED)
        return true;
    if (f->need == FETCH_BEHIND && cache->nbehind == 0)
        return true; /* however busy others are: it comes to an end some day */
    return takes_more(f) && (f->need == FETCH_AHEAD || !readers_busy(cache));
}

static int first_leg(struct fetch *f)
{
    f->queued = false;
    list_add_tail(&f->obj->cache->running, &f->gets);
    count(f);
    f->began_ns = f->moved_ns = clock_mono_ns();
    hedge_watch(f->obj->cache);
    return fetch_leg(f, 0);
}

/* From the queue. */
static void start(struct fetch *f)
{
    list_del(&f->gets);
    f->error = first_leg(f);
    if (f->error < 0)
        get_over(f);
}

static bool start_one(struct list *queue)
{
    struct fetch *f;

    list_for_each (f, queue, gets) {
        if (!may_start(f))
            continue;
        start(f); /* may change the list */
        return true;
    }
    return false;
}

/* As many of the queues as may start now, readers' first. */
static void queue_pump(struct cache *cache)
{
    while (start_one(&cache->queue) || start_one(&cache->behind))
        ;
}

void fetch_want(struct fetch *f, enum fetch_need need)
{
    if (need <= f->need)
        return;
    f->need = need;
    if (f->counted) {
        count(f);
    } else if (f->queued) {
        list_del(&f->gets);
        enqueue(f);
        if (may_start(f))
            start(f);
    }
}

static bool waited_for(const struct fetch *f)
{
    const struct cache_wait *wait;

    list_for_each (wait, &f->obj->waits, link) {
        uint64_t first = wait->offset / BLOCK_BYTES;
        uint64_t last = (wait->offset + wait->len - 1) / BLOCK_BYTES;
        if (first < f->end && f->first <= last)
            return true;
    }
    return false;
}

static void abandon(struct fetch *f)
{
    if (!f->error)
        f->error = -ECANCELED;
    f->abandoned = true;
    for (unsigned i = 0; i < ARRAY_SIZE(f->legs); i++)
        if (fetch_leg_running(f, i))
            f->store->impl->cancel(f->store, &f->legs[i]->req);
}

void fetch_drop(struct cache_obj *obj, enum fetch_need need)
{
    struct list drop = LIST_INIT(drop);
    struct fetch *f, *next;

    list_for_each_safe (f, next, &obj->fetches, link) {
        if (f->need > need || f->abandoned || waited_for(f))
            continue;
        if (f->counted == &obj->cache->nbehind)
            abandon(f); /* done() comes later */
        if (!f->queued)
            continue;
        list_del(&f->gets);
        list_add_tail(&drop, &f->gets);
    }
    cache_obj_ref(obj);
    while ((f = list_first(&drop, struct fetch, gets))) {
        f->queued = false;
        f->error = -ECANCELED;
        get_over(f);
    }
    cache_obj_unref(obj);
}

/* Disk blocks of the sidecar for these blocks: charged as they are made. */
int fetch_make_side(struct cache_obj *obj, uint64_t first, uint64_t end)
{
    uint64_t lacks = side_lacks(&obj->side, first, end);

    if (!lacks)
        return 0;
    int r = side_make(&obj->side, first, end);
    lacks -= side_lacks(&obj->side, first, end);
    space_recharge(obj->cache, obj->entry, obj->entry->bytes + lacks);
    return r;
}

static int reserve(struct cache_obj *obj, uint64_t first, uint64_t end, bool must_have)
{
    struct cache *cache = obj->cache;
    uint64_t data = charge_of(obj, first, end), lacks = side_lacks(&obj->side, first, end);

    int r = space_reserve(cache, obj->entry, data + lacks, must_have);
    if (r < 0)
        return r;
    space_release(cache, obj->entry, lacks);
    r = fetch_make_side(obj, first, end);
    if (r < 0)
        space_release(cache, obj->entry, data);
    return r;
}

static int reserve_run(struct cache_obj *obj, uint64_t first, uint64_t must_end, uint64_t *end)
{
    bool must_all = must_end >= *end;

    int r = reserve(obj, first, *end, must_all);
    if (r == 0 || must_all || must_end <= first)
        return r;
    *end = must_end;
    return reserve(obj, first, *end, true);
}

int fetch_get(struct cache_obj *obj, uint64_t first, uint64_t end, uint64_t must_end,
              enum fetch_need need, uint64_t *ret_end)
{
    must(obj->store);
    int r = reserve_run(obj, first, must_end, &end);
    if (r < 0)
        return r;
    struct fetch *f = fetch_alloc(obj, first, end);
    r = f ? 0 : -ENOMEM;
    if (f) {
        f->store = obj->store;
        f->need = need;
        if (may_start(f))
            r = first_leg(f);
        else
            enqueue(f);
    }
    if (r < 0) {
        if (f)
            fetch_free(f);
        space_release(obj->cache, obj->entry, charge_of(obj, first, end));
        return r;
    }
    *ret_end = end;
    obj->cache->inflight_bytes += charge_of(obj, first, end);
    return 0;
}
