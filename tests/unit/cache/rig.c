/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See rig.h. */
#include "tests/unit/cache/rig.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "s3proxyd/work/mailbox.h"

#define PATIENCE_NS (60 * NS_PER_S)

struct until {
    struct rig *rig;
    bool (*cond)(void *);
    void *arg;
    uint64_t deadline_ns;
    bool met;
};

static void until_look(void *arg)
{
    struct until *u = ((struct rig *)arg)->until;

    u->met = u->cond(u->arg);
    if (u->met || clock_mono_ns() > u->deadline_ns)
        loop_stop(u->rig->loop);
    else
        loop_timer_set_ms(u->rig->timer, 1);
}

static void cache_up(struct rig *rig)
{
    const char *why = NULL;
    int r = cache_new(rig->loop, rig->pool, &rig->config, &rig->cache, &why);

    if (r < 0)
        fail_msg("cache_new: %s: %s", strerror(-r), why ? why : "");
}

void rig_up(struct rig *rig, uint64_t cache_bytes)
{
    *rig = (struct rig){0};
    snprintf(rig->dir, sizeof(rig->dir), "/tmp/hafiz-cache-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    assert_int_equal(loop_new(&rig->loop), 0);
    assert_int_equal(loop_timer_new(rig->loop, until_look, rig, &rig->timer), 0);
    assert_int_equal(mailbox_new(rig->loop, &rig->home), 0);
    assert_int_equal(pool_new(rig->home, 2, &rig->pool), 0);
    assert_int_equal(fake_new(rig->loop, &rig->fake), 0);
    rig->config = (struct cache_config){.dir = rig->dir, .size_bytes = cache_bytes};
    cache_up(rig);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void rig_until(struct rig *rig, bool (*cond)(void *), void *arg)
{
    struct until u = {rig, cond, arg, clock_mono_ns() + PATIENCE_NS, false};

    if (cond(arg))
        return;
    rig->until = &u;
    loop_timer_set_ms(rig->timer, 0);
    loop_run(rig->loop);
    assert_true(u.met);
}

static bool cache_is_idle(void *arg)
{
    return cache_idle(((struct rig *)arg)->cache);
}

void rig_idle(struct rig *rig)
{
    rig_until(rig, cache_is_idle, rig);
}

/* A fill ends with its last block, a moment before the fetch that brought it. */
static void cache_down(struct rig *rig)
{
    if (rig->cache)
        rig_idle(rig);
    cache_free(rig->cache);
}

void rig_down(struct rig *rig)
{
    cache_down(rig);
    pool_free(rig->pool);
    mailbox_free(rig->home);
    fake_free(rig->fake);
    loop_timer_free(rig->timer);
    loop_free(rig->loop);
    nftw(rig->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void rig_reopen(struct rig *rig, bool clean)
{
    char index[96];

    cache_down(rig);
    if (!clean) {
        snprintf(index, sizeof(index), "%s/index", rig->dir);
        unlink(index);
    }
    cache_up(rig);
}

struct cache_obj *rig_get(struct rig *rig, const char *key)
{
    struct fake_object *o = fake_find(rig->fake, key);
    struct cache_obj *obj = NULL;

    assert_non_null(o);
    struct cache_key ck = {"http://fake", "b", key, o->etag, 7, o->size};
    assert_int_equal(cache_obj_get(rig->cache, &rig->fake->store, &ck, &obj), 0);
    return obj;
}

void waited_done(struct cache_wait *wait, int error)
{
    struct waited *w = container_of(wait, struct waited, wait);

    assert_false(w->done);
    w->done = true;
    w->error = error;
}

bool waited_is_done(void *waited)
{
    return ((struct waited *)waited)->done;
}

int rig_fill(struct rig *rig, struct cache_obj *obj, uint64_t offset, uint64_t len,
             struct cache_history *ra)
{
    struct waited w = {.wait.done = waited_done};
    int r = cache_fill_start(obj, offset, len, ra, &w.wait);

    if (r != -EINPROGRESS)
        return r;
    assert_false(w.done);
    rig_until(rig, waited_is_done, &w);
    return w.error;
}

void rig_read_check(struct rig *rig, struct cache_obj *obj, const struct fake_object *o,
                    uint64_t offset, uint64_t len, struct cache_history *ra)
{
    uint8_t *buf = malloc(len);
    size_t got = 0;

    assert_non_null(buf);
    assert_int_equal(rig_fill(rig, obj, offset, len, ra), 0);
    assert_int_equal(cache_obj_pread(obj, buf, offset, len, &got), 0);
    uint64_t want = offset >= o->size ? 0 : MIN(len, o->size - offset);
    assert_int_equal(got, want);
    assert_memory_equal(buf, o->data + offset, want);
    free(buf);
}

struct cache_stats rig_stats(const struct rig *rig)
{
    struct cache_stats stats;

    cache_stats(rig->cache, &stats);
    return stats;
}

static uint64_t counted;
static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (type == FTW_F)
        counted += (uint64_t)st->st_blocks * 512;
    return 0;
}

uint64_t rig_disk_bytes(const struct rig *rig)
{
    char path[96];

    counted = 0;
    snprintf(path, sizeof(path), "%s/objects", rig->dir);
    nftw(path, count_one, 16, FTW_PHYS);
    return counted;
}
