/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Open files: numbers, versions, and what is unsaved in them. */
#include "fused/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct handle *add(uint64_t ino, int flags)
{
    struct handle *h;
    assert_int_equal(handle_new(ino, flags, 0, &h), 0);
    assert_int_equal(handle_add(h), 0);
    return h;
}

static void test_numbers_are_found_until_dropped(void **state)
{
    struct handle *a = add(2, O_RDWR | O_TRUNC), *b = add(2, O_RDONLY), *found;

    (void)state;
    assert_int_not_equal(a->fh, 0);
    assert_int_not_equal(a->fh, b->fh);
    assert_int_equal(a->flags & O_TRUNC, 0); /* opening again must not truncate again */
    found = handle_get(a->fh);
    assert_ptr_equal(found, a);
    handle_drop(a);
    assert_true(a->released);
    assert_null(handle_get(a->fh));
    handle_drop(a); /* twice is once */
    handle_unref(found);
    handle_unref(a);
    handle_drop(b);
    handle_unref(b);
    assert_null(handle_get(12345));
}

static void test_all_counts_what_it_gives(void **state)
{
    struct handle *a = add(2, O_RDONLY), *b = add(3, O_RDONLY), **all;
    size_t n;

    (void)state;
    handle_unref(a); /* the table's count is left */
    handle_unref(b);
    assert_int_equal(handle_all(&all, &n), 0);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        handle_drop(all[i]);
        handle_unref(all[i]);
    }
    free(all);
    assert_int_equal(handle_all(&all, &n), 0);
    assert_int_equal(n, 0);
    free(all);
}

static void test_the_etag_ends_with_the_first_change(void **state)
{
    struct handle *h = add(2, O_RDWR);
    char *etag = handle_etag(h);

    (void)state;
    assert_string_equal(etag, "");
    free(etag);
    assert_int_equal(handle_set_version(h, NULL, msg_str_of("\"abc\"")), 0);
    etag = handle_etag(h);
    assert_string_equal(etag, "\"abc\"");
    free(etag);
    assert_null(handle_view(h));
    h->changes++;
    assert_true(handle_unsaved(h));
    etag = handle_etag(h); /* our own save gave it another one, which nobody told us */
    assert_string_equal(etag, "");
    free(etag);
    h->saved = h->changes;
    assert_false(handle_unsaved(h));
    handle_drop(h);
    handle_unref(h);
}

static struct handle *add_bytes(uint64_t ino, const char *bytes)
{
    struct handle *h = add(ino, O_RDONLY);
    assert_int_equal(handle_set_bytes(h, bytes, strlen(bytes), msg_str_of("\"e\"")), 0);
    return h;
}

static bool has(struct handle *h, const char *bytes)
{
    struct view *v = handle_view(h);
    char buf[16];
    size_t got;

    if (!v)
        return false;
    assert_int_equal(view_read(v, 0, sizeof(buf), buf, &got), 0);
    assert_int_equal(got, strlen(bytes));
    assert_memory_equal(buf, bytes, got);
    view_unref(v);
    return true;
}

static void close_it(struct handle *h)
{
    handle_drop(h);
    handle_unref(h);
}

static void test_bytes_are_forgotten_by_inode(void **state)
{
    struct handle *a = add_bytes(2, "two"), *b = add_bytes(3, "three"), *c = add_bytes(2, "two"),
                  *empty = add_bytes(4, "");

    (void)state;
    assert_true(has(a, "two") && has(b, "three") && has(empty, ""));
    handle_forget_bytes(2);
    assert_false(has(a, "two") || has(c, "two"));
    assert_true(has(b, "three"));
    char *etag = handle_etag(a); /* which version it was is still known, for a re-attach */
    assert_string_equal(etag, "\"e\"");
    free(etag);
    struct view *reading = handle_view(b);
    handle_forget_bytes(0);
    assert_false(has(b, "three") || has(empty, ""));
    char buf[16];
    size_t got;
    assert_int_equal(view_read(reading, 0, sizeof(buf), buf, &got), 0); /* who had begun goes on */
    assert_int_equal(got, 5);
    view_unref(reading);
    close_it(a);
    close_it(b);
    close_it(c);
    close_it(empty);
}

static void test_bytes_are_bounded_in_all(void **state)
{
    static char bytes[PROTO_INLINE_MAX_BYTES];
    enum { MANY = 2 * HANDLE_BYTES_MAX / PROTO_INLINE_MAX_BYTES };
    static struct handle *h[MANY];
    size_t kept = 0;

    (void)state;
    assert_int_equal(handle_bytes_room(), PROTO_INLINE_MAX_BYTES);
    for (size_t i = 0; i < MANY; i++) {
        h[i] = add(10 + i, O_RDONLY);
        assert_int_equal(handle_set_bytes(h[i], bytes, sizeof(bytes), msg_str_of("e")), 0);
        struct view *v = handle_view(h[i]);
        kept += v ? sizeof(bytes) : 0;
        view_unref(v);
    }
    assert_in_range(kept, HANDLE_BYTES_MAX / 2, HANDLE_BYTES_MAX);
    assert_int_equal(handle_bytes_room(), 0);
    assert_int_equal(handle_set_version(h[0], NULL, msg_str_of("f")), 0);
    close_it(h[1]);
    assert_int_equal(handle_bytes_room(), PROTO_INLINE_MAX_BYTES);
    handle_forget_bytes(0);
    close_it(h[0]);
    for (size_t i = 2; i < MANY; i++)
        close_it(h[i]);
    assert_int_equal(handle_bytes_room(), PROTO_INLINE_MAX_BYTES);
}

#define ROUNDS 3000u

static _Atomic bool over;

static void *forgetter(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !over; i++)
        handle_forget_bytes(i % 3 == 2 ? 0 : 50 + i % 2);
    return NULL;
}

static void *reader(void *arg)
{
    uint64_t first = *(uint64_t *)arg;
    char buf[16];
    size_t got;

    for (uint64_t fh = first; !over; fh = fh > first + 2 * ROUNDS ? first : fh + 1) {
        struct handle *h = handle_get(fh);
        struct view *v = h ? handle_view(h) : NULL;
        if (v)
            assert_int_equal(view_read(v, 0, sizeof(buf), buf, &got), 0);
        view_unref(v);
        handle_unref(h);
    }
    return NULL;
}

/* Opened, read, forgotten and closed at once: what the thread sanitizer is there for. */
static void test_threads_meet_at_the_bytes(void **state)
{
    struct handle *h = add_bytes(50, "x");
    uint64_t first = h->fh;
    pthread_t t[2];

    (void)state;
    close_it(h);
    assert_int_equal(pthread_create(&t[0], NULL, forgetter, NULL), 0);
    assert_int_equal(pthread_create(&t[1], NULL, reader, &first), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct handle *a = add_bytes(50, "fifty"), *b = add_bytes(51, "more");
        assert_int_equal(handle_set_version(a, NULL, msg_str_of("f")), 0);
        assert_int_equal(handle_set_bytes(a, "again", 5, msg_str_of("g")), 0);
        close_it(a);
        close_it(b);
    }
    over = true;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(handle_bytes_room(), PROTO_INLINE_MAX_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_found_until_dropped),
        cmocka_unit_test(test_all_counts_what_it_gives),
        cmocka_unit_test(test_the_etag_ends_with_the_first_change),
        cmocka_unit_test(test_bytes_are_forgotten_by_inode),
        cmocka_unit_test(test_bytes_are_bounded_in_all),
        cmocka_unit_test(test_threads_meet_at_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
