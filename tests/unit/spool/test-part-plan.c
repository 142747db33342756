/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Part plans at their boundaries: every file fits, every part is legal. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "s3proxyd/spool/part-plan.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define TIB (1ULL << 40)

/* Every plan: parts join, cover the file, obey the store's limits. */
static struct part_plan make(uint64_t size, uint64_t part_min, unsigned parts_max)
{
    struct part_plan plan;
    uint64_t at = 0, offset, len;

    assert_int_equal(part_plan_make(size, part_min, parts_max, &plan), 0);
    assert_true(plan.count >= 1);
    assert_true(plan.count <= (parts_max ? parts_max : 10000));
    for (unsigned n = 1; n <= plan.count; n++) {
        part_plan_get(&plan, n, &offset, &len);
        assert_int_equal(offset, at);
        assert_true(len <= PART_PLAN_MAX_BYTES);
        assert_true(len > 0 || size == 0);
        if (n < plan.count)
            assert_true(len >= part_min);
        at += len;
    }
    assert_int_equal(at, size);
    return plan;
}

static void test_small_files_have_8_mib_parts(void **state)
{
    (void)state;
    assert_int_equal(make(0, 5 * MIB, 10000).count, 1);
    assert_int_equal(make(1, 5 * MIB, 10000).count, 1);
    assert_int_equal(make(8 * MIB, 5 * MIB, 10000).count, 1);
    assert_int_equal(make(8 * MIB + 1, 5 * MIB, 10000).count, 2);
    assert_int_equal(make(6 * GIB, 5 * MIB, 10000).count, 768);
    assert_int_equal(make(1000 * 8 * MIB, 5 * MIB, 10000).count, 1000);
    assert_int_equal(make(1000 * 8 * MIB + 1, 5 * MIB, 10000).count, 1001);
    assert_int_equal(make(1000 * 8 * MIB + 33 * MIB, 5 * MIB, 10000).count, 1002);
}

static void test_ten_thousand_parts_suffice(void **state)
{
    uint64_t full = 1000 * 8 * MIB + 2000 * 32 * MIB + 3000 * 128 * MIB + 4000 * 512 * MIB;

    (void)state;
    assert_int_equal(make(full - 512 * MIB, 5 * MIB, 10000).count, 9999);
    assert_int_equal(make(full - 1, 5 * MIB, 10000).count, 10000);
    assert_int_equal(make(full, 5 * MIB, 10000).count, 10000);
    /* a byte more: what would be part 10,001 makes all parts larger */
    assert_true(make(full + 1, 5 * MIB, 10000).count < 10000);
    make(5 * TIB, 5 * MIB, 10000);
    make(10000 * 5 * GIB, 5 * MIB, 10000); /* 48.8 TiB: the most there can be */
    struct part_plan plan;
    assert_int_equal(part_plan_make(10000 * 5 * GIB + 1, 5 * MIB, 10000, &plan), -EFBIG);
    assert_int_equal(part_plan_make(INT64_MAX, 5 * MIB, 10000, &plan), -EFBIG);
}

static void test_other_stores(void **state)
{
    struct part_plan plan;

    (void)state;
    for (unsigned max = 1; max < 40; max++) {
        for (uint64_t size = 17 * MIB; size < 40 * GIB; size = size * 3 + 12345)
            if (size <= max * PART_PLAN_MAX_BYTES)
                make(size, 5 * MIB, max);
    }
    make(100 * GIB, 64 * MIB, 1000);
    make(100 * GIB, 0, 0);
    assert_int_equal(part_plan_make(2 * GIB, 6 * GIB, 10000, &plan), -EFBIG);
    assert_int_equal(part_plan_make(11 * GIB, 5 * MIB, 2, &plan), -EFBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_files_have_8_mib_parts),
        cmocka_unit_test(test_ten_thousand_parts_suffice),
        cmocka_unit_test(test_other_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
