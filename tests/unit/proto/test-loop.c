/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The loop's promises: order, one shot, later, and that callbacks may free what they were called for. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/base/loop.h"
#include "proto/base/must.h"

struct world {
    struct loop *loop;
    struct loop_io *io;
    struct loop_timer *timer, *other;
    struct loop_signal *signal;
    struct loop_task a, b;
    int fd, count;
    char order[64];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    *state = w;
    w->fd = -1;
    return loop_new(&w->loop);
}

static int teardown(void **state)
{
    struct world *w = *state;

    loop_free(w->loop);
    if (w->fd >= 0)
        close(w->fd);
    free(w);
    return 0;
}

static void note(struct world *w, const char *what)
{
    strncat(w->order, what, sizeof(w->order) - strlen(w->order) - 1);
}

static void stop_cb(void *arg)
{
    loop_stop(((struct world *)arg)->loop);
}

static void test_stop_before_run(void **state)
{
    struct world *w = *state;

    loop_stop(w->loop);
    assert_int_equal(loop_run(w->loop), 0);
    loop_task_init(&w->a, stop_cb, w);
    loop_task_add(w->loop, &w->a);
    assert_int_equal(loop_run(w->loop), 0);
}

static void task_b(void *arg)
{
    struct world *w = arg;

    note(w, "b");
    loop_stop(w->loop);
}

static void task_a(void *arg)
{
    struct world *w = arg;

    note(w, "a");
    if (++w->count < 5)
        loop_task_add(w->loop, &w->a); /* itself, later */
    else
        loop_task_add(w->loop, &w->b);
}

static void test_tasks_run_once_and_later(void **state)
{
    struct world *w = *state;

    loop_task_init(&w->a, task_a, w);
    loop_task_init(&w->b, task_b, w);
    loop_task_add(w->loop, &w->a);
    loop_task_add(w->loop, &w->a);
    assert_string_equal(w->order, "");
    assert_int_equal(loop_run(w->loop), 0);
    assert_string_equal(w->order, "aaaaab");
}

static void task_cancels(void *arg)
{
    struct world *w = arg;

    note(w, "x");
    loop_task_cancel(&w->b); /* queued behind in the same batch */
    loop_task_init(&w->a, stop_cb, w);
    loop_task_add(w->loop, &w->a);
}

static void test_cancelled_tasks_do_not_run(void **state)
{
    struct world *w = *state;

    loop_task_init(&w->a, task_cancels, w);
    loop_task_init(&w->b, task_b, w);
    loop_task_add(w->loop, &w->a);
    loop_task_add(w->loop, &w->b);
    assert_int_equal(loop_run(w->loop), 0);
    assert_string_equal(w->order, "x");
}

static void test_a_loop_may_go_with_tasks_queued(void **state)
{
    struct world *w = *state;

    loop_task_init(&w->a, task_a, w);
    loop_task_add(w->loop, &w->a);
    loop_free(w->loop);
    loop_task_cancel(&w->a);
    assert_int_equal(loop_new(&w->loop), 0);
}

/* A task that queues itself for ever must not keep descriptors from being served. */
static void task_forever(void *arg)
{
    struct world *w = arg;

    loop_task_add(w->loop, &w->a);
}

static void io_stops(void *arg, unsigned events)
{
    struct world *w = arg;

    assert_int_equal(events, LOOP_READ);
    loop_io_free(w->io);
    w->io = NULL;
    loop_stop(w->loop);
}

static void test_busy_tasks_let_descriptors_through(void **state)
{
    struct world *w = *state;

    w->fd = eventfd(1, EFD_CLOEXEC);
    loop_task_init(&w->a, task_forever, w);
    loop_task_add(w->loop, &w->a);
    assert_int_equal(loop_io_new(w->loop, w->fd, io_stops, w, &w->io), 0);
    assert_int_equal(loop_io_want(w->io, LOOP_READ), 0);
    assert_int_equal(loop_run(w->loop), 0);
    assert_null(w->io);
}

static void timer_once(void *arg)
{
    struct world *w = arg;

    note(w, "t");
}

static void timer_frees_both(void *arg)
{
    struct world *w = arg;

    note(w, "f");
    loop_timer_free(w->timer);
    loop_timer_free(w->other);
    w->timer = w->other = NULL;
    loop_stop(w->loop);
}

static void test_timers(void **state)
{
    struct world *w = *state;
    struct loop_timer *once, *replaced, *cleared;
    uint64_t start = clock_mono_ns();

    assert_int_equal(loop_timer_new(w->loop, timer_once, w, &once), 0);
    assert_int_equal(loop_timer_new(w->loop, timer_once, w, &replaced), 0);
    assert_int_equal(loop_timer_new(w->loop, timer_once, w, &cleared), 0);
    assert_int_equal(loop_timer_new(w->loop, timer_frees_both, w, &w->timer), 0);
    assert_int_equal(loop_timer_new(w->loop, timer_frees_both, w, &w->other), 0);
    loop_timer_set_ms(once, 5);
    loop_timer_set_ms(replaced, 1);
    loop_timer_set_ms(replaced, UINT64_MAX);
    loop_timer_set_ms(cleared, 1);
    loop_timer_clear(cleared);
    loop_timer_set_ms(w->timer, 40); /* both due at once: the first frees the second */
    loop_timer_set_ms(w->other, 40);
    assert_int_equal(loop_run(w->loop), 0);
    assert_string_equal(w->order, "tf");
    assert_true(clock_mono_ns() - start >= 30 * NS_PER_MS);
    loop_timer_set_ms(once, 0);
    loop_task_init(&w->a, stop_cb, w);
    assert_int_equal(loop_timer_new(w->loop, stop_cb, w, &w->timer), 0);
    loop_timer_set_ms(w->timer, 20);
    assert_int_equal(loop_run(w->loop), 0);
    assert_string_equal(w->order, "tft");
    loop_timer_free(w->timer);
    loop_timer_free(once);
    loop_timer_free(replaced);
    loop_timer_free(cleared);
    loop_timer_free(NULL);
}

static void io_counts(void *arg, unsigned events)
{
    struct world *w = arg;

    note(w, events & LOOP_READ ? "r" : "w");
    if (++w->count == 3)
        loop_io_want(w->io, LOOP_WRITE); /* no more reads, though there is something to read */
    if (w->count == 5) {
        loop_io_want(w->io, 0);
        loop_timer_set_ms(w->timer, 20);
    }
}

static void test_descriptors_by_level(void **state)
{
    struct world *w = *state;

    w->fd = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(loop_io_new(w->loop, w->fd, io_counts, w, &w->io), 0);
    assert_int_equal(loop_timer_new(w->loop, stop_cb, w, &w->timer), 0);
    assert_int_equal(loop_io_want(w->io, LOOP_READ), 0);
    assert_int_equal(loop_run(w->loop), 0);
    assert_string_equal(w->order, "rrrww");
    loop_io_free(w->io);
    loop_timer_free(w->timer);
}

static void io_frees_itself(void *arg, unsigned events)
{
    struct world *w = arg;

    note(w, events & LOOP_READ ? "r" : "w");
    loop_io_free(w->io); /* the other direction is due as well */
    w->io = NULL;
    loop_task_init(&w->a, stop_cb, w);
    loop_task_add(w->loop, &w->a);
}

static void test_a_callback_may_free_its_io(void **state)
{
    struct world *w = *state;
    int s[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    assert_int_equal(write(s[1], "x", 1), 1);
    assert_int_equal(loop_io_new(w->loop, s[0], io_frees_itself, w, &w->io), 0);
    assert_int_equal(loop_io_want(w->io, LOOP_READ | LOOP_WRITE), 0);
    assert_int_equal(loop_run(w->loop), 0);
    assert_int_equal(strlen(w->order), 1);
    close(s[0]);
    close(s[1]);
}

static void signal_frees(void *arg)
{
    struct world *w = arg;

    note(w, "s");
    loop_signal_free(w->signal);
    loop_stop(w->loop);
}

static void test_signals(void **state)
{
    struct world *w = *state;

    assert_int_equal(loop_signal_new(w->loop, SIGUSR1, signal_frees, w, &w->signal), 0);
    raise(SIGUSR1);
    assert_int_equal(loop_run(w->loop), 0);
    assert_string_equal(w->order, "s");
}

static void *other_loop(void *arg)
{
    struct world *w = calloc(1, sizeof(*w));

    (void)arg;
    must(loop_new(&w->loop) == 0);
    loop_task_init(&w->a, task_a, w);
    loop_task_init(&w->b, task_b, w);
    must(loop_timer_new(w->loop, timer_once, w, &w->timer) == 0);
    for (int i = 0; i < 200; i++) {
        w->count = 0;
        loop_timer_set_ms(w->timer, 0);
        loop_task_add(w->loop, &w->a);
        must(loop_run(w->loop) == 0);
    }
    loop_timer_free(w->timer);
    loop_free(w->loop);
    free(w);
    return NULL;
}

static void test_loops_of_several_threads(void **state)
{
    pthread_t t[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, other_loop, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_stop_before_run),
        T(test_tasks_run_once_and_later),
        T(test_cancelled_tasks_do_not_run),
        T(test_a_loop_may_go_with_tasks_queued),
        T(test_busy_tasks_let_descriptors_through),
        T(test_timers),
        T(test_descriptors_by_level),
        T(test_a_callback_may_free_its_io),
        T(test_signals),
        T(test_loops_of_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
