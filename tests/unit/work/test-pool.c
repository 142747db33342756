/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Work runs elsewhere and comes home once, and freeing the pool forgets nothing. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "s3proxyd/work/pool.h"

#define ITEMS 5000

struct item {
    struct work work;
    unsigned number;
    pthread_t ran_on;
};

static struct home {
    struct loop *loop;
    struct mailbox *mailbox;
    struct pool *pool;
    unsigned total, expected;
    pthread_t main;
} home;

static int setup(void **state)
{
    (void)state;
    home = (struct home){.main = pthread_self()};
    if (loop_new(&home.loop) < 0 || mailbox_new(home.loop, &home.mailbox) < 0)
        return -1;
    return pool_new(home.mailbox, 4, &home.pool) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(home.pool);
    mailbox_free(home.mailbox);
    loop_free(home.loop);
    return 0;
}

static void run_item(struct work *work)
{
    struct item *item = container_of(work, struct item, work);

    item->ran_on = pthread_self();
}

static void item_done(struct work *work)
{
    struct item *item = container_of(work, struct item, work);

    assert_true(pthread_equal(pthread_self(), home.main));
    assert_false(pthread_equal(item->ran_on, home.main));
    free(item);
    if (++home.total == home.expected)
        loop_stop(home.loop);
}

static struct work *make(unsigned number)
{
    struct item *item = calloc(1, sizeof(*item));

    assert_non_null(item);
    item->work.run = run_item;
    item->work.done = item_done;
    item->number = number;
    return &item->work;
}

static void test_every_item_comes_home_once(void **state)
{
    (void)state;
    home.expected = ITEMS;
    for (unsigned i = 0; i < ITEMS; i++)
        pool_submit(home.pool, make(i));
    assert_int_equal(loop_run(home.loop), 0);
    assert_int_equal(home.total, ITEMS);
}

static void submit_more(struct work *work)
{
    struct item *item = container_of(work, struct item, work);

    home.total++;
    if (item->number-- > 0)
        pool_submit(home.pool, work);
    else
        free(item);
}

static void test_free_waits_for_what_done_submits(void **state)
{
    struct work *work = make(50);

    (void)state;
    work->done = submit_more;
    pool_submit(home.pool, work);
    for (unsigned i = 0; i < 100; i++)
        pool_submit(home.pool, make(i));
    pool_free(home.pool);
    home.pool = NULL;
    assert_int_equal(home.total, 151);
}

static void test_thread_counts_are_bounded(void **state)
{
    struct pool *pool;

    (void)state;
    assert_int_equal(pool_new(home.mailbox, POOL_THREADS_MAX + 1, &pool), -EINVAL);
    assert_int_equal(pool_new(home.mailbox, 0, &pool), 0);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_item_comes_home_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_free_waits_for_what_done_submits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_thread_counts_are_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
