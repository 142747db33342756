/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Read-ahead promises: random reads cost what they ask, streams grow, nothing is asked twice. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/limits.h"
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

/* A client with the cache file in its hands: present blocks are read without a call. */
static uint8_t present[BIG / BLOCK_BYTES];

/* Reads [at, at + len); everything fetched arrives at once. Returns the number of calls, 0 or 1. */
static unsigned client_read(struct cache_history *h, uint64_t at, uint64_t len, uint64_t size)
{
    uint64_t end = at + len < size ? at + len : size;

    for (uint64_t b = at / BLOCK_BYTES; b * BLOCK_BYTES < end; b++) {
        if (present[b])
            continue;
        uint64_t until = ahead_until(h, at, len, size, BIG);
        for (uint64_t i = at / BLOCK_BYTES; i * BLOCK_BYTES < until; i++)
            present[i] = 1;
        return 1;
    }
    return 0;
}

/* The network is faster than the reader, who is heard of only at the end of each window. */
static void test_a_slow_reader_calls_once_per_window(void **state)
{
    static const uint64_t sizes[] = {4 * KIB, 37 * KIB, 128 * KIB, 300 * KIB, MIB};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint64_t size = 100 * MIB; size <= 100 * MIB + 12345; size += 12345) {
            struct cache_history h = {0};
            unsigned calls = 0;
            memset(present, 0, sizeof(present));
            for (uint64_t at = 0; at < size; at += sizes[i])
                calls += client_read(&h, at, sizes[i], size);
            assert_in_range(calls, 1, 9);
        }
    }
}

/* Most of a file that is read from the middle of some block on. */
static void test_a_slow_reader_may_start_anywhere(void **state)
{
    struct cache_history h = {0};
    unsigned calls = 0;

    (void)state;
    memset(present, 0, sizeof(present));
    for (uint64_t at = 7 * MIB + 1000; at < 107 * MIB; at += 4 * KIB)
        calls += client_read(&h, at, 4 * KIB, BIG);
    assert_in_range(calls, 1, 10); /* the first is nobody's stream yet */
}

/* The kernel sends several reads at once, and they may arrive in any order. */
static void test_a_slow_reader_may_be_out_of_order(void **state)
{
    struct cache_history h = {0};
    unsigned calls = 0;

    (void)state;
    memset(present, 0, sizeof(present));
    client_read(&h, 0, 4 * KIB, BIG);
    for (uint64_t at = 0; at < 100 * MIB; at += 512 * KIB)
        for (uint64_t i = 4; i-- > 0;)
            calls += client_read(&h, at + i * 128 * KIB, 128 * KIB, BIG);
    assert_in_range(calls, 1, 40);
    assert_int_equal(h.window_bytes, AHEAD_REQUESTS * (uint64_t)AHEAD_REQUEST_BYTES);
}

/* Every read is in a block of its own. */
static void test_a_random_client_fetches_its_blocks_only(void **state)
{
    struct cache_history h = {0};
    uint64_t block = 4711, blocks = 0;

    (void)state;
    memset(present, 0, sizeof(present));
    for (int i = 0; i < 100; i++, block = (block * 5 + 1111) % (BIG / BLOCK_BYTES))
        client_read(&h, block * BLOCK_BYTES + 5 * KIB, 4 * KIB, BIG);
    for (uint64_t b = 0; b < BIG / BLOCK_BYTES; b++)
        blocks += present[b];
    assert_int_equal(blocks, 100);
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
    /* and going on from there, once its block is read, is a new stream with a small window */
    assert_int_equal(ahead_until(&h, 500 * MIB + 4096, 4096, BIG, BIG), 500 * MIB + 8192);
    assert_int_equal(ahead_until(&h, 500 * MIB + BLOCK_BYTES, 4096, BIG, BIG),
                     500 * MIB + 2 * BLOCK_BYTES + AHEAD_FIRST_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_reads_fetch_what_was_asked),
        cmocka_unit_test(test_window_doubles_to_four_requests),
        cmocka_unit_test(test_reader_never_catches_up_with_a_large_window),
        cmocka_unit_test(test_a_slow_reader_calls_once_per_window),
        cmocka_unit_test(test_a_slow_reader_may_start_anywhere),
        cmocka_unit_test(test_a_slow_reader_may_be_out_of_order),
        cmocka_unit_test(test_a_random_client_fetches_its_blocks_only),
        cmocka_unit_test(test_end_of_object_clips),
        cmocka_unit_test(test_small_cache_bounds_the_window),
        cmocka_unit_test(test_late_and_skipping_reads_stay_one_stream),
        cmocka_unit_test(test_a_jump_starts_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
