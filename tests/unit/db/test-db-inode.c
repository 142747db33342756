/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* inodes.db with real files: what is promised about numbers, rows, versions and damage. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "tests/unit/db/fixture.h"

static struct db_inode row_of(uint64_t ino, uint64_t parent, const char *name)
{
    return (struct db_inode){.ino = ino,
                             .bucket = 1,
                             .parent = parent,
                             .name = name,
                             .generation = 7,
                             .type = S_IFREG,
                             .set = DB_SET_MODE | DB_SET_MTIME,
                             .mode = 0640,
                             .uid = 4294967295u,
                             .gid = 100,
                             .atime_ns = -5,
                             .mtime_ns = 1700000000123456789,
                             .ctime_ns = 3,
                             .etag = "\"abc\""};
}

static void expect_row(const struct db_read *read, void *arg)
{
    const struct db_inode *want = arg;
    assert_int_equal(read->error, 0);
    assert_int_equal(read->nrows, 1);
    const struct db_inode *got = &read->rows[0];
    assert_int_equal(got->ino, want->ino);
    assert_int_equal(got->bucket, want->bucket);
    assert_int_equal(got->parent, want->parent);
    assert_string_equal(got->name, want->name);
    assert_int_equal(got->generation, want->generation);
    assert_int_equal(got->type, want->type);
    assert_int_equal(got->set, want->set);
    assert_int_equal(got->mode, want->mode);
    assert_int_equal(got->uid, want->uid);
    assert_int_equal(got->gid, want->gid);
    assert_int_equal(got->atime_ns, want->atime_ns);
    assert_int_equal(got->mtime_ns, want->mtime_ns);
    assert_int_equal(got->ctime_ns, want->ctime_ns);
    assert_string_equal(got->etag, want->etag ? want->etag : "");
}

static int read_ino(struct fixture *f, uint64_t ino)
{
    struct db_read read = {.kind = DB_READ_INO, .ino = ino};
    return fixture_read(f, &read, NULL, NULL);
}

static void test_a_read_sees_the_write_before_it(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    struct db_inode row = row_of(db_next_ino(f->db), 0, "a");
    db_put_inode(f->db, &row);
    struct db_read read = {.kind = DB_READ_INO, .ino = row.ino};
    assert_int_equal(fixture_read(f, &read, expect_row, &row), 0);
    db_del_inode(f->db, row.ino);
    assert_int_equal(read_ino(f, row.ino), -ENOENT);
}

static void test_rows_and_odd_names_survive_a_restart(void **state)
{
    static const char *const names[] = {"",     "plain", "with space", "quote'\"; DROP TABLE inode",
                                        "\x01", "\xff\xfe", "%s%n"};
    struct fixture *f = *state;
    struct db_inode rows[ARRAY_SIZE(names)];
    fixture_open(f);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        rows[i] = row_of(db_next_ino(f->db), 5, names[i]);
        rows[i].etag = i % 2 ? NULL : "e";
        db_put_inode(f->db, &rows[i]);
    }
    fixture_close(f);
    fixture_open(f);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct db_read child = {.kind = DB_READ_CHILD, .ino = 5, .name = names[i]};
        assert_int_equal(fixture_read(f, &child, expect_row, &rows[i]), 0);
    }
    struct db_read absent = {.kind = DB_READ_CHILD, .ino = 5, .name = "plai"};
    assert_int_equal(fixture_read(f, &absent, NULL, NULL), -ENOENT);
}

static void test_a_new_number_for_a_name_replaces_the_old_row(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    struct db_inode one = row_of(2000, 5, "n"), two = row_of(2001, 5, "n");
    db_put_inode(f->db, &one);
    db_put_inode(f->db, &two);
    assert_int_equal(read_ino(f, 2000), -ENOENT);
    struct db_read child = {.kind = DB_READ_CHILD, .ino = 5, .name = "n"};
    assert_int_equal(fixture_read(f, &child, expect_row, &two), 0);
    two.name = "renamed"; /* the same number under another name: the first name is free */
    db_put_inode(f->db, &two);
    assert_int_equal(fixture_read(f, &child, NULL, NULL), -ENOENT);
}

static void test_roots_of_two_buckets_do_not_meet(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    struct db_inode one = row_of(2000, 0, ""), two = row_of(2001, 0, "");
    two.bucket = 2;
    db_put_inode(f->db, &one);
    db_put_inode(f->db, &two);
    struct db_read child = {.kind = DB_READ_CHILD, .ino = 0, .bucket = 1, .name = ""};
    assert_int_equal(fixture_read(f, &child, expect_row, &one), 0);
    child.bucket = 2;
    assert_int_equal(fixture_read(f, &child, expect_row, &two), 0);
    child.bucket = 3;
    assert_int_equal(fixture_read(f, &child, NULL, NULL), -ENOENT);
}

static void expect_children(const struct db_read *read, void *arg)
{
    size_t *want = arg;
    assert_int_equal(read->error, 0);
    assert_int_equal(read->nrows, *want);
    for (size_t i = 0; i < read->nrows; i++) {
        char name[32];
        snprintf(name, sizeof(name), "c%04zu", i);
        assert_string_equal(read->rows[i].name, name);
        assert_string_equal(read->rows[i].etag, "\"abc\"");
    }
}

static void test_children_come_in_order_of_name(void **state)
{
    struct fixture *f = *state;
    size_t many = 1000, none = 0;
    fixture_open(f);
    for (size_t i = many; i-- > 0;) {
        char name[32];
        snprintf(name, sizeof(name), "c%04zu", i);
        struct db_inode row = row_of(db_next_ino(f->db), 9, name);
        db_put_inode(f->db, &row);
    }
    struct db_read read = {.kind = DB_READ_CHILDREN, .ino = 9};
    assert_int_equal(fixture_read(f, &read, expect_children, &many), 0);
    read.ino = 10;
    assert_int_equal(fixture_read(f, &read, expect_children, &none), 0);
}

static void test_numbers_begin_above_the_root_and_never_repeat(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 1023;
    for (int start = 0; start < 3; start++) {
        fixture_open(f);
        for (int i = 0; i < 200000; i++) { /* several ranges: the refill happens ahead */
            uint64_t ino = db_next_ino(f->db);
            assert_true(ino > last);
            assert_true(ino < 1ULL << 40);
            last = ino;
        }
        fixture_close(f);
    }
}

static void test_a_bucket_keeps_its_number(void **state)
{
    struct fixture *f = *state;
    uint64_t a = 0, b = 0, c = 0, again = 0;
    fixture_open(f);
    assert_int_equal(db_bucket(f->db, "http://h", "a", 1, &a), 0);
    assert_int_equal(db_bucket(f->db, "http://h", "b", UINT64_MAX, &b), 0);
    assert_int_equal(db_bucket(f->db, "http://h", "b", 1, &c), 0);
    assert_true(a > 0 && a != b && b != c && a != c);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(db_bucket(f->db, "http://h", "b", UINT64_MAX, &again), 0);
    assert_int_equal(again, b);
}

static void expect_refusal(struct fixture *f, int want, const char *words)
{
    const char *why = NULL;
    struct db *db = NULL;
    assert_int_equal(db_new(f->home, f->dir, &db, &why), want);
    assert_null(db);
    assert_non_null(why);
    assert_non_null(strstr(why, words));
}

static void test_a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_close(f);
    fixture_sql(f, "inodes.db", "PRAGMA user_version=99");
    expect_refusal(f, -EPROTONOSUPPORT, "newer");
}

static void test_a_second_backend_is_refused(void **state)
{
    struct fixture *f = *state;
    pid_t pid;
    fixture_open(f);
    /* Another process: POSIX locks do not hold against one's own. */
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const char *why = NULL;
        struct db *db = NULL;
        _exit(db_new(f->home, f->dir, &db, &why) == -EBUSY ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void damage(struct fixture *f, off_t from, const char *with, size_t len)
{
    char path[128];
    fixture_path(f, "inodes.db", path);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, with, len, from), (ssize_t)len);
    close(fd);
}

static void test_a_damaged_file_is_named_and_kept(void **state)
{
    struct fixture *f = *state;
    char junk[4096];
    struct stat before, after;
    char path[128];
    fixture_open(f);
    for (int i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d", i);
        struct db_inode row = row_of(db_next_ino(f->db), 9, name);
        db_put_inode(f->db, &row);
    }
    fixture_close(f);
    fixture_path(f, "inodes.db", path);
    assert_int_equal(stat(path, &before), 0);
    memset(junk, 0x5a, sizeof(junk));
    damage(f, 8 * 4096, junk, sizeof(junk)); /* a page in the middle; found after an unclean end */
    fixture_path(f, "meta.clean", junk);
    assert_int_equal(unlink(junk), 0);
    expect_refusal(f, -EUCLEAN, "damaged");
    memset(junk, 0x5a, sizeof(junk));
    damage(f, 0, junk, 512); /* not a database any more */
    expect_refusal(f, -EUCLEAN, "damaged");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void test_only_the_owner_can_read_the_files(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char path[128];
    fixture_open(f);
    fixture_path(f, "inodes.db", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fixture_path(f, "meta.db", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_a_hundred_thousand_rows_take_seconds_not_minutes(void **state)
{
    struct fixture *f = *state;
    uint64_t begin = clock_mono_ns(), last = 0;
    fixture_open(f);
    for (int i = 0; i < 100000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d", i);
        struct db_inode row = row_of(last = db_next_ino(f->db), 9, name);
        db_put_inode(f->db, &row);
    }
    uint64_t queued = clock_mono_ns();
    assert_int_equal(read_ino(f, last), 0);
    uint64_t written = clock_mono_ns();
    print_message("100000 rows: queued in %llu ms, written in %llu ms\n",
                  (unsigned long long)((queued - begin) / NS_PER_MS),
                  (unsigned long long)((written - begin) / NS_PER_MS));
    assert_true(written - begin < 30 * NS_PER_S); /* sanitizers and a busy machine included */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        T(test_a_read_sees_the_write_before_it),
        T(test_rows_and_odd_names_survive_a_restart),
        T(test_a_new_number_for_a_name_replaces_the_old_row),
        T(test_roots_of_two_buckets_do_not_meet),
        T(test_children_come_in_order_of_name),
        T(test_numbers_begin_above_the_root_and_never_repeat),
        T(test_a_bucket_keeps_its_number),
        T(test_a_newer_schema_is_refused),
        T(test_a_second_backend_is_refused),
        T(test_a_damaged_file_is_named_and_kept),
        T(test_only_the_owner_can_read_the_files),
        T(test_a_hundred_thousand_rows_take_seconds_not_minutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
