/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Mappings that outlive what they map: accesses go on in zeros, and nothing else is mended. */
#include "proto/base/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES (64u * 1024)

static int file;

static volatile char *map_anew(void)
{
    file = memfd_create("guard", MFD_CLOEXEC);
    assert_int_equal(ftruncate(file, BYTES), 0);
    char *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    memset(map, 'x', BYTES);
    return map;
}

static void prepare(void *fresh)
{
    ((char *)fresh)[8] = 'p';
}

static void test_a_cut_file_reads_as_prepared(void **state)
{
    (void)state;
    volatile char *map = map_anew();
    struct guard *g;
    assert_int_equal(guard_new((char *)map, BYTES, prepare, &g), 0);
    assert_false(guard_broken(g));
    assert_int_equal(ftruncate(file, BYTES / 2), 0);
    assert_int_equal(map[5], 'x');
    assert_false(guard_broken(g));
    assert_int_equal(map[BYTES - 1], 0); /* all of it, not only the page that is gone */
    assert_true(guard_broken(g));
    assert_int_equal(map[5], 0);
    assert_int_equal(map[8], 'p');
    map[9] = 'w';
    assert_int_equal(map[9], 'w');
    guard_free(g);
    munmap((char *)map, BYTES);
    close(file);
}

static void *writer(void *map)
{
    for (unsigned i = 0; i < BYTES; i += 512)
        __atomic_store_n((char *)map + i, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void test_threads_meet_at_it(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        pthread_t threads[4];
        volatile char *map = map_anew();
        struct guard *g;
        assert_int_equal(guard_new((char *)map, BYTES, prepare, &g), 0);
        assert_int_equal(ftruncate(file, 0), 0);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, writer, (char *)map), 0);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(map[BYTES - 512], 1);
        assert_int_equal(map[8], 'p');
        guard_free(g);
        munmap((char *)map, BYTES);
        close(file);
    }
}

static int end_of_child(void (*body)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void touch_unguarded(void)
{
    volatile char *map = map_anew(), *other = map_anew();
    struct guard *g;
    if (guard_new((char *)map, BYTES, prepare, &g) == 0 && ftruncate(file, 0) == 0)
        other[0] = 1;
}

static void sent_from_outside(void)
{
    volatile char *map = map_anew();
    struct guard *g;
    if (guard_new((char *)map, BYTES, prepare, &g) == 0)
        kill(getpid(), SIGBUS);
}

static void test_other_bus_errors_end_the_process(void **state)
{
    (void)state;
    int status = end_of_child(touch_unguarded);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = end_of_child(sent_from_outside);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cut_file_reads_as_prepared),
        cmocka_unit_test(test_threads_meet_at_it),
        cmocka_unit_test(test_other_bus_errors_end_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
