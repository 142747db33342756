/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One SQLite file: opening, migrating, prepared statements, and SQLite's errors as errno. Files are
 * locked exclusively: a second backend on the same state is refused instead of mixed in. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/db/db-int.h"

#define DB_BUSY_MS 2000                      /* a backend that is being killed lets go of its locks */
#define DB_CHECK_MAX_BYTES (256LL << 20)     /* a check must not hold up the start for long */
#define DB_COMPLAIN_NS (10 * NS_PER_S)

int db_file_errno(int sqlite_rc)
{
    switch (sqlite_rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return -EACCES;
    case SQLITE_TOOBIG:
        return -E2BIG;
    default:
        return -EIO;
    }
}

void db_file_complain(struct db_file *f, const char *what, int error)
{
    uint64_t now = clock_mono_ns();
    if (f->complained_ns && now - f->complained_ns < DB_COMPLAIN_NS) {
        f->unsaid++;
        return;
    }
    const char *detail = f->sql ? sqlite3_errmsg(f->sql) : "closed";
    log_error("db", "%s: %s failed: %s (%s); %u more since the last line", f->schema->file, what,
              strerror(-error), log_esc(detail), f->unsaid);
    f->complained_ns = now;
    f->unsaid = 0;
}

int db_file_exec(struct db_file *f, const char *sql)
{
    if (!f->sql)
        return -EIO;
    return db_file_errno(sqlite3_exec(f->sql, sql, NULL, NULL, NULL));
}

/* A failing statement may end the transaction by itself, so SQLite is asked, not a flag of ours. */
int db_file_begin(struct db_file *f)
{
    if (f->sql && !sqlite3_get_autocommit(f->sql))
        return 0;
    return db_file_exec(f, "BEGIN IMMEDIATE");
}

int db_file_commit(struct db_file *f)
{
    if (!f->sql || sqlite3_get_autocommit(f->sql))
        return 0;
    int r = db_file_exec(f, "COMMIT");
    if (r < 0 && !sqlite3_get_autocommit(f->sql))
        sqlite3_exec(f->sql, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

sqlite3_stmt *db_file_stmt(struct db_file *f, unsigned index)
{
    must(index < f->schema->nstatements);
    if (!f->sql)
        return NULL;
    sqlite3_stmt *stmt = f->stmts[index];
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return stmt;
}

int db_file_run(struct db_file *f, sqlite3_stmt *stmt)
{
    if (!f->sql || !stmt)
        return -EIO;
    int rc;
    do
        rc = sqlite3_step(stmt);
    while (rc == SQLITE_ROW);
    sqlite3_reset(stmt);
    return db_file_errno(rc);
}

static int db_file_number(struct db_file *f, const char *sql, int64_t *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(f->sql, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? -EIO : db_file_errno(rc);
}

static int db_file_step(struct db_file *f, unsigned from)
{
    char version[48];
    snprintf(version, sizeof(version), "PRAGMA user_version=%u", from + 1);
    int r = db_file_begin(f);
    if (r == 0)
        r = db_file_exec(f, f->schema->steps[from]);
    if (r == 0)
        r = db_file_exec(f, version);
    if (r == 0)
        return db_file_commit(f);
    sqlite3_exec(f->sql, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

int db_file_migrate(struct db_file *f)
{
    int64_t version = 0;
    int r = db_file_number(f, "PRAGMA user_version", &version);
    if (r < 0)
        return r;
    if (version < 0 || version > f->schema->nsteps)
        return -EPROTONOSUPPORT;
    for (unsigned i = (unsigned)version; r == 0 && i < f->schema->nsteps; i++)
        r = db_file_step(f, i);
    return r;
}

/* After a crash only: SQLite finds most damage when it gets there, but start is a better moment. */
static int db_file_check(struct db_file *f)
{
    int64_t pages = 0, page_bytes = 0;
    int r = db_file_number(f, "PRAGMA page_count", &pages);
    if (r == 0)
        r = db_file_number(f, "PRAGMA page_size", &page_bytes);
    if (r < 0 || pages * page_bytes > DB_CHECK_MAX_BYTES)
        return r;
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(f->sql, "PRAGMA quick_check(1)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    r = db_file_errno(rc);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        if (!text || strcmp(text, "ok")) {
            log_error("db", "%s: %s", f->schema->file, log_esc(text ? text : "no memory"));
            r = text ? -EUCLEAN : -ENOMEM;
        }
    }
    sqlite3_finalize(stmt);
    return r;
}

static int db_file_prepare(struct db_file *f)
{
    f->stmts = calloc(f->schema->nstatements, sizeof(*f->stmts));
    if (!f->stmts)
        return -ENOMEM;
    for (unsigned i = 0; i < f->schema->nstatements; i++) {
        int rc = sqlite3_prepare_v3(f->sql, f->schema->statements[i], -1,
                                    SQLITE_PREPARE_PERSISTENT, &f->stmts[i], NULL);
        if (rc != SQLITE_OK) {
            log_error("db", "%s: %s", f->schema->file, log_esc(sqlite3_errmsg(f->sql)));
            /* Tables that are not what the version promises. */
            return (rc & 0xff) == SQLITE_ERROR ? -EUCLEAN : db_file_errno(rc);
        }
    }
    return 0;
}

static int db_file_setup(struct db_file *f, const char *path, bool check)
{
    /* Made by us so that the mode is ours: SQLite gives the files beside it the same one. */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == EROFS ? -EACCES : -errno;
    close(fd);
    int rc = sqlite3_open_v2(path, &f->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return db_file_errno(rc);
    sqlite3_extended_result_codes(f->sql, 1);
    sqlite3_busy_timeout(f->sql, DB_BUSY_MS);
    int r = db_file_exec(f, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA trusted_schema=OFF;"
                        " PRAGMA temp_store=MEMORY;");
    if (r == 0)
        r = db_file_exec(f, f->schema->pragmas);
    if (r == 0 && check)
        r = db_file_check(f);
    if (r == 0)
        r = db_file_migrate(f);
    if (r == 0) /* takes the lock also when nothing was migrated */
        r = db_file_exec(f, "BEGIN IMMEDIATE; COMMIT");
    return r < 0 ? r : db_file_prepare(f);
}

int db_file_open(struct db_file *f, const struct db_schema *schema, const char *dir, bool check)
{
    *f = (struct db_file){.schema = schema};
    _cleanup_(freep) char *path = str_dup_printf("%s/%s", dir, schema->file);
    int r = path ? db_file_setup(f, path, check) : -ENOMEM;
    if (r < 0)
        db_file_close(f);
    return r;
}

void db_file_close(struct db_file *f)
{
    for (unsigned i = 0; f->stmts && i < f->schema->nstatements; i++)
        sqlite3_finalize(f->stmts[i]);
    free(f->stmts);
    f->stmts = NULL;
    if (f->sql && sqlite3_close(f->sql) != SQLITE_OK)
        log_error("db", "%s: does not close: %s", f->schema->file, sqlite3_errmsg(f->sql));
    f->sql = NULL;
}
