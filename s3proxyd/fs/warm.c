/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The objects of a warming: opened in the order of the listing, cut into pieces, several pieces at once. */
#include "s3proxyd/fs/warm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/limits.h"
#include "proto/sidecar.h"
#include "s3proxyd/fs/warm-int.h"

#define RUNNING_MAX_BYTES (64ull * 1024 * 1024) /* what a fast line holds, and then some */
#define PIECE_FIRST_BYTES (2ull * 1024 * 1024)  /* larger while they are quick, smaller when slow, so that */
#define PIECE_MIN_BYTES (512ull * 1024)         /* progress shows */
#define PIECE_MAX_BYTES ((uint64_t)PLAN_REQUEST_MAX_BYTES)
#define PIECE_QUICK_NS (500 * NS_PER_MS)
#define PIECE_SLOW_NS (2 * NS_PER_S)
#define TURN_OBJECTS 32u    /* opened before others of the loop have their turn */
#define YIELD_REQUESTS 4u   /* while somebody waits for data from the store */
#define YIELD_NS NS_PER_S
#define BAD_IN_A_ROW_MAX 50u /* then it is the store, not the objects */
#define DISK_BLOCK_BYTES 4096u

struct warm_object {
    struct warm *warm;
    struct cache_obj *obj;
    uint64_t next;   /* where the next piece begins */
    uint64_t bytes, present_bytes;
    unsigned pieces; /* running */
    int error;
};

/* ---- room */

static uint64_t disk_blocks(uint64_t bytes)
{
    return (bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
}

/* As the cache charges it. */
static uint64_t room_of(uint64_t size)
{
    return disk_blocks(size) + disk_blocks(sidecar_file_bytes(size));
}

/* All that the cache may hold: its bound, or what min_free leaves of the disk. */
static uint64_t capacity(const struct warm *w, const struct cache_stats *st)
{
    struct statvfs vfs;
    if (statvfs(w->config.cache_dir, &vfs) < 0)
        return st->size_bytes;
    uint64_t keep = w->config.min_free_bytes + w->running_bytes;
    uint64_t avail = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return MIN(st->size_bytes, st->used_bytes + (avail > keep ? avail - keep : 0));
}

/* What others have fetched since we began is younger than what we brought first: evicting it is not ours to
 * hope for. */
static bool has_room(const struct warm *w, uint64_t size)
{
    struct cache_stats st;
    cache_stats(w->config.cache, &st);
    uint64_t all = st.fetched_bytes - w->fetched_before;
    uint64_t ours = w->own_bytes + w->running_bytes;
    uint64_t others = all > ours ? all - ours : 0;
    uint64_t cap = capacity(w, &st), need = room_of(size);
    return st.used_bytes <= st.size_bytes && need <= cap && w->mine_bytes + others <= cap - need;
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
        w->mine_bytes -= room_of(size);
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
        w->own_bytes += len;
    }
}

static void adapt(struct warm *w, uint64_t len, uint64_t took_ns)
{
    if (len < w->piece_bytes)
        return;
    if (took_ns < PIECE_QUICK_NS)
        w->piece_bytes = MIN(w->piece_bytes * 2, PIECE_MAX_BYTES);
    else if (took_ns > PIECE_SLOW_NS)
        w->piece_bytes = MAX(w->piece_bytes / 2, PIECE_MIN_BYTES);
}

static bool all_started(const struct warm_object *o)
{
    return o->error || o->warm->stopping || o->warm->stats.full ||
           o->next == cache_obj_size(o->obj);
}

static void piece_done(struct cache_wait *wait, int error)
{
    struct warm_piece *p = container_of(wait, struct warm_piece, wait);
    struct warm_object *o = p->object;
    struct warm *w = o->warm;
    p->object = NULL;
    w->running--;
    w->running_bytes -= p->len;
    o->pieces--;
    adapt(w, p->len, clock_mono_ns() - p->began_ns);
    piece_result(o, p->len, error, false);
    if (o->pieces == 0 && all_started(o))
        object_over(o);
    warm_go_on(w);
}

static struct warm_piece *free_piece(struct warm *w)
{
    for (unsigned i = 0; i < w->config.requests; i++)
        if (!w->pieces[i].object)
            return &w->pieces[i];
    return NULL;
}

static void start_piece(struct warm *w)
{
    struct warm_object *o = w->current;
    struct warm_piece *p = free_piece(w);
    must(p);
    uint64_t offset = o->next, len = MIN(w->piece_bytes, cache_obj_size(o->obj) - offset);
    o->next += len;
    *p = (struct warm_piece){
        .wait = {.done = piece_done}, .object = o, .len = len, .began_ns = clock_mono_ns()};
    int r = cache_fill_start(o->obj, offset, len, NULL, &p->wait);
    if (r == -EINPROGRESS) {
        o->pieces++;
        w->running++;
        w->running_bytes += len;
        w->own_fills++;
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
    w->mine_bytes += room_of(e->size);
    w->current = o;
}

/* ---- the course */

/* Others wait for fills of their own: theirs go first. */
static bool others_wait(struct warm *w)
{
    struct cache_stats st;
    cache_stats(w->config.cache, &st);
    uint64_t others = st.fills - w->fills_before - w->own_fills, now = clock_mono_ns();
    if (others != w->others)
        w->yield_ns = now + YIELD_NS;
    w->others = others;
    return now < w->yield_ns;
}

static bool may_start(struct warm *w)
{
    if (w->stopping || w->stats.full || w->running == w->config.requests ||
        w->running_bytes >= RUNNING_MAX_BYTES)
        return false;
    return w->running < YIELD_REQUESTS || !others_wait(w);
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
    w->fills_before = st.fills;
    w->piece_bytes = PIECE_FIRST_BYTES;
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

void warm_stats(const struct warm *w, struct warm_stats *ret)
{
    *ret = w->stats;
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
