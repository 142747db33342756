/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See fixture.h. */
#include "tests/unit/db/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "proto/base/must.h"

void fixture_path(const struct fixture *f, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", f->dir, name);
}

bool fixture_exists(const struct fixture *f, const char *name)
{
    char path[128];
    fixture_path(f, name, path);
    return access(path, F_OK) == 0;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "/tmp/hafiz-db.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(mailbox_new(f->loop, &f->home), 0);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    static const char *const files[] = {"inodes.db",      "inodes.db-wal", "inodes.db-shm",
                                        "meta.db",        "meta.clean",    "meta.db-journal",
                                        "inodes.db-journal"};
    struct fixture *f = *state;
    char path[128];
    fixture_close(f);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        fixture_path(f, files[i], path);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    mailbox_free(f->home);
    loop_free(f->loop);
    free(f);
    return 0;
}

void fixture_open(struct fixture *f)
{
    const char *why = "";
    if (db_new(f->home, f->dir, &f->db, &why) < 0)
        fail_msg("db_new: %s", why);
}

void fixture_close(struct fixture *f)
{
    db_free(f->db);
    f->db = NULL;
}

struct waiting_read {
    struct db_read *read;
    struct loop *loop;
    fixture_check_fn *check;
    void *arg;
};
static struct waiting_read waiting;

static void read_done(struct db_read *read)
{
    assert_ptr_equal(read, waiting.read);
    if (waiting.check)
        waiting.check(read, waiting.arg);
    loop_stop(waiting.loop);
}

int fixture_read(struct fixture *f, struct db_read *read, fixture_check_fn *check, void *arg)
{
    waiting = (struct waiting_read){read, f->loop, check, arg};
    read->done = read_done;
    db_read_start(f->db, read);
    assert_int_equal(loop_run(f->loop), 0);
    return read->error;
}

void fixture_sql(const struct fixture *f, const char *name, const char *sql)
{
    char path[128];
    sqlite3 *db = NULL;
    fixture_path(f, name, path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}
