/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Names and keys, and the asynchronous lock. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/fs/fs.h"

static void test_names_that_cannot_be_keys_are_refused(void **state)
{
    (void)state;
    char longest[257];
    memset(longest, 'n', sizeof(longest));
    assert_int_equal(key_name_check("a", 1), 0);
    assert_int_equal(key_name_check("a b\n\x01", 5), 0);
    assert_int_equal(key_name_check("\xc3\xa9", 2), 0);
    assert_int_equal(key_name_check(longest, 255), 0);
    assert_int_equal(key_name_check(longest, 256), -ENAMETOOLONG);
    assert_int_equal(key_name_check("", 0), -EINVAL);
    assert_int_equal(key_name_check(".", 1), -EINVAL);
    assert_int_equal(key_name_check("..", 2), -EINVAL);
    assert_int_equal(key_name_check("...", 3), 0);
    assert_int_equal(key_name_check("a/b", 3), -EINVAL);
    assert_int_equal(key_name_check("a\0b", 3), -EINVAL);
    assert_int_equal(key_name_check("\xff", 1), -EILSEQ);
}

static const char *entry(const char *key, size_t prefix_len)
{
    static char out[300];
    size_t len;
    const char *name = key_entry_name(key, strlen(key), prefix_len, &len);
    if (!name)
        return NULL;
    memcpy(out, name, len);
    out[len] = 0;
    return out;
}

static void test_keys_that_are_no_paths_are_hidden(void **state)
{
    (void)state;
    assert_string_equal(entry("d/f", 2), "f");
    assert_string_equal(entry("d/sub/", 2), "sub");
    assert_null(entry("d/", 2));
    assert_null(entry("d//", 2));
    assert_null(entry("d/./", 2));
    assert_null(entry("d/..", 2));
    assert_string_equal(entry("d/\x01", 2), "\x01");
    assert_null(entry("d/\xc0\x80", 2));
}

static void test_keys_are_built_from_names(void **state)
{
    (void)state;
    struct inode root = {.is_dir = true, .name = (char *)""};
    struct inode dir = {.is_dir = true, .name = (char *)"dir", .parent = &root};
    struct inode file = {.name = (char *)"file", .parent = &dir};
    _cleanup_(freep) char *k1 = NULL, *k2 = NULL, *k3 = NULL, *p = NULL;
    assert_int_equal(inode_key(&root, &k1), 0);
    assert_string_equal(k1, "");
    assert_int_equal(inode_key(&dir, &k2), 0);
    assert_string_equal(k2, "dir/");
    assert_int_equal(inode_key(&file, &k3), 0);
    assert_string_equal(k3, "dir/file");
    p = inode_path(&file, &dir);
    assert_string_equal(p, "file");
}

static void test_a_key_has_at_most_1024_bytes(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'x', 255);
    name[255] = 0;
    struct inode root = {.is_dir = true, .name = (char *)""};
    struct inode d[4];
    for (int i = 0; i < 4; i++)
        d[i] = (struct inode){.is_dir = true, .name = name, .parent = i ? &d[i - 1] : &root};
    char *key = NULL;
    assert_int_equal(inode_key(&d[3], &key), 0); /* 4 * 256 = 1024 */
    assert_int_equal(strlen(key), 1024);
    free(key);
    key = NULL;
    assert_int_equal(inode_child_key(&d[3], "y", false, &key), -ENAMETOOLONG);
    assert_null(key);
}

static void test_what_has_no_name_has_no_key(void **state)
{
    (void)state;
    struct inode gone = {.name = (char *)"g", .gone = true};
    struct inode gone_dir = {.is_dir = true, .name = (char *)"g", .gone = true};
    char *key = NULL;
    assert_int_equal(inode_key(&gone, &key), -ESTALE);
    assert_int_equal(inode_child_key(&gone_dir, "f", false, &key), -ESTALE);
}

static unsigned order, granted_at[3];

static void granted(struct alock_wait *w)
{
    granted_at[*(int *)w->who] = ++order;
}

static void test_the_lock_goes_first_come_first_served(void **state)
{
    (void)state;
    struct alock lock;
    int who[3] = {0, 1, 2};
    struct alock_wait w[3];
    alock_init(&lock);
    for (int i = 0; i < 3; i++) {
        w[i] = (struct alock_wait){.who = &who[i], .granted = granted};
        assert_int_equal(alock_acquire(&lock, &w[i]), i == 0);
    }
    alock_release(&lock, &who[0]);
    assert_int_equal(granted_at[1], 1);
    assert_int_equal(granted_at[2], 0);
    alock_release(&lock, &who[1]);
    assert_int_equal(granted_at[2], 2);
    alock_release(&lock, &who[2]);
    assert_null(lock.holder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_cannot_be_keys_are_refused),
        cmocka_unit_test(test_keys_that_are_no_paths_are_hidden),
        cmocka_unit_test(test_keys_are_built_from_names),
        cmocka_unit_test(test_a_key_has_at_most_1024_bytes),
        cmocka_unit_test(test_what_has_no_name_has_no_key),
        cmocka_unit_test(test_the_lock_goes_first_come_first_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
