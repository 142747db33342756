/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* inodes.db: which number a name has, and attributes no store keeps yet. A row may be lost (the name gets
 * a new number after a restart); a number may not be given twice, so what hands out numbers is synced. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "s3proxyd/db/db-int.h"

#define DB_ROW_COLUMNS                                                                             \
    "ino,bucket,parent,name,generation,type,attr_set,mode,uid,gid,atime_ns,mtime_ns,ctime_ns,etag"

static const char *const db_inode_steps[] = {
    "CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO counter VALUES('next_ino', 1024);" /* DB_INO_FIRST */
    "CREATE TABLE bucket(id INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL,"
    " name TEXT NOT NULL, scope INTEGER NOT NULL, UNIQUE(endpoint, name, scope));"
    "CREATE TABLE inode(ino INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, parent INTEGER NOT NULL,"
    " name TEXT NOT NULL, generation INTEGER NOT NULL, type INTEGER NOT NULL,"
    " attr_set INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,"
    " atime_ns INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,"
    " etag TEXT NOT NULL);"
    /* The parent first: reads below a directory do not know the bucket. */
    "CREATE UNIQUE INDEX inode_name ON inode(parent, name, bucket);",
};

enum { PUT, DEL, GET, CHILD, CHILDREN, RESERVE, BUCKET_GET, BUCKET_ADD, BUCKET_ROOT, SWEEP };
static const char *const db_inode_statements[] = {
    [PUT] = ("INSERT OR REPLACE INTO inode(" DB_ROW_COLUMNS ")"
             " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)"),
    [DEL] = "DELETE FROM inode WHERE ino=?",
    [GET] = "SELECT " DB_ROW_COLUMNS " FROM inode WHERE ino=?",
    [CHILD] = ("SELECT " DB_ROW_COLUMNS " FROM inode WHERE parent=?1 AND name=?2"
               " AND (?1<>0 OR bucket=?3)"),
    [CHILDREN] = "SELECT " DB_ROW_COLUMNS " FROM inode WHERE parent=? ORDER BY name",
    [RESERVE] = "UPDATE counter SET value=value+?1 WHERE name='next_ino' RETURNING value-?1",
    [BUCKET_GET] = "SELECT id FROM bucket WHERE endpoint=? AND name=? AND scope=?",
    [BUCKET_ADD] = "INSERT INTO bucket(endpoint, name, scope) VALUES(?,?,?) RETURNING id",
    [SWEEP] = "DELETE FROM inode WHERE ino<? AND attr_set=0 AND parent<>0",
    [BUCKET_ROOT] = "SELECT ino FROM inode WHERE parent=0 AND name='' AND bucket=?",
};

const struct db_schema db_inode_schema = {
    .file = "inodes.db",
    .pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
               " PRAGMA journal_size_limit=16777216;",
    .steps = db_inode_steps,
    .nsteps = ARRAY_SIZE(db_inode_steps),
    .statements = db_inode_statements,
    .nstatements = ARRAY_SIZE(db_inode_statements),
};

int db_inode_put(struct db_file *f, const struct db_inode *row)
{
    sqlite3_stmt *s = db_file_stmt(f, PUT);
    if (!s)
        return -EIO;
    const int64_t before[] = {(int64_t)row->ino, (int64_t)row->bucket, (int64_t)row->parent};
    const int64_t after[] = {(int64_t)row->generation, row->type,     row->set,
                             row->mode,                row->uid,      row->gid,
                             row->atime_ns,            row->mtime_ns, row->ctime_ns};
    int column = 1;
    for (size_t i = 0; i < ARRAY_SIZE(before); i++)
        sqlite3_bind_int64(s, column++, before[i]);
    sqlite3_bind_text(s, column++, row->name, -1, SQLITE_STATIC);
    for (size_t i = 0; i < ARRAY_SIZE(after); i++)
        sqlite3_bind_int64(s, column++, after[i]);
    sqlite3_bind_text(s, column, row->etag, -1, SQLITE_STATIC);
    return db_file_run(f, s);
}

int db_inode_del(struct db_file *f, uint64_t ino)
{
    sqlite3_stmt *s = db_file_stmt(f, DEL);
    if (!s)
        return -EIO;
    sqlite3_bind_int64(s, 1, (int64_t)ino);
    return db_file_run(f, s);
}

int db_inode_sweep(struct db_file *f, uint64_t below)
{
    sqlite3_stmt *s = db_file_stmt(f, SWEEP);
    if (!s)
        return -EIO;
    sqlite3_bind_int64(s, 1, (int64_t)below);
    return db_file_run(f, s);
}

/* Rows are collected with offsets in place of their strings, and become one block at the end. */
struct db_rows {
    struct db_inode *rows;
    size_t nrows, cap;
    struct str text;
};

static void db_rows_fini(struct db_rows *rows)
{
    free(rows->rows);
    str_fini(&rows->text);
}

static int db_rows_text(struct db_rows *rows, sqlite3_stmt *s, int column, const char **ret_offset)
{
    const void *text = sqlite3_column_text(s, column);
    if (!text)
        return -ENOMEM;
    *ret_offset = (const char *)(uintptr_t)rows->text.len;
    int r = str_addn(&rows->text, text, (size_t)sqlite3_column_bytes(s, column));
    return r < 0 ? r : str_addn(&rows->text, "", 1);
}

static int db_rows_add(struct db_rows *rows, sqlite3_stmt *s)
{
    if (rows->nrows == rows->cap) {
        size_t cap = rows->cap ? rows->cap * 2 : 8;
        struct db_inode *more = reallocarray(rows->rows, cap, sizeof(*more));
        if (!more)
            return -ENOMEM;
        rows->rows = more;
        rows->cap = cap;
    }
    struct db_inode row = {
        .ino = (uint64_t)sqlite3_column_int64(s, 0),
        .bucket = (uint64_t)sqlite3_column_int64(s, 1),
        .parent = (uint64_t)sqlite3_column_int64(s, 2),
        .generation = (uint64_t)sqlite3_column_int64(s, 4),
        .type = (uint32_t)sqlite3_column_int64(s, 5),
        .set = (uint32_t)sqlite3_column_int64(s, 6),
        .mode = (uint32_t)sqlite3_column_int64(s, 7),
        .uid = (uint32_t)sqlite3_column_int64(s, 8),
        .gid = (uint32_t)sqlite3_column_int64(s, 9),
        .atime_ns = sqlite3_column_int64(s, 10),
        .mtime_ns = sqlite3_column_int64(s, 11),
        .ctime_ns = sqlite3_column_int64(s, 12),
    };
    int r = db_rows_text(rows, s, 3, &row.name);
    if (r == 0)
        r = db_rows_text(rows, s, 13, &row.etag);
    if (r == 0)
        rows->rows[rows->nrows++] = row;
    return r;
}

static int db_rows_finish(struct db_rows *rows, struct db_read *read)
{
    if (!rows->nrows)
        return 0;
    size_t bytes = rows->nrows * sizeof(*rows->rows);
    struct db_inode *block = malloc(bytes + rows->text.len);
    if (!block)
        return -ENOMEM;
    memcpy(block, rows->rows, bytes);
    char *text = (char *)block + bytes;
    memcpy(text, rows->text.s, rows->text.len);
    for (size_t i = 0; i < rows->nrows; i++) {
        block[i].name = text + (uintptr_t)block[i].name;
        block[i].etag = text + (uintptr_t)block[i].etag;
    }
    read->rows = block;
    read->nrows = rows->nrows;
    return 0;
}

static sqlite3_stmt *db_inode_query(struct db_file *f, const struct db_read *read)
{
    static const unsigned index[] = {
        [DB_READ_INO] = GET, [DB_READ_CHILD] = CHILD, [DB_READ_CHILDREN] = CHILDREN};
    sqlite3_stmt *s = db_file_stmt(f, index[read->kind]);
    if (!s)
        return NULL;
    sqlite3_bind_int64(s, 1, (int64_t)read->ino);
    if (read->kind == DB_READ_CHILD) {
        sqlite3_bind_text(s, 2, read->name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(s, 3, (int64_t)read->bucket);
    }
    return s;
}

int db_inode_read(struct db_file *f, struct db_read *read)
{
    sqlite3_stmt *s = db_inode_query(f, read);
    if (!s)
        return -EIO;
    _cleanup_(db_rows_fini) struct db_rows rows = {0};
    int r = 0, rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && r == 0)
        r = db_rows_add(&rows, s);
    sqlite3_reset(s);
    if (r == 0)
        r = db_file_errno(rc);
    if (r == 0 && !rows.nrows && read->kind != DB_READ_CHILDREN)
        r = -ENOENT;
    return r < 0 ? r : db_rows_finish(&rows, read);
}

/* A statement whose effect must survive a power cut: alone in its transaction and synced. */
static int db_inode_synced(struct db_file *f, sqlite3_stmt *s, uint64_t *ret)
{
    if (!s)
        return -EIO;
    int r = db_file_exec(f, "PRAGMA synchronous=FULL");
    if (r == 0)
        r = db_file_begin(f);
    if (r == 0) {
        int rc = sqlite3_step(s);
        uint64_t value = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
        r = rc == SQLITE_ROW ? db_file_run(f, s) : rc == SQLITE_DONE ? -EUCLEAN : db_file_errno(rc);
        sqlite3_reset(s);
        if (r == 0)
            r = db_file_commit(f);
        else
            sqlite3_exec(f->sql, "ROLLBACK", NULL, NULL, NULL);
        if (r == 0)
            *ret = value;
    }
    int back = db_file_exec(f, "PRAGMA synchronous=NORMAL");
    if (back < 0) /* slower, not wrong */
        db_file_complain(f, "PRAGMA synchronous", back);
    return r;
}

int db_inode_reserve(struct db_file *f, uint64_t count, uint64_t *ret_first)
{
    sqlite3_stmt *s = db_file_stmt(f, RESERVE);
    uint64_t first = 0;
    if (s)
        sqlite3_bind_int64(s, 1, (int64_t)count);
    int r = db_inode_synced(f, s, &first);
    if (r == 0 && first < DB_INO_FIRST)
        r = -EUCLEAN;
    if (r == 0)
        *ret_first = first;
    return r;
}

static sqlite3_stmt *db_bucket_stmt(struct db_file *f, unsigned index, struct db_bucket_ask *ask)
{
    sqlite3_stmt *s = db_file_stmt(f, index);
    if (!s)
        return NULL;
    sqlite3_bind_text(s, 1, ask->endpoint, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, ask->bucket, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, (int64_t)ask->scope);
    return s;
}

static int db_inode_root(struct db_file *f, struct db_bucket_ask *ask)
{
    sqlite3_stmt *s = db_file_stmt(f, BUCKET_ROOT);
    if (!s)
        return -EIO;
    sqlite3_bind_int64(s, 1, (int64_t)ask->id);
    int rc = sqlite3_step(s);
    ask->root = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : db_file_errno(rc);
}

int db_inode_bucket(struct db_file *f, struct db_bucket_ask *ask)
{
    if (!ask->endpoint)
        return db_inode_root(f, ask);
    sqlite3_stmt *s = db_bucket_stmt(f, BUCKET_GET, ask);
    if (!s)
        return -EIO;
    int rc = sqlite3_step(s);
    uint64_t id = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    if (rc == SQLITE_ROW) {
        ask->id = id;
        return 0;
    }
    if (rc != SQLITE_DONE)
        return db_file_errno(rc);
    return db_inode_synced(f, db_bucket_stmt(f, BUCKET_ADD, ask), &ask->id);
}
