/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The pace on simulated networks: it finds how many requests fill one, keeps away from more, and
 * gives way when it is told to. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "s3proxyd/store/pace.h"

#define MB (1000ull * 1000)
#define REQUEST (8 * MB)

struct network {
    struct pace pace;
    uint64_t now_ns, per_connection, total; /* bytes a second */
    uint64_t left[64];
    unsigned running;
    bool slow_down; /* the next that ends is told so */
};

static uint64_t speed(const struct network *n)
{
    uint64_t all = n->per_connection * n->running;

    return all > n->total ? n->total : all;
}

/* One tick of a millisecond; there is always more to ask for. */
static void tick(struct network *n)
{
    while (pace_open(&n->pace)) {
        n->left[n->running++] = REQUEST;
        pace_start(&n->pace, n->now_ns);
    }
    uint64_t each = speed(n) / 1000 / n->running;
    n->now_ns += NS_PER_MS;
    for (unsigned i = 0; i < n->running;) {
        uint64_t got = MIN(each, n->left[i]);
        pace_bytes(&n->pace, got);
        n->left[i] -= got;
        if (n->left[i]) {
            i++;
            continue;
        }
        n->left[i] = n->left[--n->running];
        pace_end(&n->pace, true, n->slow_down, n->now_ns);
        n->slow_down = false;
    }
}

static void run(struct network *n, unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 1000; i++)
        tick(n);
}

static struct network network(uint64_t per_connection, uint64_t total)
{
    return (struct network){.now_ns = NS_PER_S, .per_connection = per_connection, .total = total};
}

static void test_rises_while_it_brings_more(void **state)
{
    struct network n = network(40 * MB, 1000 * MB);

    (void)state;
    run(&n, 20);
    assert_true(n.pace.limit >= 22); /* 25 would fill it */
    assert_true(n.pace.rate > 850 * MB);
}

static void test_stays_when_more_bring_nothing(void **state)
{
    struct network n = network(100 * MB, 200 * MB);

    (void)state;
    run(&n, 3);
    assert_in_range(n.pace.limit, PACE_FIRST, PACE_FIRST + 4);
}

static void test_a_slow_network_gets_small_requests(void **state)
{
    struct network n = network(100 * MB, 4 * MB);

    (void)state;
    assert_int_equal(pace_request_bytes(&n.pace, 512 * 1024, 8 << 20, 16384), 8 << 20);
    run(&n, 30);
    assert_int_equal(pace_request_bytes(&n.pace, 512 * 1024, 8 << 20, 16384), 512 * 1024);
    assert_in_range(pace_window_bytes(&n.pace, 4 << 20, 128 << 20), 4 << 20, 9 * MB);
    n = network(90 * MB, 1000 * MB);
    run(&n, 5);
    assert_int_equal(pace_request_bytes(&n.pace, 512 * 1024, 8 << 20, 16384), 8 << 20);
    assert_int_equal(pace_window_bytes(&n.pace, 4 << 20, 128 << 20), 128 << 20);
}

static void test_slow_down_halves_once_and_is_forgotten(void **state)
{
    struct network n = network(50 * MB, 1000 * MB);

    (void)state;
    run(&n, 10);
    unsigned before = n.pace.limit;
    n.slow_down = true;
    run(&n, 1);
    assert_in_range(n.pace.limit, PACE_MIN, before / 2);
    n.slow_down = true; /* of the same storm */
    run(&n, 1);
    assert_int_equal(n.pace.limit, before / 2);
    run(&n, 20);
    assert_true(n.pace.limit >= before / 2 + 4);
    for (int i = 0; i < 100; i++) {
        n.slow_down = true;
        run(&n, 4);
    }
    assert_in_range(n.pace.limit, PACE_MIN, PACE_FIRST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rises_while_it_brings_more),
        cmocka_unit_test(test_stays_when_more_bring_nothing),
        cmocka_unit_test(test_a_slow_network_gets_small_requests),
        cmocka_unit_test(test_slow_down_halves_once_and_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
