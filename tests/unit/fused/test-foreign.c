/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A forked child's close is told from the opener's, and from another thread's of the opener. */
#include "fused/foreign.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static pid_t thread_id;
static pthread_barrier_t meet;

static void *sleeper(void *arg)
{
    (void)arg;
    thread_id = gettid();
    pthread_barrier_wait(&meet);
    pthread_barrier_wait(&meet);
    return NULL;
}

static pid_t child_that_waits(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        for (;;)
            pause();
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void test_the_opener_and_its_threads_are_not_foreign(void **state)
{
    pthread_t t;

    (void)state;
    pthread_barrier_init(&meet, NULL, 2);
    assert_int_equal(pthread_create(&t, NULL, sleeper, NULL), 0);
    pthread_barrier_wait(&meet);
    assert_int_equal(foreign_opener(getpid()), getpid());
    assert_false(foreign_flush(getpid(), getpid()));
    assert_false(foreign_flush(getpid(), thread_id));
    /* a thread that is not the first cannot say which process it belongs to */
    assert_int_equal(foreign_opener(thread_id), 0);
    assert_false(foreign_flush(0, getpid()));
    pthread_barrier_wait(&meet);
    pthread_join(t, NULL);
}

static void test_a_child_is_foreign(void **state)
{
    pid_t child = child_that_waits();

    (void)state;
    assert_true(foreign_flush(getpid(), child));
    assert_true(foreign_flush(child, getpid()));
    end(child);
}

static void test_a_dead_opener_leaves_only_foreigners(void **state)
{
    pid_t child = child_that_waits();
    pid_t opener = foreign_opener(child);

    (void)state;
    assert_int_equal(opener, child);
    end(child);
    assert_true(foreign_flush(opener, getpid()));
}

static void test_the_unknown_is_not_foreign(void **state)
{
    (void)state;
    assert_int_equal(foreign_opener(0), 0); /* another PID namespace */
    assert_false(foreign_flush(getpid(), 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_opener_and_its_threads_are_not_foreign),
        cmocka_unit_test(test_a_child_is_foreign),
        cmocka_unit_test(test_a_dead_opener_leaves_only_foreigners),
        cmocka_unit_test(test_the_unknown_is_not_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
