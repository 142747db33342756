/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the kernel knows, and the batches in which it is forgotten. */
#include "fused/known.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct seen {
    unsigned count;
    uint64_t ino, parent;
    char name[256];
} seen;

static void note(void *arg, uint64_t ino, uint64_t parent, const char *name, size_t len)
{
    (void)arg;
    seen.count++;
    seen.ino = ino;
    seen.parent = parent;
    snprintf(seen.name, sizeof(seen.name), "%.*s", (int)len, name);
}

static void walk(void)
{
    memset(&seen, 0, sizeof(seen));
    known_walk(note, NULL);
}

static void test_an_inode_is_known_until_all_counts_are_back(void **state)
{
    struct known_pair pairs[KNOWN_BATCH];

    (void)state;
    known_add(10, 2, "a", 1);
    known_add(10, 3, "a-much-longer-name-than-before", 30);
    walk();
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.parent, 3);
    assert_string_equal(seen.name, "a-much-longer-name-than-before");
    assert_false(known_forget(10, 1));
    walk();
    assert_int_equal(seen.count, 1);
    assert_false(known_forget(10, 1));
    walk();
    assert_int_equal(seen.count, 0);
    assert_int_equal(known_waiting(), 2);
    assert_int_equal(known_take(pairs), 2);
    assert_int_equal(le64toh(pairs[0].ino), 10);
    assert_int_equal(le64toh(pairs[1].count), 1);
    assert_int_equal(known_take(pairs), 0);
}

static void test_a_walk_sees_everything(void **state)
{
    struct known_pair pairs[KNOWN_BATCH];
    char name[256];

    (void)state;
    memset(name, 'n', sizeof(name));
    for (uint64_t i = 100; i < 5100; i++)
        known_add(i, 2, name, i % 256);
    walk();
    assert_int_equal(seen.count, 5000);
    bool full = false;
    for (uint64_t i = 100; i < 5100; i++)
        full |= known_forget(i, 1);
    assert_true(full);
    size_t n, sum = 0;
    while ((n = known_take(pairs)) > 0)
        sum += n;
    assert_int_equal(sum, 5000);
    walk();
    assert_int_equal(seen.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_inode_is_known_until_all_counts_are_back),
        cmocka_unit_test(test_a_walk_sees_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
