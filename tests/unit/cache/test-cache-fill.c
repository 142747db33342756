/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Filling: who waits is woken with the right bytes or the right error, and one GET serves all. */
#include "tests/unit/cache/rig.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "proto/sidecar.h"

static int up(void **state)
{
    static struct rig rig;

    rig_up(&rig, 64 * MIB);
    *state = &rig;
    return 0;
}

static int down(void **state)
{
    rig_down(*state);
    return 0;
}

static bool both_done(void *arg)
{
    struct waited *w = arg;

    return w[0].done && w[1].done;
}

static void test_bytes_are_the_objects(void **state)
{
    struct rig *rig = *state;
    struct fake_object *o = fake_put_pattern(rig->fake, "k", 3 * MIB + 12345);
    struct cache_obj *obj = rig_get(rig, "k");
    struct cache_history ra = {0};

    rig_read_check(rig, obj, o, MIB + 77, 300 * KIB, NULL);
    rig_read_check(rig, obj, o, 3 * MIB + 12000, 4096, NULL); /* short at the end */
    for (uint64_t at = 0; at < o->size; at += 128 * KIB)
        rig_read_check(rig, obj, o, at, 128 * KIB, &ra);
    assert_int_equal(rig_fill(rig, obj, o->size, 10, NULL), 0);
    assert_int_equal(rig_fill(rig, obj, UINT64_MAX - 5, 10, NULL), 0);
    rig_idle(rig);
    assert_true(rig->fake->got_bytes < o->size + MIB);
    assert_true(cache_obj_present(obj, 0, UINT64_MAX));
    cache_obj_unref(obj);
}

static void test_empty_object_needs_no_fetch(void **state)
{
    struct rig *rig = *state;
    uint8_t byte;
    size_t got = 1;

    fake_put_pattern(rig->fake, "empty", 0);
    struct cache_obj *obj = rig_get(rig, "empty");
    assert_int_equal(rig_fill(rig, obj, 0, 4096, NULL), 0);
    assert_int_equal(cache_obj_pread(obj, &byte, 0, 1, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(rig->fake->ops[STORE_GET], 0);
    cache_obj_unref(obj);
}

static void test_two_readers_one_fetch(void **state)
{
    struct rig *rig = *state;
    struct waited w[2] = {{.wait.done = waited_done}, {.wait.done = waited_done}};

    fake_put_pattern(rig->fake, "k", 2 * MIB);
    struct cache_obj *obj = rig_get(rig, "k");
    assert_int_equal(cache_fill_start(obj, 0, MIB, NULL, &w[0].wait), -EINPROGRESS);
    assert_int_equal(cache_fill_start(obj, 512 * KIB, 256 * KIB, NULL, &w[1].wait), -EINPROGRESS);
    rig_until(rig, both_done, w);
    assert_int_equal(w[0].error, 0);
    assert_int_equal(w[1].error, 0);
    rig_idle(rig);
    assert_int_equal(rig->fake->ops[STORE_GET], 1);
    assert_int_equal(rig->fake->got_bytes, MIB);
    cache_obj_unref(obj);
}

struct early {
    struct waited first_block, everything;
    bool before_the_rest;
};

static void first_block_done(struct cache_wait *wait, int error)
{
    struct early *e = container_of(wait, struct early, first_block.wait);

    waited_done(wait, error);
    e->before_the_rest = !e->everything.done;
}

static bool early_done(void *arg)
{
    const struct early *e = arg;

    return e->first_block.done && e->everything.done;
}

/* The first block's reader does not wait for the end of a long request. */
static void test_wakes_when_its_blocks_are_there(void **state)
{
    struct rig *rig = *state;
    struct early e = {.first_block.wait.done = first_block_done,
                      .everything.wait.done = waited_done};

    rig->fake->step_bytes = 10000;
    fake_put_pattern(rig->fake, "k", 8 * MIB);
    struct cache_obj *obj = rig_get(rig, "k");
    assert_int_equal(cache_fill_start(obj, 0, 8 * MIB, NULL, &e.everything.wait), -EINPROGRESS);
    assert_int_equal(cache_fill_start(obj, 0, 1000, NULL, &e.first_block.wait), -EINPROGRESS);
    rig_until(rig, early_done, &e);
    assert_true(e.before_the_rest);
    cache_obj_unref(obj);
}

static void test_failure_keeps_what_came(void **state)
{
    struct rig *rig = *state;
    struct fake_object *o = fake_put_pattern(rig->fake, "k", 2 * MIB);
    struct cache_obj *obj = rig_get(rig, "k");

    rig->fake->fail_op_mask = 1u << STORE_GET;
    rig->fake->fail_error = -EIO;
    rig->fake->fail_at_bytes = MIB;
    assert_int_equal(rig_fill(rig, obj, 0, 2 * MIB, NULL), -EIO);
    assert_true(cache_obj_present(obj, 0, MIB - BLOCK_BYTES));
    assert_false(cache_obj_present(obj, 0, 2 * MIB));
    fake_no_failures(rig->fake);
    rig->fake->got_bytes = 0;
    rig_read_check(rig, obj, o, 0, 2 * MIB, NULL);
    assert_true(rig->fake->got_bytes <= MIB + BLOCK_BYTES);
    cache_obj_unref(obj);
}

static void test_replaced_and_removed_are_stale(void **state)
{
    struct rig *rig = *state;

    fake_put_pattern(rig->fake, "k", MIB);
    struct cache_obj *obj = rig_get(rig, "k");
    fake_put_pattern(rig->fake, "k", MIB);
    assert_int_equal(rig_fill(rig, obj, 0, 100, NULL), -ESTALE);
    fake_delete(rig->fake, "k");
    assert_int_equal(rig_fill(rig, obj, 0, 100, NULL), -ESTALE);
    cache_obj_unref(obj);
}

/* What came before the change was noticed may be of either version. */
static void test_replaced_meanwhile_leaves_no_block(void **state)
{
    struct rig *rig = *state;
    struct waited w[2] = {{.wait.done = waited_done}, {.wait.done = waited_done}};

    fake_put_pattern(rig->fake, "k", 2 * MIB);
    struct cache_obj *obj = rig_get(rig, "k");
    assert_int_equal(cache_fill_start(obj, 0, 2 * MIB, NULL, &w[0].wait), -EINPROGRESS);
    assert_int_equal(cache_fill_start(obj, 0, 10, NULL, &w[1].wait), -EINPROGRESS);
    rig->fake->fail_op_mask = 1u << STORE_GET;
    rig->fake->fail_error = -ESTALE;
    rig->fake->fail_at_bytes = MIB;
    rig_until(rig, both_done, w);
    assert_int_equal(w[0].error, -ESTALE);
    assert_int_equal(w[1].error, 0); /* it cannot be taken back */
    assert_false(cache_obj_present(obj, 0, 1));
    cache_obj_unref(obj);
    assert_true(rig_disk_bytes(rig) <= 12 * KIB);
}

static void test_a_store_that_sends_less_is_an_error(void **state)
{
    struct rig *rig = *state;

    fake_put_pattern(rig->fake, "k", MIB);
    struct cache_obj *obj = rig_get(rig, "k");
    rig->fake->short_get = true;
    assert_int_equal(rig_fill(rig, obj, 0, MIB, NULL), -EIO);
    cache_obj_unref(obj);
}

/* What a client does with its two descriptors. */
static void test_descriptors_serve_a_client(void **state)
{
    struct rig *rig = *state;
    struct fake_object *o = fake_put_pattern(rig->fake, "k", MIB + 5);
    struct cache_obj *obj = rig_get(rig, "k");
    struct sidecar_head head;
    uint64_t bits;
    uint8_t buf[4096];
    int data, side;

    rig_read_check(rig, obj, o, 128 * KIB, 4096, NULL);
    cache_obj_fds(obj, &data, &side);
    assert_int_equal(pread(side, &head, sizeof(head), 0), sizeof(head));
    assert_int_equal(head.magic, SIDECAR_MAGIC);
    assert_int_equal(head.object_size, o->size);
    assert_int_equal(pread(side, &bits, sizeof(bits), SIDECAR_HEAD_BYTES), sizeof(bits));
    assert_int_equal(bits, 1ull << (128 * KIB / BLOCK_BYTES));
    assert_int_equal(pread(data, buf, sizeof(buf), 128 * KIB), sizeof(buf));
    assert_memory_equal(buf, o->data + 128 * KIB, sizeof(buf));
    assert_int_equal(write(data, "x", 1), -1);
    assert_int_equal(write(side, "x", 1), -1);
    cache_obj_revoke(obj);
    assert_int_equal(pread(side, &head, sizeof(head), 0), sizeof(head));
    assert_int_equal(head.revoked, 1);
    cache_obj_unref(obj);
    /* the version was replaced: its files are gone */
    assert_int_equal(rig_disk_bytes(rig), 0);
}

/* A handle goes on with another version, which is smaller than what was asked for of the first. */
static void test_history_of_a_larger_version(void **state)
{
    struct rig *rig = *state;
    struct fake_object *o = fake_put_pattern(rig->fake, "k", 40 * MIB);
    struct cache_obj *obj = rig_get(rig, "k");
    struct cache_history ra = {0};
    uint64_t at = 0;

    for (; at < 4 * MIB; at += 128 * KIB)
        rig_read_check(rig, obj, o, at, 128 * KIB, &ra);
    rig_idle(rig);
    cache_obj_unref(obj);
    o = fake_put_pattern(rig->fake, "k", at + 20 * KIB);
    obj = rig_get(rig, "k");
    rig_read_check(rig, obj, o, at, 128 * KIB, &ra);
    cache_told(obj, o->size, &ra);
    rig_idle(rig);
    cache_obj_unref(obj);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes_are_the_objects, up, down),
        cmocka_unit_test_setup_teardown(test_empty_object_needs_no_fetch, up, down),
        cmocka_unit_test_setup_teardown(test_two_readers_one_fetch, up, down),
        cmocka_unit_test_setup_teardown(test_wakes_when_its_blocks_are_there, up, down),
        cmocka_unit_test_setup_teardown(test_failure_keeps_what_came, up, down),
        cmocka_unit_test_setup_teardown(test_replaced_and_removed_are_stale, up, down),
        cmocka_unit_test_setup_teardown(test_replaced_meanwhile_leaves_no_block, up, down),
        cmocka_unit_test_setup_teardown(test_a_store_that_sends_less_is_an_error, up, down),
        cmocka_unit_test_setup_teardown(test_history_of_a_larger_version, up, down),
        cmocka_unit_test_setup_teardown(test_descriptors_serve_a_client, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
