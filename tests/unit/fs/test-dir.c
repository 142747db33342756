/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Slots and cookies: a reader misses no name that is there all the time, whatever comes and goes meanwhile,
 * and a directory that files go through for months stays small. */
#include "s3proxyd/fs/dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/clock.h"

static struct fs fs;
static struct tree tree = {.fs = &fs};
static struct inode *root;
static uint64_t last_ino;

static int setup(void **state)
{
    (void)state;
    list_init(&fs.sessions);
    assert_int_equal(inode_new(&tree, NULL, "", 0, true, ++last_ino, &root), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dir_drop_children(root);
    inode_unref(root);
    table_fini(&fs.inodes);
    table_fini(&fs.names);
    return 0;
}

static struct inode *add(const char *format, unsigned i)
{
    char name[32];
    struct inode *child;
    snprintf(name, sizeof(name), "%s%u", format, i);
    assert_int_equal(inode_new(&tree, root, name, strlen(name), false, ++last_ino, &child), 0);
    assert_int_equal(dir_add(child), 0);
    inode_unref(child);
    return child;
}

static void drop(const char *format, unsigned i)
{
    char name[32];
    snprintf(name, sizeof(name), "%s%u", format, i);
    struct inode *child = inode_child(root, name, strlen(name));
    assert_non_null(child);
    inode_detach(child);
}

/* Marks (in size) up to `most` names behind the cookie as seen; returns the next one. */
static uint64_t read_some(uint64_t cookie, size_t most)
{
    const struct dir *d = root->dir;
    for (size_t i = dir_slot_behind(root, cookie); i < d->nslots && most > 0; i++) {
        if (!d->slots[i])
            continue;
        d->slots[i]->size++;
        cookie = dir_cookie(root, i);
        most--;
    }
    return cookie;
}

static void test_a_reader_that_pauses_misses_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 128; i++)
        add("f", i);
    uint64_t cookie = read_some(0, 64);
    for (unsigned i = 0; i < 64; i++) /* what it has seen goes, and more; then it is packed */
        drop("f", i);
    for (unsigned i = 64; i < 128; i += 4)
        drop("f", i);
    root->dir->read_ns = 0;
    for (unsigned i = 0; i < 200; i++)
        add("new", i);
    assert_true(root->dir->cap <= 256);
    for (uint64_t next; (next = read_some(cookie, 10)) != cookie;)
        cookie = next;
    const struct dir *d = root->dir;
    for (size_t i = 0; i < d->nslots; i++)
        assert_true(!d->slots[i] || d->slots[i]->size >= 1);
}

static void test_a_directory_that_is_always_read_stays_small(void **state)
{
    (void)state;
    add("stays", 0);
    for (unsigned i = 0; i < 300000; i++) {
        add("f", i);
        if (i >= 100)
            drop("f", i - 100);
        root->dir->read_ns = clock_mono_ns();
    }
    assert_int_equal(root->dir->live, 101);
    assert_true(root->dir->cap <= 128 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_reader_that_pauses_misses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_directory_that_is_always_read_stays_small, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
