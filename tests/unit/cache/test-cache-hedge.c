/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* GETs that wait for the pace, that are dropped with their reader, that stall and are asked for
 * again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cache/rig.h"

#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/limits.h"

#define REQUEST (8 * MIB)

static struct rig rig;

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

static bool hedged(void *arg)
{
    (void)arg;
    return rig_stats(&rig).hedged > 0;
}

/* A long read by one reader: its window is far more than the pace lets go at once. */
static struct cache_obj *reading_on(struct waited *w, struct cache_history *ra)
{
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 200 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");

    (void)o;
    rig.fake->hold = true;
    *w = (struct waited){.wait.done = waited_done};
    assert_int_equal(cache_fill_start(obj, 0, MIB, ra, &w->wait), -EINPROGRESS);
    for (uint64_t at = 0; at < 100 * MIB; at += MIB)
        cache_told(obj, at, ra);
    return obj;
}

static void test_readahead_waits_for_the_pace(void **state)
{
    struct cache_history ra = {0};
    struct waited w;

    (void)state;
    struct cache_obj *obj = reading_on(&w, &ra);
    assert_in_range(rig.fake->in_flight, 2, PACE_FIRST + 1); /* and the one that is waited for */
    rig.fake->hold = false;
    fake_release(rig.fake);
    rig_until(&rig, waited_is_done, &w);
    rig_idle(&rig);
    assert_int_equal(w.error, 0);
    assert_true(rig.fake->max_in_flight <= PACE_MAX + 1);
    assert_true(cache_obj_present(obj, 0, 100 * MIB));
    assert_int_equal(rig.fake->got_bytes, rig_stats(&rig).fetched_bytes); /* each byte once */
    cache_obj_unref(obj);
}

static void test_who_waits_does_not_stand_in_the_queue(void **state)
{
    struct cache_history ra = {0};
    struct waited w, late = {.wait.done = waited_done};

    (void)state;
    struct cache_obj *obj = reading_on(&w, &ra);
    unsigned before = rig.fake->in_flight;
    assert_int_equal(cache_fill_start(obj, 95 * MIB, 4096, NULL, &late.wait), -EINPROGRESS);
    assert_int_equal(rig.fake->in_flight, before + 1);
    fake_release(rig.fake);
    rig_until(&rig, waited_is_done, &late);
    rig_until(&rig, waited_is_done, &w);
    rig_idle(&rig);
    assert_int_equal(late.error, 0);
    cache_obj_unref(obj);
}

static void test_what_nobody_reads_any_more_is_dropped(void **state)
{
    struct cache_history ra = {0};
    struct waited w;

    (void)state;
    struct cache_obj *obj = reading_on(&w, &ra);
    cache_reader_gone(obj);
    unsigned asked = rig.fake->ops[STORE_GET];
    fake_release(rig.fake);
    rig_until(&rig, waited_is_done, &w);
    rig_idle(&rig);
    assert_int_equal(w.error, 0);
    assert_int_equal(rig.fake->ops[STORE_GET], asked);
    struct cache_stats stats = rig_stats(&rig);
    assert_true(stats.used_bytes <= stats.fetched_bytes + MIB); /* its room was given back */
    cache_obj_unref(obj);
}

static void stalls_at(uint64_t bytes)
{
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 8 * MIB + 77);
    struct cache_obj *obj = rig_get(&rig, "k");

    rig.fake->stall_count = 1;
    rig.fake->stall_at_bytes = bytes;
    rig_read_check(&rig, obj, o, 100, 2 * MIB, NULL);
    rig_idle(&rig);
    assert_int_equal(rig_stats(&rig).hedged, 1);
    assert_int_equal(rig.fake->ops[STORE_GET], 2);
    assert_true(rig.fake->got_bytes <= 2 * MIB + 3 * BLOCK_BYTES + 100000);
    assert_int_equal(rig.fake->in_flight, 0);
    rig_read_check(&rig, obj, o, 0, o->size, NULL);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
    cache_obj_unref(obj);
}

static void test_a_silent_server_is_asked_again(void **state)
{
    (void)state;
    stalls_at(0);
}

static void test_a_stall_half_way_asks_for_the_rest(void **state)
{
    (void)state;
    stalls_at(MIB + 5);
}

/* A read on a disk that hangs cannot be stopped: who waits need not wait for its end. What it says then of
 * a version that was replaced meanwhile is no news about the bytes that the other one brought. */
static void test_the_loser_is_not_waited_for(void **state)
{
    struct fake_object *o = fake_put_pattern(rig.fake, "k", MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    uint8_t *copy = malloc(o->size), *buf = malloc(o->size);
    size_t got;

    (void)state;
    assert_true(copy && buf);
    memcpy(copy, o->data, o->size);
    rig.fake->stall_count = 1;
    rig.fake->deaf = true;
    assert_int_equal(rig_fill(&rig, obj, 0, MIB, NULL), 0);
    assert_int_equal(rig.fake->in_flight, 1);
    fake_put_pattern(rig.fake, "k", MIB);
    fake_release(rig.fake);
    rig_idle(&rig);
    assert_int_equal(rig.fake->in_flight, 0);
    assert_int_equal(cache_obj_pread(obj, buf, 0, MIB, &got), 0);
    assert_memory_equal(buf, copy, MIB);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
    cache_obj_unref(obj);
    free(copy);
    free(buf);
}

static bool later(void *deadline_ns)
{
    return clock_mono_ns() > *(uint64_t *)deadline_ns;
}

/* Asking twice for everything would make it slower still. */
static void test_a_slow_store_is_not_asked_twice_for_all(void **state)
{
    static struct waited w[64];
    uint64_t end = clock_mono_ns() + 3 * NS_PER_S;

    (void)state;
    fake_put_pattern(rig.fake, "k", 64 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    rig.fake->hold = true;
    for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
        w[i] = (struct waited){.wait.done = waited_done};
        assert_int_equal(cache_fill_start(obj, i * MIB, 4096, NULL, &w[i].wait), -EINPROGRESS);
    }
    rig_until(&rig, later, &end);
    assert_in_range(rig_stats(&rig).hedged, 8, 16);
    fake_release(rig.fake);
    for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
        rig_until(&rig, waited_is_done, &w[i]);
        assert_int_equal(w[i].error, 0);
    }
    rig_idle(&rig);
    cache_obj_unref(obj);
}

static void test_both_legs_fail(void **state)
{
    struct cache_obj *obj;

    (void)state;
    fake_put_pattern(rig.fake, "k", MIB);
    obj = rig_get(&rig, "k");
    rig.fake->stall_count = 1;
    rig.fake->step_bytes = 10; /* so that there is a middle */
    struct waited w = {.wait.done = waited_done};
    assert_int_equal(cache_fill_start(obj, 0, MIB, NULL, &w.wait), -EINPROGRESS);
    rig_until(&rig, hedged, NULL);
    fake_put_pattern(rig.fake, "k", MIB); /* replaced: the second leg finds another version */
    rig_until(&rig, waited_is_done, &w);
    rig_idle(&rig);
    assert_int_equal(w.error, -ESTALE);
    assert_false(cache_obj_present(obj, 0, 1));
    cache_obj_unref(obj);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_readahead_waits_for_the_pace, up, down),
        cmocka_unit_test_setup_teardown(test_who_waits_does_not_stand_in_the_queue, up, down),
        cmocka_unit_test_setup_teardown(test_what_nobody_reads_any_more_is_dropped, up, down),
        cmocka_unit_test_setup_teardown(test_a_silent_server_is_asked_again, up, down),
        cmocka_unit_test_setup_teardown(test_a_stall_half_way_asks_for_the_rest, up, down),
        cmocka_unit_test_setup_teardown(test_the_loser_is_not_waited_for, up, down),
        cmocka_unit_test_setup_teardown(test_a_slow_store_is_not_asked_twice_for_all, up, down),
        cmocka_unit_test_setup_teardown(test_both_legs_fail, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
