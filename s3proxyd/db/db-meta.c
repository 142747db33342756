/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* meta.db: listings, kept without any sync, so that a kill or a power cut may leave garbage. It is believed
 * only with the mark meta.clean, which is written last at an orderly end, names the file's size and time,
 * and is gone (synced) before the first change. Whatever goes wrong here, the file is thrown away. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "s3proxyd/db/db-int.h"

#define DB_STR_(x) #x
#define DB_STR(x) DB_STR_(x)
#define DB_MARK "meta.clean"

static const char *const db_meta_steps[] = {
    "CREATE TABLE listing(id INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, prefix BLOB NOT NULL,"
    " fetched_ns INTEGER NOT NULL, entries BLOB NOT NULL, UNIQUE(bucket, prefix));"
    "CREATE INDEX listing_age ON listing(fetched_ns);",
};

enum { PUT, DEL, DEL_RANGE, DEL_BUCKET, GET, DROP_OLD };
static const char *const db_meta_statements[] = {
    [PUT] = "INSERT OR REPLACE INTO listing(bucket, prefix, fetched_ns, entries) VALUES(?,?,?,?)",
    [DEL] = "DELETE FROM listing WHERE bucket=? AND prefix=?",
    [DEL_RANGE] = "DELETE FROM listing WHERE bucket=? AND prefix>=? AND prefix<?",
    [DEL_BUCKET] = "DELETE FROM listing WHERE bucket=?",
    [GET] = "SELECT fetched_ns, entries FROM listing WHERE bucket=? AND prefix=?",
    [DROP_OLD] = ("DELETE FROM listing WHERE id IN (SELECT id FROM listing ORDER BY fetched_ns"
                  " LIMIT (SELECT count(*)/4+1 FROM listing))"),
};

const struct db_schema db_meta_schema = {
    .file = "meta.db",
    /* The journal in memory lets a full disk roll back; a kill in the middle is what the mark is for. */
    .pragmas = "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF;"
               " PRAGMA max_page_count=" DB_STR(DB_META_MAX_PAGES) ";",
    .steps = db_meta_steps,
    .nsteps = ARRAY_SIZE(db_meta_steps),
    .statements = db_meta_statements,
    .nstatements = ARRAY_SIZE(db_meta_statements),
};

static int db_dir_open(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* What the mark says: enough to notice that the file beside it is another one. */
static int db_mark_text(int dir_fd, char *out, size_t size)
{
    struct stat st;
    if (fstatat(dir_fd, db_meta_schema.file, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    int n = snprintf(out, size, "%zu %lld %lld.%09ld\n", (size_t)db_meta_schema.nsteps,
                     (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return n > 0 && (size_t)n < size ? 0 : -EIO;
}

bool db_meta_take_mark(const char *dir)
{
    char want[128], got[128];
    size_t len = 0;
    _cleanup_(closep) int dir_fd = db_dir_open(dir);
    if (dir_fd < 0)
        return false;
    _cleanup_(closep) int fd = openat(dir_fd, DB_MARK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool clean = db_mark_text(dir_fd, want, sizeof(want)) == 0 &&
                 fd_read_full(fd, got, sizeof(got), &len) == 0 && len == strlen(want) &&
                 !memcmp(got, want, len);
    /* Without a sync a power cut could bring the mark back beside a half-written file. */
    return unlinkat(dir_fd, DB_MARK, 0) == 0 && fsync(dir_fd) == 0 && clean;
}

static void db_meta_delete(const char *dir)
{
    static const char *const files[] = {"meta.db", "meta.db-journal", DB_MARK};
    _cleanup_(closep) int dir_fd = db_dir_open(dir);
    for (size_t i = 0; dir_fd >= 0 && i < ARRAY_SIZE(files); i++)
        if (unlinkat(dir_fd, files[i], 0) < 0 && errno != ENOENT)
            log_warn("db", "%s is not removed: %s", files[i], strerror(errno));
}

void db_meta_open(struct db_file *f, const char *dir, bool clean)
{
    if (clean && db_file_open(f, &db_meta_schema, dir, false) == 0)
        return;
    db_meta_delete(dir);
    int r = db_file_open(f, &db_meta_schema, dir, false);
    if (r < 0)
        log_warn("db", "meta.db is not used, directories are listed anew after a restart: %s",
                 strerror(-r));
}

void db_meta_reset(struct db_file *f, const char *dir)
{
    if (f->sql && !sqlite3_get_autocommit(f->sql))
        sqlite3_exec(f->sql, "ROLLBACK", NULL, NULL, NULL);
    struct db_file old = *f;
    db_file_close(f);
    db_meta_open(f, dir, false);
    f->complained_ns = old.complained_ns;
    f->unsaid = old.unsaid;
}

static int db_meta_sync(int dir_fd)
{
    _cleanup_(closep) int fd = openat(dir_fd, db_meta_schema.file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

void db_meta_close(struct db_file *f, const char *dir)
{
    char text[128];
    bool good = f->sql;
    db_file_close(f);
    _cleanup_(closep) int dir_fd = good ? db_dir_open(dir) : -1;
    if (dir_fd < 0 || db_meta_sync(dir_fd) < 0 || db_mark_text(dir_fd, text, sizeof(text)) < 0)
        return;
    _cleanup_(closep) int fd =
        openat(dir_fd, DB_MARK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    if (fd_write_full(fd, text, strlen(text)) < 0 || fsync(fd) < 0 || fsync(dir_fd) < 0)
        unlinkat(dir_fd, DB_MARK, 0);
}

static sqlite3_stmt *db_meta_stmt(struct db_file *f, unsigned index, uint64_t bucket,
                                  const char *prefix)
{
    sqlite3_stmt *s = db_file_stmt(f, index);
    if (!s)
        return NULL;
    sqlite3_bind_int64(s, 1, (int64_t)bucket);
    if (prefix)
        sqlite3_bind_blob64(s, 2, prefix, strlen(prefix), SQLITE_STATIC);
    return s;
}

static int db_meta_put_once(struct db_file *f, const struct db_cmd *cmd)
{
    sqlite3_stmt *s = db_meta_stmt(f, PUT, cmd->bucket, cmd->prefix);
    if (!s)
        return -EIO;
    sqlite3_bind_int64(s, 3, cmd->fetched_ns);
    sqlite3_bind_blob64(s, 4, cmd->blob.s, cmd->blob.len, SQLITE_STATIC);
    return db_file_run(f, s);
}

int db_meta_put(struct db_file *f, const struct db_cmd *cmd)
{
    int r = db_meta_put_once(f, cmd);
    if (r != -ENOSPC)
        return r;
    /* A quarter of the listings makes way; a full disk gives the same error once more. */
    r = db_file_begin(f);
    if (r == 0)
        r = db_file_run(f, db_file_stmt(f, DROP_OLD));
    return r < 0 ? r : db_meta_put_once(f, cmd);
}

int db_meta_del(struct db_file *f, uint64_t bucket, const char *prefix)
{
    return db_file_run(f, db_meta_stmt(f, DEL, bucket, prefix));
}

int db_meta_del_below(struct db_file *f, uint64_t bucket, const char *prefix)
{
    _cleanup_(freep) char *end = strdup(prefix);
    if (!end)
        return -ENOMEM;
    size_t len = strlen(end);
    while (len && (unsigned char)end[len - 1] == 0xff)
        len--;
    if (!len) /* everything; or no upper bound, which costs listings of others at worst */
        return db_file_run(f, db_meta_stmt(f, DEL_BUCKET, bucket, NULL));
    end[len - 1] = (char)((unsigned char)end[len - 1] + 1);
    sqlite3_stmt *s = db_meta_stmt(f, DEL_RANGE, bucket, prefix);
    if (s)
        sqlite3_bind_blob64(s, 3, end, len, SQLITE_STATIC);
    return db_file_run(f, s);
}

int db_meta_read(struct db_file *f, struct db_read *read)
{
    sqlite3_stmt *s = db_meta_stmt(f, GET, read->bucket, read->name);
    if (!s)
        return -ENOENT;
    int rc = sqlite3_step(s);
    int r = rc == SQLITE_DONE ? -ENOENT : db_file_errno(rc);
    if (rc == SQLITE_ROW) {
        int64_t fetched_ns = sqlite3_column_int64(s, 0);
        const void *blob = sqlite3_column_blob(s, 1);
        r = db_listing_unpack(blob, (size_t)sqlite3_column_bytes(s, 1), &read->listing);
        if (r == 0)
            read->listing->fetched_ns = fetched_ns;
    }
    sqlite3_reset(s);
    return r;
}
