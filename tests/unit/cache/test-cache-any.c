/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Anything at any time: readers, warmers, told and closed handles, replaced objects, failing and
 * stalling GETs, in a cache that is too small. Every wait ends, the bytes that are shown are those of
 * the version asked for, and in the end what is charged is what lies on disk. */
#include "tests/unit/cache/rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/limits.h"
#include "s3proxyd/cache/obj.h"

#define OBJECTS 5u
#define HANDLES 12u
#define STEPS 1500u
#define SIZE_MAX_BYTES (3 * MIB)

static struct rig rig;

static struct any {
    struct cache_obj *obj;
    struct cache_history ra;
    unsigned version; /* of the pattern; 0: the store's object has no longer this one */
    struct waited w;
    bool waits, behind;
} handles[HANDLES];

static const char *key_of(unsigned i)
{
    static char key[8];

    snprintf(key, sizeof(key), "k%u", i);
    return key;
}

static uint64_t some(uint64_t n)
{
    return (uint64_t)random() % n;
}

static void open_one(struct any *h)
{
    const char *key = key_of((unsigned)some(OBJECTS));

    if (!fake_find(rig.fake, key) || some(12) == 0)
        fake_put_pattern(rig.fake, key, 1 + some(SIZE_MAX_BYTES));
    struct fake_object *o = fake_find(rig.fake, key);
    must(sscanf(o->etag, "\"v%u\"", &h->version) == 1);
    h->obj = rig_get(&rig, key);
    memset(&h->ra, 0, some(4) ? sizeof(h->ra) : 0); /* another version with the old history, too */
}

static void close_one(struct any *h)
{
    cache_reader_gone(h->obj);
    if (some(20) == 0)
        cache_obj_revoke(h->obj);
    cache_obj_unref(h->obj);
    h->obj = NULL;
}

static void look(struct any *h, uint64_t offset, uint64_t len)
{
    static uint8_t buf[MIB];
    size_t got;

    if (cache_obj_pread(h->obj, buf, offset, MIN(len, (uint64_t)sizeof(buf)), &got) < 0)
        return;
    for (size_t i = 0; i < got; i += 61)
        assert_int_equal(buf[i], fake_pattern_byte(offset + i, h->version));
}

static void read_one(struct any *h, bool behind)
{
    uint64_t offset = some(cache_obj_size(h->obj)), len = 1 + some(700 * KIB);

    h->w = (struct waited){.wait.done = waited_done};
    int r = behind ? cache_fill_behind(h->obj, offset, len, &h->w.wait)
                   : cache_fill_start(h->obj, offset, len, &h->ra, &h->w.wait);
    h->waits = r == -EINPROGRESS;
    h->behind = behind;
    if (r == 0)
        look(h, offset, len);
}

static void trouble(void)
{
    static const int errors[] = {-EIO, -ESTALE, -ENOENT, -ECANCELED, -ENOSPC};

    fake_no_failures(rig.fake);
    rig.fake->step_bytes = 1 + some(300 * KIB);
    if (some(3) == 0) {
        rig.fake->fail_op_mask = 1u << STORE_GET;
        rig.fake->fail_error = errors[some(ARRAY_SIZE(errors))];
        rig.fake->fail_at_bytes = some(MIB);
        rig.fake->fail_count = 1 + (unsigned)some(3);
    }
    rig.fake->stall_count = some(100) == 0;
    rig.fake->stall_at_bytes = some(MIB);
}

static bool turned(void *n)
{
    return ++*(unsigned *)n > 3;
}

static void step(struct any *h)
{
    unsigned turns = 0;

    if (h->waits && h->w.done) {
        h->waits = false;
        if (h->w.error == 0)
            look(h, h->w.wait.offset, h->w.wait.len);
    }
    if (!h->obj)
        open_one(h);
    else if (h->waits && some(6) == 0) {
        cache_fill_cancel(&h->w.wait);
        h->waits = false;
    } else if (!h->waits && some(5) == 0)
        close_one(h);
    else if (!h->waits)
        read_one(h, some(4) == 0);
    else if (some(3) == 0)
        cache_told(h->obj, some(cache_obj_size(h->obj) + 1), &h->ra);
    if (some(10) == 0)
        trouble();
    if (some(60) == 0)
        cache_make_room(rig.cache, some(2) << 60);
    rig_until(&rig, turned, &turns);
}

static void test_anything(void **state)
{
    const char *env = getenv("HAFIZ_TEST_SEED");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : 20261121;

    (void)state;
    printf("seed %u (HAFIZ_TEST_SEED)\n", seed);
    srandom(seed);
    rig_up(&rig, 5 * MIB);
    for (unsigned i = 0; i < STEPS; i++)
        step(&handles[some(HANDLES)]);
    fake_no_failures(rig.fake);
    rig.fake->stall_count = 0;
    for (struct any *h = handles; h < handles + HANDLES; h++) {
        if (h->waits)
            rig_until(&rig, waited_is_done, &h->w);
        if (h->obj)
            close_one(h);
    }
    rig_idle(&rig);
    assert_int_equal(rig.cache->inflight_bytes, 0);
    assert_int_equal(rig.cache->nopen, 0);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
    rig_down(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_anything)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
