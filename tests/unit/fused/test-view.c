/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reads from a cache file by its sidecar, while bits come and go. */
#include "fused/view.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/sidecar.h"

#define SIZE (3ull * BLOCK_BYTES + 100)

static int cache, sidecar; /* the backend's */
static struct sidecar_head *head;
static char buf[4 * BLOCK_BYTES];

static int setup(void **state)
{
    static char block[BLOCK_BYTES];
    (void)state;
    cache = memfd_create("cache", MFD_CLOEXEC);
    sidecar = memfd_create("sidecar", MFD_CLOEXEC);
    assert_int_equal(ftruncate(cache, (off_t)SIZE), 0);
    assert_int_equal(ftruncate(sidecar, (off_t)sidecar_file_bytes(SIZE)), 0);
    head = mmap(NULL, sidecar_client_bytes(SIZE), PROT_READ | PROT_WRITE, MAP_SHARED, sidecar, 0);
    assert_ptr_not_equal(head, MAP_FAILED);
    head->magic = SIDECAR_MAGIC;
    head->version = SIDECAR_VERSION;
    head->block_bytes = BLOCK_BYTES;
    head->object_size = SIZE;
    for (unsigned i = 0; i < 4; i++) {
        memset(block, 'a' + (int)i, sizeof(block));
        size_t len = i < 3 ? sizeof(block) : 100;
        assert_int_equal(pwrite(cache, block, len, (off_t)i * (off_t)BLOCK_BYTES), len);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    munmap(head, sidecar_client_bytes(SIZE));
    close(cache);
    close(sidecar);
    return 0;
}

static void set_present(unsigned block, bool on)
{
    if (on)
        atomic_fetch_or(sidecar_present(head), 1ull << block);
    else
        atomic_fetch_and(sidecar_present(head), ~(1ull << block));
}

static struct view *view(void)
{
    struct view *v;
    assert_int_equal(view_new(dup(cache), dup(sidecar), SIZE, &v), 0);
    return v;
}

static void test_only_present_blocks_are_read(void **state)
{
    struct view *v = view();
    size_t got = 0;

    (void)state;
    assert_int_equal(view_read(v, 0, 10, buf, &got), -EAGAIN);
    set_present(0, true);
    assert_int_equal(view_read(v, 0, 10, buf, &got), 0);
    assert_int_equal(got, 10);
    assert_int_equal(buf[9], 'a');
    assert_int_equal(view_read(v, BLOCK_BYTES - 1, 1, buf, &got), 0);
    assert_int_equal(view_read(v, BLOCK_BYTES - 1, 2, buf, &got), -EAGAIN);
    set_present(1, true);
    assert_int_equal(view_read(v, BLOCK_BYTES - 1, 2, buf, &got), 0);
    assert_memory_equal(buf, "ab", 2);
    view_unref(v);
}

static void test_reads_end_with_the_file(void **state)
{
    struct view *v = view();
    size_t got = 0;

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        set_present(i, true);
    assert_int_equal(view_read(v, 0, sizeof(buf), buf, &got), 0);
    assert_int_equal(got, SIZE);
    assert_int_equal(buf[SIZE - 1], 'd');
    assert_int_equal(view_read(v, SIZE - 1, 10, buf, &got), 0);
    assert_int_equal(got, 1);
    assert_int_equal(view_read(v, SIZE, 10, buf, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(view_read(v, INT64_MAX - 20, 10, buf, &got), 0);
    assert_int_equal(got, 0);
    view_unref(v);
}

static void test_a_revoked_map_says_nothing(void **state)
{
    struct view *v = view();
    size_t got = 0;

    (void)state;
    set_present(0, true);
    head->revoked = 1;
    assert_int_equal(view_read(v, 0, 10, buf, &got), -EAGAIN);
    assert_int_equal(view_read(v, SIZE, 10, buf, &got), -EAGAIN); /* nor that the file ends here */
    view_unref(v);
}

static void test_a_short_cache_file_is_no_end(void **state)
{
    struct view *v = view();
    size_t got = 0;

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        set_present(i, true);
    assert_int_equal(ftruncate(cache, 100), 0);
    assert_int_equal(view_read(v, 0, 200, buf, &got), -EAGAIN);
    view_unref(v);
}

static void test_what_does_not_fit_is_refused(void **state)
{
    struct view *v;
    int p[2];

    (void)state;
    assert_int_equal(view_new(dup(cache), dup(sidecar), SIZE + 1, &v), -EPROTO);
    assert_int_equal(view_new(dup(cache), dup(sidecar), UINT64_MAX, &v), -EPROTO);
    assert_int_equal(view_new(dup(cache), dup(sidecar), INT64_MAX, &v), -EPROTO);
    assert_int_equal(view_new(dup(cache), -1, SIZE, &v), -EPROTO);
    assert_int_equal(pipe(p), 0);
    assert_int_equal(view_new(p[0], p[1], SIZE, &v), -EPROTO);
    head->version++;
    assert_int_equal(view_new(dup(cache), dup(sidecar), SIZE, &v), -EPROTO);
    head->version--;
    head->block_bytes *= 2;
    assert_int_equal(view_new(dup(cache), dup(sidecar), SIZE, &v), -EPROTO);
    head->block_bytes /= 2;
    head->magic++;
    assert_int_equal(view_new(dup(cache), dup(sidecar), SIZE, &v), -EPROTO);
    assert_int_equal(ftruncate(sidecar, SIDECAR_HEAD_BYTES), 0);
    assert_int_equal(view_new(dup(cache), dup(sidecar), SIZE, &v), -EPROTO);
}

static void test_bytes_are_read_as_a_file(void **state)
{
    struct view *v;
    size_t got = 1;

    (void)state;
    assert_int_equal(view_new_bytes("hello", 5, &v), 0);
    assert_int_equal(view_read(v, 0, 100, buf, &got), 0);
    assert_int_equal(got, 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(view_read(v, 3, 1, buf, &got), 0);
    assert_int_equal(got, 1);
    assert_int_equal(buf[0], 'l');
    assert_int_equal(view_read(v, 5, 10, buf, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(view_read(v, INT64_MAX - 20, 10, buf, &got), 0);
    assert_int_equal(got, 0);
    view_unref(v);
    assert_int_equal(view_new_bytes(NULL, 0, &v), 0);
    assert_int_equal(view_read(v, 0, 10, buf, &got), 0);
    assert_int_equal(got, 0);
    view_unref(v);
}

static void test_a_map_that_was_cut_says_nothing(void **state)
{
    (void)state;
    size_t got;
    struct view *v = view();
    for (unsigned i = 0; i < 4; i++)
        set_present(i, true);
    assert_int_equal(view_read(v, 0, 10, buf, &got), 0);
    assert_int_equal(ftruncate(sidecar, 0), 0);
    assert_int_equal(view_read(v, 0, 10, buf, &got), -EAGAIN);
    assert_int_equal(ftruncate(sidecar, (off_t)sidecar_file_bytes(SIZE)), 0);
    assert_int_equal(view_read(v, 0, 10, buf, &got), -EAGAIN);
    view_unref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_present_blocks_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reads_end_with_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_revoked_map_says_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_short_cache_file_is_no_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_map_that_was_cut_says_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_refused, setup, teardown),
        cmocka_unit_test(test_bytes_are_read_as_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
