/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The fetch plan's promises: random reads cost what they ask, streams grow, nothing is asked twice,
 * a reader is never left without a word when he comes to the end of what was asked for. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/must.h"
#include "proto/limits.h"
#include "s3proxyd/cache/plan.h"

#define KIB 1024ULL
#define MIB (1024ULL * 1024)
#define BIG (1024 * MIB)

/* A client with the cache file in its hands, and a store that brings everything at once: present
 * blocks are read without a word, but for the one that was asked for at tell_at. */
struct client {
    struct plan_history h;
    struct plan_limits limits;
    struct plan plan;
    uint8_t present[BIG / BLOCK_BYTES];
    uint64_t tell_at, fetched, requests;
    unsigned calls, tells;
    bool mute; /* does not tell */
};

static struct client *client_new(uint64_t size)
{
    struct client *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    c->limits = (struct plan_limits){size, PLAN_WINDOW_MAX_BYTES, PLAN_REQUEST_MAX_BYTES};
    return c;
}

static void bring(struct client *c, uint64_t offset, uint64_t len)
{
    uint64_t fresh = 0;

    assert_true(len > 0 && offset + len <= c->limits.object_size);
    for (uint64_t b = offset / BLOCK_BYTES; b * BLOCK_BYTES < offset + len; b++) {
        fresh += !c->present[b];
        c->present[b] = 1;
    }
    c->fetched += fresh * BLOCK_BYTES;
    c->requests += (fresh * BLOCK_BYTES + c->plan.request_bytes - 1) / c->plan.request_bytes;
}

static void follow(struct client *c)
{
    assert_true(c->plan.n <= PLAN_RANGES);
    assert_true(c->plan.request_bytes % BLOCK_BYTES == 0 && c->plan.request_bytes > 0 &&
                c->plan.request_bytes <= PLAN_REQUEST_MAX_BYTES);
    for (unsigned i = 0; i < c->plan.n; i++)
        bring(c, c->plan.ranges[i].offset, c->plan.ranges[i].len);
    c->tell_at = c->plan.tell_at;
}

static bool all_present(const struct client *c, uint64_t at, uint64_t end)
{
    for (uint64_t b = at / BLOCK_BYTES; b * BLOCK_BYTES < end; b++)
        if (!c->present[b])
            return false;
    return true;
}

static void client_read(struct client *c, uint64_t at, uint64_t len)
{
    uint64_t end = MIN(at + len, c->limits.object_size);

    if (!all_present(c, at, end)) {
        c->calls++;
        plan_read(&c->h, at, len, &c->limits, &c->plan);
        bring(c, at, end - at);
        follow(c);
    } else if (c->tell_at && end >= c->tell_at && !c->mute) {
        c->tells++;
        plan_told(&c->h, end, &c->limits, &c->plan);
        follow(c);
    }
}

static void test_random_reads_fetch_what_was_asked(void **state)
{
    struct client *c = client_new(BIG);
    uint64_t x = 88172645463325252ULL, want = 0;

    (void)state;
    for (int i = 0; i < 400; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t at = 4 * KIB + x % (BIG / 4096 - 64) * 4096;
        client_read(c, at, 64 * KIB);
        want += 64 * KIB;
    }
    assert_true(c->fetched <= want + 400 * BLOCK_BYTES);
    assert_true(c->fetched >= want - 40 * BLOCK_BYTES);
    free(c);
}

static void test_a_sequential_reader_is_never_without_data(void **state)
{
    static const uint64_t sizes[] = {4 * KIB, 37 * KIB, 128 * KIB, 300 * KIB, MIB};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (uint64_t size = 100 * MIB; size <= 100 * MIB + 12345; size += 12345) {
            struct client *c = client_new(size);
            for (uint64_t at = 0; at < size; at += sizes[i])
                client_read(c, at, sizes[i]);
            assert_int_equal(c->calls, 1); /* told in time, it is always a window ahead */
            assert_in_range(c->tells, 5, 40);
            assert_true(c->fetched < size + BLOCK_BYTES);
            assert_true(c->requests < 60);
            free(c);
        }
    }
}

/* An older client that tells nothing asks once per window. */
static void test_a_mute_client_calls_once_per_window(void **state)
{
    struct client *c = client_new(200 * MIB);

    (void)state;
    c->mute = true;
    for (uint64_t at = 0; at < 200 * MIB; at += 128 * KIB)
        client_read(c, at, 128 * KIB);
    assert_in_range(c->calls, 5, 12);
    free(c);
}

static void test_windows_grow_with_what_was_read(void **state)
{
    struct client *c = client_new(BIG);

    (void)state;
    for (uint64_t at = 0; at < BIG; at += 128 * KIB) {
        client_read(c, at, 128 * KIB);
        uint64_t end = at + 128 * KIB;
        assert_true(c->fetched <= 4 * end + 2 * MIB); /* what who stops wastes is of its size */
        assert_true(c->fetched <= end + PLAN_WINDOW_MAX_BYTES + PLAN_REQUEST_MAX_BYTES);
    }
    assert_int_equal(c->plan.request_bytes, PLAN_REQUEST_MAX_BYTES);
    assert_in_range(c->tells, 100, 200); /* one per request */
    free(c);
}

static void test_a_stream_may_start_anywhere(void **state)
{
    struct client *c = client_new(BIG);

    (void)state;
    for (uint64_t at = 7 * MIB + 1000; at < 107 * MIB; at += 4 * KIB)
        client_read(c, at, 4 * KIB);
    assert_in_range(c->calls, 1, 3); /* the first is nobody's stream yet */
    free(c);
}

/* The kernel sends several reads at once, and they may arrive in any order. */
static void test_a_stream_may_be_out_of_order(void **state)
{
    struct client *c = client_new(BIG);

    (void)state;
    client_read(c, 0, 4 * KIB);
    for (uint64_t at = 0; at < 100 * MIB; at += 512 * KIB)
        for (uint64_t i = 4; i-- > 0;)
            client_read(c, at + i * 128 * KIB, 128 * KIB);
    assert_in_range(c->calls, 1, 8); /* of 800 */
    free(c);
}

static void test_several_streams_on_one_handle(void **state)
{
    struct client *c = client_new(BIG);
    uint64_t base[3] = {0, 300 * MIB, 700 * MIB};

    (void)state;
    for (uint64_t at = 0; at < 64 * MIB; at += 128 * KIB)
        for (int i = 0; i < 3; i++)
            client_read(c, base[i] + at, 128 * KIB);
    assert_in_range(c->calls, 3, 60); /* of 1,536 reads */
    assert_true(c->fetched < 3 * 64 * MIB * 3 + 8 * MIB);
    free(c);
}

static void test_a_backward_reader_is_seen(void **state)
{
    struct client *c = client_new(BIG);

    (void)state;
    for (uint64_t at = 512 * MIB; at > 384 * MIB; at -= 64 * KIB)
        client_read(c, at - 64 * KIB, 64 * KIB);
    assert_in_range(c->calls, 2, 12); /* of 2,048 */
    assert_true(c->fetched < 2 * 128 * MIB + 2 * MIB);
    for (uint64_t at = 384 * MIB; at > 0; at -= 64 * KIB)
        client_read(c, at - 64 * KIB, 64 * KIB);
    assert_true(c->fetched <= 512 * MIB); /* stops at the start */
    free(c);
}

static void test_a_stride_is_seen(void **state)
{
    struct client *c = client_new(BIG);
    unsigned n = 0;

    (void)state;
    for (uint64_t at = 3 * MIB; at < 400 * MIB; at += MIB, n++)
        client_read(c, at, 20 * KIB);
    assert_in_range(c->calls, 3, n / 8);
    assert_true(c->fetched <= (n + 20) * 48 * KIB); /* and nothing between */
    c->calls = n = 0;
    for (uint64_t at = 900 * MIB; at > 500 * MIB; at -= MIB, n++)
        client_read(c, at, 20 * KIB);
    assert_in_range(c->calls, 3, n / 8);
    free(c);
}

static void test_the_end_clips(void **state)
{
    struct client *c = client_new(200 * KIB);

    (void)state;
    client_read(c, 0, 128 * KIB);
    assert_int_equal(c->tell_at, 0); /* all is asked for */
    assert_true(all_present(c, 0, 200 * KIB));
    free(c);
    c = client_new(10);
    plan_read(&c->h, 0, UINT64_MAX, &c->limits, &c->plan);
    assert_int_equal(c->plan.n, 0);
    plan_read(&c->h, 9, UINT64_MAX - 3, &c->limits, &c->plan);
    assert_int_equal(c->plan.n, 0);
    free(c);
}

static void test_a_small_cache_bounds_the_window(void **state)
{
    struct client *c = client_new(BIG);

    (void)state;
    c->limits.window_bytes = MIB;
    for (uint64_t at = 0; at < 50 * MIB; at += 128 * KIB) {
        client_read(c, at, 128 * KIB);
        assert_true(c->fetched <= at + 128 * KIB + MIB + BLOCK_BYTES);
    }
    free(c);
    c = client_new(BIG);
    c->limits.window_bytes = 0;
    for (uint64_t at = 0; at < MIB; at += 128 * KIB)
        client_read(c, at, 128 * KIB);
    assert_int_equal(c->fetched, MIB);
    free(c);
}

static void test_a_jump_starts_over(void **state)
{
    struct client *c = client_new(BIG);

    (void)state;
    for (uint64_t at = 0; at < 20 * MIB; at += 128 * KIB)
        client_read(c, at, 128 * KIB);
    c->fetched = 0;
    client_read(c, 500 * MIB, 4096);
    assert_int_equal(c->fetched, BLOCK_BYTES);
    client_read(c, 500 * MIB + BLOCK_BYTES, 4096); /* going on there is a new stream, a small one */
    assert_int_equal(c->fetched, 2 * BLOCK_BYTES + PLAN_FIRST_BYTES);
    free(c);
}

/* Something of what was asked for is gone again, or was never brought: a miss asks for all of it.
 */
static void test_a_miss_in_the_window_heals_it(void **state)
{
    struct client *c = client_new(BIG);

    (void)state;
    for (uint64_t at = 0; at < 32 * MIB; at += 128 * KIB)
        client_read(c, at, 128 * KIB);
    memset(c->present, 0, sizeof(c->present));
    unsigned calls = c->calls;
    for (uint64_t at = 32 * MIB; at < 64 * MIB; at += 128 * KIB)
        client_read(c, at, 128 * KIB);
    assert_int_equal(c->calls, calls + 1);
    free(c);
}

/* The object was replaced by a smaller one, or cut: what was asked for of the old one does not count. */
static void test_the_object_has_become_smaller(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct client *c = client_new(BIG);
        uint64_t at = how == 1 ? BIG - MIB : 0;
        for (int i = 0; i < 64; i++, at = how == 1 ? at - 128 * KIB : at + 128 * KIB)
            client_read(c, at, 128 * KIB);
        c->limits.object_size = 8 * MIB + 5;
        c->tell_at = how == 2 ? 1 : 0;
        memset(c->present, how == 2, sizeof(c->present));
        for (int i = -2; i < 3; i++) {
            uint64_t off = (uint64_t)((int64_t)(8 * MIB) + i * 64 * 1024);
            client_read(c, MIN(off, c->limits.object_size - 1), 64 * KIB);
        }
        plan_told(&c->h, c->limits.object_size, &c->limits, &c->plan);
        follow(c);
        free(c);
    }
}

/* Whatever is read: ranges lie in the object, the telling makes progress. */
static void test_any_reads(void **state)
{
    const char *env = getenv("HAFIZ_TEST_SEED");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : 20261121;

    (void)state;
    printf("seed %u (HAFIZ_TEST_SEED)\n", seed);
    srandom(seed);
    for (int round = 0; round < 60; round++) {
        uint64_t size = 1 + (uint64_t)random() % (BIG - 1);
        struct client *c = client_new(size);
        c->limits.window_bytes = (uint64_t)random() % (256 * MIB);
        c->limits.request_bytes = (1 + (uint64_t)random() % 512) * BLOCK_BYTES;
        uint64_t at = 0;
        for (int i = 0; i < 2000; i++) {
            uint64_t len = 1 + (uint64_t)random() % MIB;
            switch (random() % 6) {
            case 0:
                at = (uint64_t)random() % size;
                break;
            case 1:
                at = at > len ? at - len : 0;
                break;
            case 2:
                at = at + 3 * MIB < size ? at + 3 * MIB : at;
                break;
            default:
                at = at + len < size ? at + len : size - 1;
            }
            if (at >= size)
                at = size - 1;
            client_read(c, at, MIN(len, size - at));
            if (c->tell_at)
                assert_true(c->tell_at <= size);
        }
        free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_reads_fetch_what_was_asked),
        cmocka_unit_test(test_a_sequential_reader_is_never_without_data),
        cmocka_unit_test(test_a_mute_client_calls_once_per_window),
        cmocka_unit_test(test_windows_grow_with_what_was_read),
        cmocka_unit_test(test_a_stream_may_start_anywhere),
        cmocka_unit_test(test_a_stream_may_be_out_of_order),
        cmocka_unit_test(test_several_streams_on_one_handle),
        cmocka_unit_test(test_a_backward_reader_is_seen),
        cmocka_unit_test(test_a_stride_is_seen),
        cmocka_unit_test(test_the_end_clips),
        cmocka_unit_test(test_a_small_cache_bounds_the_window),
        cmocka_unit_test(test_a_jump_starts_over),
        cmocka_unit_test(test_a_miss_in_the_window_heals_it),
        cmocka_unit_test(test_the_object_has_become_smaller),
        cmocka_unit_test(test_any_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
