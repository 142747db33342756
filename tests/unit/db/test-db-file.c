/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One SQLite file: an upgrade takes the steps that are missing, each once and whole. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/db/db-int.h"

static const char *const steps[] = {
    "CREATE TABLE t(a INTEGER); INSERT INTO t VALUES(1);",
    "ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 7; INSERT INTO t(a) VALUES(2);",
};
static const char *const broken[] = {
    "CREATE TABLE t(a INTEGER); INSERT INTO t VALUES(1);",
    "INSERT INTO t VALUES(2); INSERT INTO nothing VALUES(1);",
};
static const char *const count[] = {"SELECT count(*) FROM t"};

static struct db_schema schema_of(const char *const *list, unsigned n)
{
    return (struct db_schema){.file = "inodes.db",
                              .pragmas = "PRAGMA journal_mode=WAL;",
                              .steps = list,
                              .nsteps = n,
                              .statements = count,
                              .nstatements = 1};
}

static int64_t rows(struct db_file *f)
{
    sqlite3_stmt *s = db_file_stmt(f, 0);
    assert_non_null(s);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return n;
}

static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/hafiz-db.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char path[128];
    (void)state;
    snprintf(path, sizeof(path), "%s/inodes.db", dir);
    unlink(path);
    return rmdir(dir);
}

static void test_an_upgrade_takes_only_the_missing_steps(void **state)
{
    struct db_schema old = schema_of(steps, 1), new = schema_of(steps, 2);
    struct db_file f;
    (void)state;
    assert_int_equal(db_file_open(&f, &old, dir, true), 0);
    assert_int_equal(rows(&f), 1);
    db_file_close(&f);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(db_file_open(&f, &new, dir, true), 0);
        assert_int_equal(rows(&f), 2);
        db_file_close(&f);
    }
    assert_int_equal(db_file_open(&f, &old, dir, true), -EPROTONOSUPPORT);
    assert_null(f.sql);
}

static void test_a_step_that_fails_leaves_the_old_version(void **state)
{
    struct db_schema old = schema_of(broken, 1), bad = schema_of(broken, 2);
    struct db_file f;
    (void)state;
    assert_int_equal(db_file_open(&f, &old, dir, true), 0);
    db_file_close(&f);
    assert_true(db_file_open(&f, &bad, dir, true) < 0);
    assert_int_equal(db_file_open(&f, &old, dir, true), 0);
    assert_int_equal(rows(&f), 1);
    db_file_close(&f);
}

static void test_tables_that_are_not_what_the_version_says_are_damage(void **state)
{
    static const char *const other[] = {"SELECT c FROM t"};
    struct db_schema schema = schema_of(steps, 2);
    struct db_file f;
    (void)state;
    assert_int_equal(db_file_open(&f, &schema, dir, true), 0);
    db_file_close(&f);
    schema.statements = other;
    assert_int_equal(db_file_open(&f, &schema, dir, true), -EUCLEAN);
}

static void test_a_closed_file_answers_errors(void **state)
{
    struct db_schema schema = schema_of(steps, 2);
    struct db_file f = {.schema = &schema};
    struct db_read read = {.kind = DB_READ_INO};
    struct db_inode row = {.name = ""};
    (void)state;
    f.schema = &db_inode_schema;
    assert_int_equal(db_inode_put(&f, &row), -EIO);
    assert_int_equal(db_inode_del(&f, 1), -EIO);
    assert_int_equal(db_inode_read(&f, &read), -EIO);
    assert_int_equal(db_file_begin(&f), -EIO);
    assert_int_equal(db_file_commit(&f), 0);
    f.schema = &db_meta_schema;
    assert_int_equal(db_meta_del(&f, 1, "a"), -EIO);
    assert_int_equal(db_meta_read(&f, &read), -ENOENT);
    db_file_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_an_upgrade_takes_only_the_missing_steps),
        T(test_a_step_that_fails_leaves_the_old_version),
        T(test_tables_that_are_not_what_the_version_says_are_damage),
        T(test_a_closed_file_answers_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
