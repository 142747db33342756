/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The extent set, by hand at its edges and at random against an array of flags. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "s3proxyd/spool/extents.h"

static void add(struct extents *set, uint64_t start, uint64_t end)
{
    assert_int_equal(extents_room(set, 1), 0);
    extents_add(set, start, end);
}

static void test_neighbours_merge(void **state)
{
    struct extents set = EXTENTS_NULL;
    bool inside;

    (void)state;
    add(&set, 10, 20);
    add(&set, 30, 40);
    assert_int_equal(set.n, 2);
    add(&set, 20, 30);
    assert_int_equal(set.n, 1);
    assert_int_equal(set.bytes, 30);
    add(&set, 5, 5);
    assert_int_equal(set.n, 1);
    assert_int_equal(extents_run(&set, 0, 100, &inside), 10);
    assert_false(inside);
    assert_int_equal(extents_run(&set, 10, 100, &inside), 40);
    assert_true(inside);
    assert_int_equal(extents_run(&set, 40, 100, &inside), 100);
    assert_false(inside);
    extents_fini(&set);
}

static void test_gaps(void **state)
{
    struct extents set = EXTENTS_NULL;
    struct extent gap;

    (void)state;
    assert_false(extents_gap(&set, 5, 5, &gap));
    assert_true(extents_gap(&set, 5, 6, &gap));
    add(&set, 0, 10);
    add(&set, 20, 30);
    assert_false(extents_gap(&set, 0, 10, &gap));
    assert_true(extents_gap(&set, 0, 100, &gap));
    assert_int_equal(gap.start, 10);
    assert_int_equal(gap.end, 20);
    assert_true(extents_gap(&set, 12, 15, &gap));
    assert_int_equal(gap.start, 12);
    assert_int_equal(gap.end, 15);
    assert_true(extents_gap(&set, 25, 100, &gap));
    assert_int_equal(gap.start, 30);
    assert_int_equal(gap.end, 100);
    extents_fini(&set);
}

static void test_ends_of_the_number_line(void **state)
{
    struct extents set = EXTENTS_NULL;

    (void)state;
    add(&set, UINT64_MAX - 10, UINT64_MAX);
    add(&set, 0, 1);
    assert_int_equal(extents_covered(&set, 0, UINT64_MAX), 11);
    extents_clip(&set, UINT64_MAX - 5);
    assert_int_equal(set.bytes, 6);
    extents_clip(&set, 0);
    assert_int_equal(set.n, 0);
    assert_int_equal(set.bytes, 0);
    assert_int_equal(set.disk_bytes, 0);
    extents_fini(&set);
}

static void test_count_is_bounded(void **state)
{
    struct extents set = EXTENTS_NULL;

    (void)state;
    for (uint64_t i = 0; i < EXTENTS_MAX; i++)
        add(&set, i * 2, i * 2 + 1); /* in order: cheap */
    assert_int_equal(extents_room(&set, 1), -ENOSPC);
    extents_clip(&set, 100);
    assert_int_equal(extents_room(&set, 1), 0);
    extents_fini(&set);
}

#define SPACE 700
static void check(const struct extents *set, const bool *model)
{
    uint64_t bytes = 0, disk = 0;
    struct extent gap;
    bool inside;

    for (size_t i = 0; i < set->n; i++) {
        assert_true(set->v[i].start < set->v[i].end);
        if (i > 0)
            assert_true(set->v[i - 1].end < set->v[i].start);
        disk += (set->v[i].end + 4095) / 4096 * 4096 - set->v[i].start / 4096 * 4096;
    }
    for (uint64_t i = 0; i < SPACE; i++) {
        bytes += model[i];
        assert_int_equal(extents_covered(set, i, i + 1), model[i]);
        uint64_t stop = i;
        while (stop < SPACE && model[stop] == model[i])
            stop++;
        assert_int_equal(extents_run(set, i, SPACE, &inside), stop);
        assert_int_equal(inside, model[i]);
        uint64_t g = i;
        while (g < SPACE && model[g])
            g++;
        assert_int_equal(extents_gap(set, i, SPACE, &gap), g < SPACE);
        if (g < SPACE)
            assert_int_equal(gap.start, g);
    }
    assert_int_equal(set->bytes, bytes);
    assert_int_equal(set->disk_bytes, disk);
}

static void test_against_a_model(void **state)
{
    const char *env = getenv("HAFIZ_SEED");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : (unsigned)time(NULL);
    struct extents set = EXTENTS_NULL;
    bool model[SPACE] = {0};

    (void)state;
    print_message("HAFIZ_SEED=%u\n", seed);
    srandom(seed);
    for (int step = 0; step < 3000; step++) {
        uint64_t a = (uint64_t)random() % SPACE, b = a + (uint64_t)random() % 40;
        b = b < SPACE ? b : SPACE;
        if (random() % 12) {
            add(&set, a, b);
            memset(model + a, true, b - a);
        } else {
            extents_clip(&set, a);
            memset(model + a, false, SPACE - a);
        }
        check(&set, model);
    }
    extents_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours_merge),        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_ends_of_the_number_line), cmocka_unit_test(test_count_is_bounded),
        cmocka_unit_test(test_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
