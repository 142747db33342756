/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The objects of a warming: opened in the order of the listing, cut into pieces, several pieces at once. */
#include "s3proxyd/fs/warm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/limits.h"
#include "s3proxyd/fs/warm-int.h"

#define PIECE_FIRST_BYTES (2ull * 1024 * 1024) /* until it is known how fast the store is */
#define DISK_BLOCK_BYTES 4096u /* the cache counts whole ones */
#define TURN_OBJECTS 32u    /* opened before others of the loop have their turn */
#define BAD_IN_A_ROW_MAX 50u /* then it is the store, not the objects */

struct warm_object {
    struct warm *warm;
    struct cache_obj *obj;
    uint64_t next;   /* where the next piece begins */
    uint64_t bytes, present_bytes;
    unsigned pieces; /* running */
    int error;
};

/* ---- room */

/* What others have fetched since we began is younger than what we brought first: evicting it is not ours to
 * hope for. */
static bool has_room(const struct warm *w, uint64_t size)
{
    struct cache_stats st;
    cache_stats(w->config.cache, &st);
    uint64_t all = st.fetched_bytes - w->fetched_before;
    uint64_t ours = w->own_bytes + w->running_bytes;
    uint64_t others = all > ours ? all - ours : 0;
    uint64_t room = cache_room(w->config.cache), need = cache_charge(size);
    return need <= room && w->mine_bytes + others <= room - need;
}

/* ---- objects */

static void fail(struct warm *w, const char *key, int error)
{
    char *copy = w->stats.nfailures < WARM_FAILURES_KEPT ? strdup(key) : NULL;
    w->stats.failed++;
    if (copy)
        w->failures[w->stats.nfailures++] = (struct warm_failure){copy, error};
    if (++w->bad_in_a_row >= BAD_IN_A_ROW_MAX)
        warm_stop(w, error);
}

static void object_over(struct warm_object *o)
{
    struct warm *w = o->warm;
    uint64_t size = cache_obj_size(o->obj);
    if (o->error == 0 && o->bytes == size) {
        w->stats.objects++;
        w->stats.present_objects += o->present_bytes == size;
        w->bad_in_a_row = 0;
    } else {
        w->stats.bytes -= o->bytes;
        w->stats.present_bytes -= o->present_bytes;
        w->mine_bytes -= cache_charge(size);
    }
    if (o->error == -ENOSPC)
        w->stats.full = true;
    else if (o->error)
        w->stats.lost_bytes += size;
    if (o->error == -ESTALE)
        w->stats.changed++;
    else if (o->error && o->error != -ENOSPC)
        fail(w, cache_obj_key(o->obj), o->error);
    if (w->current == o)
        w->current = NULL;
    cache_obj_unref(o->obj);
    free(o);
}

static void piece_result(struct warm_object *o, uint64_t len, int error, bool present)
{
    struct warm *w = o->warm;
    if (error < 0) {
        o->error = o->error ? o->error : error;
        return;
    }
    o->bytes += len;
    w->stats.bytes += len;
    if (present) {
        o->present_bytes += len;
        w->stats.present_bytes += len;
    } else {
        w->own_bytes += (len + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    }
}

static bool all_started(const struct warm_object *o)
{
    return o->error || o->warm->stopping || o->warm->stats.full ||
           o->next == cache_obj_size(o->obj);
}

/* It has ended by itself, or is cancelled. */
static void piece_over(struct warm_piece *p)
{
    struct warm_object *o = take(p->object);
    struct warm *w = o->warm;
    w->running--;
    w->running_bytes -= p->len;
    o->pieces--;
    if (o->pieces == 0 && all_started(o))
        object_over(o);
    warm_go_on(w);
}

static void piece_done(struct cache_wait *wait, int error)
{
    struct warm_piece *p = container_of(wait, struct warm_piece, wait);
    piece_result(p->object, p->len, error, false);
    piece_over(p);
}

static void cancel_pieces(struct warm *w)
{
    for (unsigned i = 0; i < w->config.requests; i++) {
        if (!w->pieces[i].object)
            continue;
        cache_fill_cancel(&w->pieces[i].wait);
        piece_over(&w->pieces[i]);
    }
}

static struct warm_piece *free_piece(struct warm *w)
{
    for (unsigned i = 0; i < w->config.requests; i++)
        if (!w->pieces[i].object)
            return &w->pieces[i];
    return NULL;
}

/* As large as comes in half a second: so long at most a reader who comes has company. */
static uint64_t piece_bytes(const struct warm *w)
{
    const struct pace *pace = &w->config.store->pace;
    if (pace->rate == 0)
        return PIECE_FIRST_BYTES;
    return pace_request_bytes(pace, PLAN_REQUEST_MIN_BYTES, PLAN_REQUEST_MAX_BYTES, BLOCK_BYTES);
}

static void start_piece(struct warm *w)
{
    struct warm_object *o = w->current;
    struct warm_piece *p = free_piece(w);
    must(p);
    uint64_t offset = o->next, len = MIN(piece_bytes(w), cache_obj_size(o->obj) - offset);
    o->next += len;
    *p = (struct warm_piece){
        .wait = {.done = piece_done}, .object = o, .offset = offset, .len = len};
    int r = cache_fill_behind(o->obj, offset, len, &p->wait);
    if (r == -EINPROGRESS) {
        o->pieces++;
        w->running++;
        w->running_bytes += len;
    } else {
        p->object = NULL;
        piece_result(o, len, r, true);
    }
    if (!all_started(o))
        return;
    w->current = NULL;
    if (o->pieces == 0)
        object_over(o);
}

static void open_object(struct warm *w, const struct store_entry *e)
{
    struct cache_key key = {.endpoint = w->config.store->endpoint,
                            .bucket = w->config.store->bucket,
                            .key = e->key,
                            .etag = e->etag,
                            .scope = w->config.scope,
                            .size = e->size};
    if (e->size == 0) {
        w->stats.objects++;
        w->stats.present_objects++;
        return;
    }
    if (!has_room(w, e->size)) {
        w->stats.full = true;
        return;
    }
    struct warm_object *o = calloc(1, sizeof(*o));
    int r = !o ? -ENOMEM : !e->etag ? -EIO : 0;
    if (r == 0)
        r = cache_obj_get(w->config.cache, w->config.store, &key, &o->obj);
    if (r == -ENOSPC)
        w->stats.full = true;
    if (r < 0) {
        free(o);
        if (r != -ENOSPC) {
            w->stats.lost_bytes += e->size;
            fail(w, e->key, r);
        }
        return;
    }
    o->warm = w;
    w->mine_bytes += cache_charge(e->size);
    w->current = o;
}

/* ---- the course */

static bool may_start(const struct warm *w)
{
    return !w->stopping && !w->stats.full && w->running < w->config.requests;
}

static bool is_over(const struct warm *w)
{
    if (w->running || warm_list_busy(w) || w->current)
        return false;
    return w->stopping || w->stats.full || warm_list_done(w);
}

static void go_on(void *arg)
{
    struct warm *w = arg;
    unsigned opened = 0;
    if (w->stats.over)
        return;
    if (w->stopping)
        cancel_pieces(w);
    while (may_start(w)) {
        if (w->current) {
            start_piece(w);
            continue;
        }
        if (opened++ == TURN_OBJECTS) {
            warm_go_on(w);
            return;
        }
        const struct store_entry *e = warm_list_next(w);
        if (!e)
            break;
        open_object(w, e);
    }
    struct warm_object *o = w->current;
    if (o && (w->stopping || w->stats.full) && o->pieces == 0)
        object_over(o);
    else if (o && (w->stopping || w->stats.full))
        w->current = NULL; /* its last piece ends it */
    if (!is_over(w))
        return;
    w->stats.over = true;
    w->config.ended(w, w->config.arg);
}

void warm_go_on(struct warm *w)
{
    loop_task_add(w->config.loop, &w->task);
}

int warm_start(const struct warm_config *config, struct warm **ret_warm)
{
    struct cache_stats st;
    struct warm *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->config = *config;
    if (!w->config.requests)
        w->config.requests = WARM_REQUESTS_DEFAULT;
    must(w->config.requests <= WARM_REQUESTS_MAX);
    loop_task_init(&w->task, go_on, w);
    cache_stats(config->cache, &st);
    w->fetched_before = st.fetched_bytes;
    int r = warm_list_start(w);
    if (r < 0) {
        warm_list_fini(w);
        free(w);
        return r;
    }
    *ret_warm = w;
    return 0;
}

void warm_stop(struct warm *w, int error)
{
    if (w->stopping || w->stats.over)
        return;
    w->stopping = true;
    w->stats.error = error;
    warm_list_cancel(w);
    warm_go_on(w);
}

/* They come from the first to the last. */
static uint64_t come_so_far(const struct warm_piece *p)
{
    uint64_t at = p->offset, end = p->offset + p->len;
    while (at < end && cache_obj_present(p->object->obj, at, 1))
        at = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
    return MIN(at, end) - p->offset;
}

void warm_stats(const struct warm *w, struct warm_stats *ret)
{
    *ret = w->stats;
    for (unsigned i = 0; i < w->config.requests; i++)
        if (w->pieces[i].object)
            ret->bytes += come_so_far(&w->pieces[i]);
    ret->requests = w->running;
    ret->failures = w->failures;
}

void warm_free(struct warm *w)
{
    must(w->stats.over);
    loop_task_cancel(&w->task);
    warm_list_fini(w);
    for (size_t i = 0; i < w->stats.nfailures; i++)
        free(w->failures[i].key);
    free(w);
}
