/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* How many files are fetched ahead, for readers of every kind: what they find there, and what is wasted. */
#include "s3proxyd/fs/series.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/must.h"

#define N 4000u
#define MOST (64ull * 1024 * 1024)

/* One directory of N files and one reader of it, which is all that files-ahead.c adds. */
struct world {
    struct series s;
    struct series_ledger l;
    unsigned furthest, edge; /* behind what was opened; behind what was looked at for fetching */
    bool begun, fetched[N], ahead[N];
    uint64_t size, read_bytes, fetched_bytes;
    unsigned hits;
};

static void settle(struct world *w, unsigned i, bool opened)
{
    if (w->ahead[i])
        series_done(&w->l, series_bytes(w->size), opened);
    w->ahead[i] = false;
}

static void bring(struct world *w, unsigned i)
{
    w->fetched_bytes += w->fetched[i] ? 0 : series_bytes(w->size);
    w->fetched[i] = true;
}

static void go_on(struct world *w)
{
    uint64_t bytes = series_bytes(w->size);

    while (w->edge < N && series_more(&w->s, &w->l, w->edge - w->furthest, bytes, MOST)) {
        w->ahead[w->edge] = true;
        series_fetched(&w->l, bytes);
        bring(w, w->edge++);
    }
}

static void open_file(struct world *w, unsigned i)
{
    series_opened(&w->l, w->size);
    w->read_bytes += series_bytes(w->size);
    w->hits += w->fetched[i];
    settle(w, i, true);
    bring(w, i);
    if (!w->begun || i >= w->edge + SERIES_GAP || i + 200 < w->furthest) { /* somewhere else */
        for (unsigned k = 0; k < N; k++)
            settle(w, k, false);
        w->s = (struct series){0};
        w->furthest = w->edge = i + 1;
        w->begun = true;
    } else if (i >= w->furthest) {
        series_next(&w->s, i - w->furthest + 1);
        w->furthest = i + 1;
        w->edge = MAX(w->edge, w->furthest);
    }
    go_on(w);
}

static struct world *world(uint64_t size)
{
    static struct world w;

    memset(&w, 0, sizeof(w));
    w.size = size;
    return &w;
}

static void test_a_series_is_known_at_the_second_file(void **state)
{
    struct world *w = world(30000);

    (void)state;
    open_file(w, 0);
    assert_int_equal(w->edge, 1);
    open_file(w, 1);
    assert_int_equal(w->edge, 2 + SERIES_WINDOW_FIRST);
    open_file(w, 2);
    assert_int_equal(w->edge, 3 + SERIES_WINDOW_FIRST + 1); /* one has gone, two come */
}

static void test_with_gaps_at_the_third(void **state)
{
    struct world *w = world(30000);

    (void)state;
    open_file(w, 10);
    open_file(w, 12);
    assert_int_equal(w->s.window, 0);
    open_file(w, 15);
    assert_int_equal(w->s.window, SERIES_WINDOW_FIRST);
}

static void test_the_window_grows_to_its_most(void **state)
{
    struct world *w = world(30000);

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        open_file(w, i);
    assert_int_equal(w->edge - w->furthest, SERIES_WINDOW_MAX);
    assert_int_equal(w->hits, 198);
}

/* Eight threads take the next of one list each; they open in about that order. */
static void test_threads_that_share_a_list(void **state)
{
    struct world *w = world(30000);
    unsigned waiting[8], next = 0, left = 1000;

    (void)state;
    srandom(1);
    for (unsigned t = 0; t < 8; t++)
        waiting[t] = next++;
    while (left--) {
        unsigned t = (unsigned)random() % 8;
        open_file(w, waiting[t]);
        waiting[t] = next++;
    }
    assert_true(w->hits > 980);
    assert_in_range(w->s.window, SERIES_WINDOW_MAX / 2, SERIES_WINDOW_MAX);
}

static void open_chosen(struct world *w, unsigned one_of, bool sorted)
{
    for (unsigned round = 0; round < N / one_of; round++) {
        unsigned i = (unsigned)random() % N;
        if (sorted)
            i = round * one_of + (unsigned)random() % one_of;
        open_file(w, i);
    }
}

static void test_one_of_twenty_fetches_little_more(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 50; seed++) {
        for (int sorted = 0; sorted < 2; sorted++) {
            struct world *w = world(20000);
            srandom(seed);
            open_chosen(w, 20, sorted);
            assert_true(w->fetched_bytes <= 2 * w->read_bytes);
        }
    }
}

/* Whatever he opens: not more than twice, and what is given away at once. */
static void test_nobody_fetches_more_than_twice(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 300; seed++) {
        struct world *w = world(500 + seed * 200);
        unsigned at = 0;
        srandom(seed);
        for (unsigned n = 0; n < 500; n++) {
            unsigned step = (unsigned)random() % (2 + seed % 19);
            at = random() % 50 ? (at + step) % N : (unsigned)random() % N;
            open_file(w, at);
            assert_true(w->fetched_bytes <= 2 * w->read_bytes + SERIES_FREE_BYTES);
        }
    }
}

static void test_one_who_stops_costs_his_window(void **state)
{
    struct world *w = world(60000);

    (void)state;
    for (unsigned i = 0; i < 5; i++)
        open_file(w, i);
    assert_true(w->fetched_bytes <= w->read_bytes + (SERIES_WINDOW_FIRST + 4) * 60000);
}

static void test_after_a_jump_it_begins_again(void **state)
{
    struct series s = {0};

    (void)state;
    for (unsigned i = 0; i < 30; i++)
        series_next(&s, 1);
    unsigned before = s.window;
    series_next(&s, SERIES_GAP_KNOWN); /* a thread was late */
    assert_int_equal(s.window, before + 1);
    series_next(&s, SERIES_GAP_KNOWN + 1);
    assert_true(s.window <= before / 2 + 1);
    while (s.window)
        series_next(&s, SERIES_GAP_KNOWN + 1);
    series_next(&s, SERIES_GAP + 1);
    assert_int_equal(s.window, 0);
    series_next(&s, 1);
    assert_int_equal(s.window, SERIES_WINDOW_FIRST);
}

static void test_bytes_are_bounded(void **state)
{
    struct series s = {.window = SERIES_WINDOW_MAX};
    struct series_ledger l = {.opened = MOST};

    (void)state;
    assert_true(series_more(&s, &l, 0, SERIES_FILE_MAX_BYTES, MOST));
    assert_false(series_more(&s, &l, 0, 1000, 999)); /* a share of a small cache */
    assert_false(series_more(&s, &l, SERIES_WINDOW_MAX, 1000, MOST));
    series_fetched(&l, SERIES_AHEAD_MAX_BYTES - 1000);
    assert_true(series_more(&s, &l, 1, 1000, MOST));
    assert_false(series_more(&s, &l, 1, 1001, MOST));
    assert_int_equal(series_bytes(5ull << 40), SERIES_FILE_MAX_BYTES);
    assert_int_equal(series_bytes(0), 0);
}

/* What was long ago buys nothing: who has read well for hours may not fetch gigabytes for nothing. */
static void test_the_past_fades(void **state)
{
    struct series_ledger l = {0};

    (void)state;
    for (unsigned i = 0; i < 100000; i++)
        series_opened(&l, 1u << 20);
    assert_true(l.opened <= 64ull * 1024 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_series_is_known_at_the_second_file),
        cmocka_unit_test(test_with_gaps_at_the_third),
        cmocka_unit_test(test_the_window_grows_to_its_most),
        cmocka_unit_test(test_threads_that_share_a_list),
        cmocka_unit_test(test_one_of_twenty_fetches_little_more),
        cmocka_unit_test(test_nobody_fetches_more_than_twice),
        cmocka_unit_test(test_one_who_stops_costs_his_window),
        cmocka_unit_test(test_after_a_jump_it_begins_again),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_the_past_fades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
