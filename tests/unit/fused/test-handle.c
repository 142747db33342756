/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Open files: numbers, versions, and what is unsaved in them. */
#include "fused/handle.h"

#include <errno.h>
#include <fcntl.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_found_until_dropped),
        cmocka_unit_test(test_all_counts_what_it_gives),
        cmocka_unit_test(test_the_etag_ends_with_the_first_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
