/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Read-ahead promises: random reads cost what they ask, streams grow, nothing is asked twice. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "s3proxyd/cache/ahead.h"

#define KIB 1024ULL
#define MIB (1024ULL * 1024)
#define BIG (1024 * MIB)

static void test_random_reads_fetch_what_was_asked(void **state)
{
    struct cache_history h = {0};
    static const uint64_t at[] = {5 * MIB, 900 * MIB, 77 * KIB, 300 * MIB, 299 * MIB, 12};

    (void)state;
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
        assert_int_equal(ahead_until(&h, at[i], 4096, BIG, BIG), at[i] + 4096);
    assert_int_equal(h.window_bytes, 0);
}

static void test_window_doubles_to_four_requests(void **state)
{
    struct cache_history h = {0};
    uint64_t last = 0, max = 0, want = AHEAD_FIRST_BYTES;

    (void)state;
    assert_int_equal(ahead_until(&h, 0, 128 * KIB, BIG, BIG), 128 * KIB + AHEAD_FIRST_BYTES);
    for (uint64_t at = 128 * KIB; at < 200 * MIB; at += 128 * KIB) {
        uint64_t until = ahead_until(&h, at, 128 * KIB, BIG, BIG), end = at + 128 * KIB;
        assert_true(until >= end);
        assert_true(until - end <= AHEAD_REQUESTS * (uint64_t)AHEAD_REQUEST_BYTES);
        assert_true(h.window_bytes == want || h.window_bytes == 2 * want ||
                    h.window_bytes == AHEAD_REQUESTS * (uint64_t)AHEAD_REQUEST_BYTES);
        want = h.window_bytes;
        if (until > end) {
            assert_true(until > last); /* never asks twice for the same */
            last = until;
        }
        max = until - end > max ? until - end : max;
    }
    assert_true(max > 3 * (uint64_t)AHEAD_REQUEST_BYTES - MIB);
    assert_int_equal(last % AHEAD_REQUEST_BYTES, 0);
}

static void test_reader_never_catches_up_with_a_large_window(void **state)
{
    struct cache_history h = {0};

    (void)state;
    for (uint64_t at = 0; at < 100 * MIB; at += 64 * KIB) {
        ahead_until(&h, at, 64 * KIB, BIG, BIG);
        assert_true(h.ahead_until > at + 64 * KIB);
    }
}

static void test_end_of_object_clips(void **state)
{
    struct cache_history h = {0};

    (void)state;
    assert_int_equal(ahead_until(&h, 0, 128 * KIB, 200 * KIB, BIG), 200 * KIB);
    assert_int_equal(ahead_until(&h, 128 * KIB, 128 * KIB, 200 * KIB, BIG), 200 * KIB);
    h = (struct cache_history){0};
    assert_int_equal(ahead_until(&h, 0, UINT64_MAX, 10, BIG), 10);
    assert_int_equal(ahead_until(&h, 9, UINT64_MAX - 3, 10, BIG), 10);
}

static void test_small_cache_bounds_the_window(void **state)
{
    struct cache_history h = {0};

    (void)state;
    for (uint64_t at = 0; at < 50 * MIB; at += 128 * KIB)
        assert_true(ahead_until(&h, at, 128 * KIB, BIG, MIB) <= at + 128 * KIB + MIB);
    h = (struct cache_history){0};
    for (uint64_t at = 0; at < MIB; at += 128 * KIB)
        assert_int_equal(ahead_until(&h, at, 128 * KIB, BIG, 0), at + 128 * KIB);
}

static void test_late_and_skipping_reads_stay_one_stream(void **state)
{
    struct cache_history h = {0};

    (void)state;
    for (uint64_t at = 0; at < 8 * MIB; at += 256 * KIB) { /* pairs swapped */
        ahead_until(&h, at, 128 * KIB, BIG, BIG);
        if (at) {
            ahead_until(&h, at + 128 * KIB + 64 * KIB, 64 * KIB, BIG, BIG);
            ahead_until(&h, at + 128 * KIB, 64 * KIB, BIG, BIG);
        } else {
            ahead_until(&h, 128 * KIB, 128 * KIB, BIG, BIG);
        }
    }
    assert_true(h.window_bytes >= 4 * MIB);
}

static void test_a_jump_starts_over(void **state)
{
    struct cache_history h = {0};

    (void)state;
    for (uint64_t at = 0; at < 20 * MIB; at += 128 * KIB)
        ahead_until(&h, at, 128 * KIB, BIG, BIG);
    assert_int_equal(ahead_until(&h, 500 * MIB, 4096, BIG, BIG), 500 * MIB + 4096);
    assert_int_equal(h.window_bytes, 0);
    /* and going on from there is a new stream with a small window */
    assert_int_equal(ahead_until(&h, 500 * MIB + 4096, 4096, BIG, BIG),
                     500 * MIB + 8192 + AHEAD_FIRST_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_reads_fetch_what_was_asked),
        cmocka_unit_test(test_window_doubles_to_four_requests),
        cmocka_unit_test(test_reader_never_catches_up_with_a_large_window),
        cmocka_unit_test(test_end_of_object_clips),
        cmocka_unit_test(test_small_cache_bounds_the_window),
        cmocka_unit_test(test_late_and_skipping_reads_stay_one_stream),
        cmocka_unit_test(test_a_jump_starts_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
