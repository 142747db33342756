/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Makes ranges present: who waits for what, which absent runs need a fetch (a block is in at most
 * one), and who is woken when one arrives or fails. */
#include "s3proxyd/cache/fill.h"

#include <errno.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/cache/fetch.h"

#define ONE_REQUEST_BYTES (1024u * 1024) /* a read and what is read ahead of it, together */
#define AHEAD_CACHE_SHARE 8u /* one reader's window is at most this part of the cache */

static struct obj_span span_of(uint64_t offset, uint64_t len)
{
    return (struct obj_span){offset / BLOCK_BYTES, (offset + len - 1) / BLOCK_BYTES + 1};
}

static bool overlap(struct obj_span a, struct obj_span b)
{
    return a.first < b.end && b.first < a.end;
}

static uint64_t word_mask(struct obj_span s, uint64_t word)
{
    uint64_t base = word * 64;

    if (!overlap(s, (struct obj_span){base, base + 64}))
        return 0;
    uint64_t lo = s.first > base ? s.first - base : 0, hi = MIN(s.end - base, (uint64_t)64);
    return (hi == 64 ? UINT64_MAX : (1ULL << hi) - 1) & ~((1ULL << lo) - 1);
}

uint64_t fill_busy_mask(const struct cache_obj *obj, uint64_t word, bool recent_too)
{
    const struct fetch *f;
    const struct cache_wait *wait;
    uint64_t mask = 0;

    list_for_each (f, &obj->fetches, link)
        mask |= word_mask((struct obj_span){f->first, f->end}, word);
    list_for_each (wait, &obj->waits, link)
        mask |= word_mask(span_of(wait->offset, wait->len), word);
    mask |= word_mask(obj->filling, word);
    uint64_t now = clock_mono_ns();
    for (unsigned i = 0; i < OBJ_RECENT && !recent_too; i++)
        if (obj->recent[i].at_ns && now - obj->recent[i].at_ns < OBJ_RECENT_NS)
            mask |= word_mask(obj->recent[i].span, word);
    return mask;
}

/* The fetch that holds `block`, or NULL; *limit shrinks to the next fetch's start. */
static struct fetch *under_way(const struct cache_obj *obj, uint64_t block, uint64_t *limit)
{
    struct fetch *f;

    list_for_each (f, &obj->fetches, link) {
        if (f->first <= block && block < f->end)
            return f;
        if (f->first > block)
            *limit = MIN(*limit, f->first);
    }
    return NULL;
}

static bool is_present(const struct cache_obj *obj, uint64_t block)
{
    return side_all_present(&obj->side, block, block + 1);
}

/* Starts one fetch at the absent block b, of no more than [b, limit). *ret_end: where it ends. */
static int fetch_run(struct cache_obj *obj, uint64_t b, uint64_t limit, uint64_t must_end,
                     enum fetch_need need, uint64_t *ret_end)
{
    bool stored = side_stored(&obj->side, b);
    uint64_t run = b + 1;

    while (run < limit && !is_present(obj, run) && side_stored(&obj->side, run) == stored)
        run++;
    if (!stored)
        return fetch_get(obj, b, run, must_end, need, ret_end);
    int r = fetch_verify(obj, b, run);
    if (r == 0)
        *ret_end = run;
    return r;
}

/* Fetches every absent run of [first, end), in requests of at most `request` blocks. Those before
 * must_end are needed, the rest is welcome, or for who is behind readers. Returns the first error of what
 * is not just welcome. */
static int fetch_runs(struct cache_obj *obj, struct obj_span span, uint64_t must_end,
                      uint64_t request, enum fetch_need rest)
{
    must(request > 0 && request <= FETCH_MAX_BLOCKS);
    for (uint64_t b = span.first; b < span.end;) {
        uint64_t limit = MIN(span.end, b + request);
        if (is_present(obj, b)) {
            b++;
            continue;
        }
        struct fetch *f = under_way(obj, b, &limit);
        if (f) {
            uint64_t past = f->end;
            fetch_want(f, b < must_end ? FETCH_NEEDED : rest);
            b = past;
            continue;
        }
        int r = fetch_run(obj, b, limit, must_end, b < must_end ? FETCH_NEEDED : rest, &b);
        if (r < 0)
            return b < must_end || rest == FETCH_BEHIND ? r : 0; /* ahead: later perhaps */
    }
    return 0;
}

/* The same. What is present of the span does not make room for the rest: nobody would bring it again. */
static int fetch_absent(struct cache_obj *obj, struct obj_span span, uint64_t must_end,
                        uint64_t request, enum fetch_need rest)
{
    struct obj_span before = obj->filling;

    obj->filling = span;
    int r = fetch_runs(obj, span, must_end, request, rest);
    obj->filling = before;
    return r;
}

/* Runs done() for every wait of the list; it may free or reuse the wait. */
static void answer(struct list *waits)
{
    struct cache_wait *wait;

    while ((wait = list_first(waits, struct cache_wait, link))) {
        struct cache_obj *obj = wait->obj;
        list_del(&wait->link);
        wait->obj = NULL;
        wait->done(wait, wait->error);
        cache_obj_unref(obj);
    }
}

void fill_arrived(struct cache_obj *obj, struct obj_span span)
{
    struct list ready = LIST_INIT(ready);
    struct cache_wait *wait, *next;

    list_for_each_safe (wait, next, &obj->waits, link) {
        struct obj_span want = span_of(wait->offset, wait->len);
        if (!overlap(want, span) || !side_all_present(&obj->side, want.first, want.end))
            continue;
        list_del(&wait->link);
        list_add_tail(&ready, &wait->link);
    }
    cache_obj_ref(obj);
    answer(&ready);
    cache_obj_unref(obj);
}

/* Does the wait still need a block of span? */
static bool needs(const struct cache_obj *obj, struct obj_span want, struct obj_span span)
{
    uint64_t first = MAX(want.first, span.first), end = MIN(want.end, span.end);

    return first < end && !side_all_present(&obj->side, first, end);
}

void fill_ended(struct cache_obj *obj, struct obj_span span, int error)
{
    struct list ready = LIST_INIT(ready);
    struct cache_wait *wait, *next;

    list_for_each_safe (wait, next, &obj->waits, link) {
        struct obj_span want = span_of(wait->offset, wait->len);
        bool lacks = needs(obj, want, span);
        wait->error = lacks ? error : 0;
        if (lacks && error == 0) {
            wait->error = fetch_absent(obj, want, wait->behind ? 0 : want.end, FETCH_MAX_BLOCKS,
                                       FETCH_BEHIND);
            if (wait->error == 0)
                continue;
        }
        if (wait->error == 0 && !side_all_present(&obj->side, want.first, want.end))
            continue;
        list_del(&wait->link);
        list_add_tail(&ready, &wait->link);
    }
    cache_obj_ref(obj);
    answer(&ready);
    cache_obj_unref(obj);
}

static struct plan_limits limits_of(const struct cache_obj *obj)
{
    uint64_t share = obj->cache->size_bytes / AHEAD_CACHE_SHARE;
    const struct pace *pace = &obj->store->pace;
    uint64_t window = pace_window_bytes(pace, PLAN_WINDOW_MIN_BYTES, PLAN_WINDOW_MAX_BYTES);

    return (struct plan_limits){
        .object_size = obj->side.object_size,
        .window_bytes = MIN(share, window),
        .request_bytes =
            pace_request_bytes(pace, PLAN_REQUEST_MIN_BYTES, PLAN_REQUEST_MAX_BYTES, BLOCK_BYTES),
    };
}

/* Where the request ends that brings [.., end): what is read ahead right behind it comes along while that is
 * little. A small file is one request then, and cannot be replaced between two. */
static uint64_t one_request(struct obj_span want, uint64_t end, const struct plan *plan)
{
    const struct plan_range *r = &plan->ranges[0];

    if (plan->n == 0 || r->offset != end)
        return want.end;
    uint64_t until = span_of(r->offset, r->len).end;
    uint64_t most = want.first + ONE_REQUEST_BYTES / BLOCK_BYTES;
    until = MIN(until, most);
    return MAX(until, want.end);
}

static void read_ahead(struct cache_obj *obj, const struct plan *plan)
{
    for (unsigned i = 0; i < plan->n; i++)
        fetch_absent(obj, span_of(plan->ranges[i].offset, plan->ranges[i].len), 0,
                     plan->request_bytes / BLOCK_BYTES, FETCH_AHEAD);
}

static int wait_on(struct cache_wait *wait, struct cache_obj *obj, uint64_t offset, uint64_t len,
                   bool behind)
{
    wait->obj = cache_obj_ref(obj);
    wait->offset = offset;
    wait->len = len;
    wait->error = 0;
    wait->behind = behind;
    list_add_tail(&obj->waits, &wait->link);
    return -EINPROGRESS;
}

int cache_fill_start(struct cache_obj *obj, uint64_t offset, uint64_t len, struct cache_history *ra,
                     struct cache_wait *wait)
{
    struct cache *cache = obj->cache;
    uint64_t size = obj->side.object_size;
    struct plan plan = {0};
    int r = 0;

    if (offset >= size || len == 0)
        return 0;
    len = MIN(len, size - offset);
    struct obj_span want = span_of(offset, len);
    obj_touch(obj);
    obj_note_recent(obj, want);
    if (ra && obj->store) {
        struct plan_limits limits = limits_of(obj);
        plan_read(&ra->plan, offset, len, &limits, &plan);
        ra->tell_at = plan.tell_at;
    }
    bool hit = side_all_present(&obj->side, want.first, want.end);
    if (!hit)
        r = fetch_absent(obj, (struct obj_span){want.first, one_request(want, offset + len, &plan)},
                         want.end, FETCH_MAX_BLOCKS, FETCH_AHEAD);
    if (r == 0)
        read_ahead(obj, &plan);
    if (hit) {
        cache->stats.hits++;
        return 0;
    }
    if (r < 0)
        return r;
    cache->stats.fills++;
    return wait_on(wait, obj, offset, len, false);
}

int cache_fill_behind(struct cache_obj *obj, uint64_t offset, uint64_t len,
                      struct cache_wait *wait)
{
    uint64_t size = obj->side.object_size;

    if (offset >= size || len == 0)
        return 0;
    len = MIN(len, size - offset);
    struct obj_span want = span_of(offset, len);
    obj_touch(obj);
    if (side_all_present(&obj->side, want.first, want.end))
        return 0;
    int r = fetch_absent(obj, want, 0, FETCH_MAX_BLOCKS, FETCH_BEHIND);
    if (r < 0) {
        fetch_drop(obj, FETCH_BEHIND); /* what was begun for it */
        return r;
    }
    return wait_on(wait, obj, offset, len, true);
}

void cache_fill_cancel(struct cache_wait *wait)
{
    struct cache_obj *obj = take(wait->obj);

    list_del(&wait->link);
    if (wait->behind)
        fetch_drop(obj, FETCH_BEHIND);
    cache_obj_unref(obj);
}

void cache_told(struct cache_obj *obj, uint64_t offset, struct cache_history *ra)
{
    struct plan_limits limits = limits_of(obj);
    struct plan plan;

    obj_touch(obj);
    plan_told(&ra->plan, offset, &limits, &plan);
    ra->tell_at = plan.tell_at;
    read_ahead(obj, &plan);
}

void cache_reader_gone(struct cache_obj *obj)
{
    fetch_drop(obj, FETCH_AHEAD);
}
