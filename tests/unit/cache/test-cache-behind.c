/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Fills that are behind readers: who is asked for first, and how they end early. Told by what the store was
 * asked for, and in which order, never by time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/cache/rig.h"

#include "proto/base/must.h"
#include "proto/limits.h"

#define N 24u

static struct rig rig;
static struct cache_obj *objs[N];
static struct waited waits[N];

static int up(void **state)
{
    (void)state;
    rig_up(&rig, 1024 * MIB);
    return 0;
}

static int down(void **state)
{
    (void)state;
    rig_down(&rig);
    return 0;
}

static struct cache_stats stats(void)
{
    struct cache_stats st;

    cache_stats(rig.cache, &st);
    return st;
}

/* N objects b0, b1, …, all of each. */
static void begin_behind(uint64_t size)
{
    char key[16];

    for (unsigned i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "b%u", i);
        fake_put_pattern(rig.fake, key, size);
        objs[i] = rig_get(&rig, key);
        waits[i] = (struct waited){.wait.done = waited_done};
        assert_int_equal(cache_fill_behind(objs[i], 0, size, &waits[i].wait), -EINPROGRESS);
    }
}

static unsigned ndone(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < N; i++)
        n += waits[i].done && waits[i].error == 0;
    return n;
}

static bool all_done(void *arg)
{
    (void)arg;
    return ndone() == N;
}

static bool is_done(void *arg)
{
    return ((struct waited *)arg)->done;
}

static void unref_all(void)
{
    for (unsigned i = 0; i < N; i++)
        cache_obj_unref(objs[i]);
}

static struct cache_obj *read_begin(const char *key, uint64_t len, struct cache_history *ra,
                                    struct waited *w)
{
    struct cache_obj *obj = rig_get(&rig, key);

    *w = (struct waited){.wait.done = waited_done};
    assert_int_equal(cache_fill_start(obj, 0, len, ra, &w->wait), -EINPROGRESS);
    return obj;
}

static void test_alone_it_takes_what_the_store_takes(void **state)
{
    (void)state;
    rig.fake->hold = true;
    begin_behind(MIB);
    assert_int_equal(rig.fake->in_flight, PACE_FIRST);
    fake_release(rig.fake);
    rig_until(&rig, all_done, NULL);
    assert_int_equal(rig.fake->ops[STORE_GET], N);
    assert_true(rig.fake->max_in_flight >= PACE_FIRST);
    assert_int_equal(stats().fills + stats().hits, 0); /* these are readers' */
    unref_all();
}

static void test_small_ones_go_all_at_once(void **state)
{
    (void)state;
    rig.fake->hold = true;
    begin_behind(64 * KIB);
    assert_int_equal(rig.fake->in_flight, N);
    fake_release(rig.fake);
    rig_until(&rig, all_done, NULL);
    unref_all();
}

static void test_after_slow_down_small_ones_wait_too(void **state)
{
    (void)state;
    rig.fake->store.pace.hold_ns = UINT64_MAX;
    rig.fake->hold = true;
    begin_behind(64 * KIB);
    assert_int_equal(rig.fake->in_flight, PACE_FIRST);
    fake_release(rig.fake);
    rig_until(&rig, all_done, NULL);
    unref_all();
}

static void test_beside_a_reader_it_is_one(void **state)
{
    struct waited w;

    (void)state;
    fake_put_pattern(rig.fake, "r", MIB);
    rig.fake->hold_key = "r";
    struct cache_obj *obj = read_begin("r", MIB, NULL, &w);
    begin_behind(64 * KIB);
    assert_int_equal(rig.fake->in_flight, 2);
    rig_until(&rig, all_done, NULL); /* it does not stand still either */
    assert_false(w.done);
    assert_true(rig.fake->max_in_flight <= 3); /* the reader's may be hedged */
    fake_release(rig.fake);
    rig_until(&rig, is_done, &w);
    cache_obj_unref(obj);
    unref_all();
}

static void test_a_reader_who_comes_goes_first(void **state)
{
    struct cache_history ra = {0};
    struct waited w;

    (void)state;
    rig.fake->hold = true;
    begin_behind(MIB);
    fake_put_pattern(rig.fake, "r", 100 * MIB);
    struct cache_obj *obj = read_begin("r", MIB, &ra, &w);
    assert_int_equal(rig.fake->in_flight, PACE_FIRST + 1); /* waits for none of them */
    for (uint64_t at = 0; at < 20 * MIB; at += MIB)
        cache_told(obj, at, &ra);
    assert_int_equal(rig.fake->in_flight, PACE_FIRST + 1);
    fake_release(rig.fake);
    rig_until(&rig, all_done, NULL);
    rig_idle(&rig);
    const char *later = rig.fake->gets + PACE_FIRST;
    assert_true(strspn(later, "r") >= 3); /* read-ahead, too, before the next one of the others */
    assert_int_equal(w.error, 0);
    cache_obj_unref(obj);
    unref_all();
}

static void test_what_a_reader_wants_of_it_is_his(void **state)
{
    struct waited w;

    (void)state;
    rig.fake->hold = true;
    begin_behind(MIB);
    assert_int_equal(rig.fake->in_flight, PACE_FIRST);
    struct cache_obj *obj = read_begin("b20", 4096, NULL, &w); /* it stood in the queue */
    assert_int_equal(rig.fake->in_flight, PACE_FIRST + 1);
    fake_release(rig.fake);
    rig_until(&rig, is_done, &w);
    rig_until(&rig, all_done, NULL);
    assert_int_equal(rig.fake->ops[STORE_GET], N); /* and is asked for once */
    cache_obj_unref(obj);
    unref_all();
}

static void cancel_all(void)
{
    for (unsigned i = 0; i < N; i++)
        if (!waits[i].done)
            cache_fill_cancel(&waits[i].wait);
}

static void test_cancelled_it_ends_although_the_store_is_silent(void **state)
{
    (void)state;
    rig.fake->hold = true;
    begin_behind(MIB);
    cancel_all();
    rig_idle(&rig);
    assert_int_equal(rig.fake->in_flight, 0);
    assert_int_equal(rig.fake->ops[STORE_GET], PACE_FIRST); /* the queue is never asked for */
    assert_int_equal(ndone(), 0);
    assert_true(stats().used_bytes < MIB); /* its room was given back */
    fake_release(rig.fake);
    unref_all();
}

static void test_cancelled_a_reader_loses_nothing(void **state)
{
    struct waited before, after;

    (void)state;
    rig.fake->hold = true;
    begin_behind(MIB);
    struct cache_obj *b0 = read_begin("b0", MIB, NULL, &before);
    cancel_all();
    struct cache_obj *b1 = read_begin("b1", MIB, NULL, &after); /* its fetch is on its way out */
    fake_release(rig.fake);
    rig_until(&rig, is_done, &before);
    rig_until(&rig, is_done, &after);
    assert_int_equal(before.error, 0);
    assert_int_equal(after.error, 0);
    assert_int_equal(rig.fake->ops[STORE_GET], PACE_FIRST + 1);
    rig_idle(&rig);
    cache_obj_unref(b0);
    cache_obj_unref(b1);
    unref_all();
}

static void test_cancelled_reading_ahead_goes_on(void **state)
{
    struct cache_history ra = {0};
    struct waited w, behind = {.wait.done = waited_done};

    (void)state;
    fake_put_pattern(rig.fake, "r", 200 * MIB);
    rig.fake->hold = true;
    struct cache_obj *obj = read_begin("r", MIB, &ra, &w);
    for (uint64_t at = 0; at < 40 * MIB; at += MIB)
        cache_told(obj, at, &ra);
    assert_int_equal(cache_fill_behind(obj, 190 * MIB, MIB, &behind.wait), -EINPROGRESS);
    cache_fill_cancel(&behind.wait);
    fake_release(rig.fake);
    rig_until(&rig, is_done, &w);
    rig_idle(&rig);
    assert_true(cache_obj_present(obj, 0, 40 * MIB));
    assert_false(cache_obj_present(obj, 190 * MIB, MIB));
    cache_obj_unref(obj);
}

static void test_it_takes_only_room_that_there_is(void **state)
{
    struct waited w = {.wait.done = waited_done};

    (void)state;
    assert_int_equal(cache_room(rig.cache), 1024 * MIB);
    rig.config.min_free_bytes = UINT64_MAX / 4; /* more than any disk has */
    rig_reopen(&rig, true);
    assert_int_equal(cache_room(rig.cache), 0);
    const struct fake_object *o = fake_put_pattern(rig.fake, "k", MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    assert_int_equal(cache_fill_behind(obj, 0, MIB, &w.wait), -ENOSPC);
    assert_int_equal(rig.fake->ops[STORE_GET], 0);
    rig_read_check(&rig, obj, o, 0, MIB, NULL); /* who waits is served all the same */
    cache_obj_unref(obj);
}

static void test_a_charge_is_what_the_cache_takes(void **state)
{
    static const uint64_t sizes[] = {1, 4096, 4097, 16384, 16385, 3 * MIB + 1};
    char key[16];
    uint64_t before = stats().used_bytes;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        snprintf(key, sizeof(key), "s%u", i);
        const struct fake_object *o = fake_put_pattern(rig.fake, key, sizes[i]);
        struct cache_obj *obj = rig_get(&rig, key);
        rig_read_check(&rig, obj, o, 0, sizes[i], NULL);
        cache_obj_unref(obj);
        assert_int_equal(stats().used_bytes - before, cache_charge(sizes[i]));
        before = stats().used_bytes;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_alone_it_takes_what_the_store_takes, up, down),
        cmocka_unit_test_setup_teardown(test_small_ones_go_all_at_once, up, down),
        cmocka_unit_test_setup_teardown(test_after_slow_down_small_ones_wait_too, up, down),
        cmocka_unit_test_setup_teardown(test_beside_a_reader_it_is_one, up, down),
        cmocka_unit_test_setup_teardown(test_a_reader_who_comes_goes_first, up, down),
        cmocka_unit_test_setup_teardown(test_what_a_reader_wants_of_it_is_his, up, down),
        cmocka_unit_test_setup_teardown(test_cancelled_it_ends_although_the_store_is_silent, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_cancelled_a_reader_loses_nothing, up, down),
        cmocka_unit_test_setup_teardown(test_cancelled_reading_ahead_goes_on, up, down),
        cmocka_unit_test_setup_teardown(test_it_takes_only_room_that_there_is, up, down),
        cmocka_unit_test_setup_teardown(test_a_charge_is_what_the_cache_takes, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
