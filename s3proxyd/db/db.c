/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The main loop's side of the database: everything is copied into a job and queued for the thread, so
 * that SQLite's disk waits never become the loop's. */
#include "s3proxyd/db/db.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/db/db-int.h"

static const char *db_why(int error)
{
    switch (error) {
    case -EUCLEAN:
        return "inodes.db is damaged and is not replaced unasked: restore it, or move it away and "
               "start with new inode numbers";
    case -EBUSY:
        return "another s3proxyd uses this state directory";
    case -EPROTONOSUPPORT:
        return "inodes.db was written by a newer hafiz: use that, or another state directory";
    case -ENOSPC:
        return "no space is left for inodes.db";
    case -EACCES:
        return "inodes.db cannot be opened for writing";
    case -ENOMEM:
        return "out of memory";
    default:
        return "inodes.db cannot be read or written";
    }
}

static int db_locks_init(struct db *db)
{
    pthread_condattr_t attr;
    int r = pthread_condattr_init(&attr);
    if (r)
        return -r;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    r = pthread_mutex_init(&db->lock, NULL);
    if (!r && (r = pthread_cond_init(&db->work, &attr)))
        pthread_mutex_destroy(&db->lock);
    if (!r && (r = pthread_cond_init(&db->answer, &attr))) {
        pthread_cond_destroy(&db->work);
        pthread_mutex_destroy(&db->lock);
    }
    pthread_condattr_destroy(&attr);
    return -r;
}

static void db_destroy(struct db *db)
{
    pthread_cond_destroy(&db->answer);
    pthread_cond_destroy(&db->work);
    pthread_mutex_destroy(&db->lock);
    free(db->dir);
    free(db);
}

static int db_open_files(struct db *db)
{
    bool clean = db_meta_take_mark(db->dir);
    int r = db_file_open(&db->inodes, &db_inode_schema, db->dir, !clean);
    if (r < 0)
        return r;
    r = db_inode_reserve(&db->inodes, DB_INO_RANGE, &db->ino_next);
    if (r < 0) {
        db_file_close(&db->inodes);
        return r;
    }
    db->ino_end = db->ino_next + DB_INO_RANGE;
    db_meta_open(&db->meta, db->dir, clean);
    return 0;
}

/* Signals belong to the main loop. */
static int db_start_thread(struct db *db)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&db->thread, NULL, db_thread, db);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

int db_new(struct mailbox *home, const char *dir, struct db **ret_db, const char **ret_why)
{
    int r = fd_mkdir_p(dir, 0700);
    if (r < 0) {
        *ret_why = "the state directory cannot be made";
        return r;
    }
    struct db *db = calloc(1, sizeof(*db));
    if (!db || !(db->dir = strdup(dir)) || (r = db_locks_init(db)) < 0) {
        if (db)
            free(db->dir);
        free(db);
        *ret_why = db_why(-ENOMEM);
        return r < 0 ? r : -ENOMEM;
    }
    db->home = home;
    list_init(&db->queue);
    r = db_open_files(db);
    if (r < 0) {
        *ret_why = db_why(r);
        db_destroy(db);
        return r;
    }
    r = db_start_thread(db);
    if (r < 0) {
        *ret_why = "the database's thread does not start";
        db_file_close(&db->inodes);
        db_meta_close(&db->meta, db->dir);
        db_destroy(db);
        return r;
    }
    *ret_db = db;
    return 0;
}

void db_free(struct db *db)
{
    if (!db)
        return;
    pthread_mutex_lock(&db->lock);
    db->stop = true;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
    pthread_join(db->thread, NULL);
    must(list_empty(&db->queue));
    db_destroy(db);
}

/* Inode numbers */

static void db_ask_range(struct db *db)
{
    pthread_mutex_lock(&db->lock);
    db->range_wanted = true;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
}

/* The disk takes no reservation and the service goes on: a part of the number space that nothing else
 * uses, 1024 numbers per microsecond of the clock, so that another start gets others. */
static void db_range_by_clock(struct db *db)
{
    uint64_t first = (1ULL << 62) + (uint64_t)(clock_real_ns() / 1000) * 1024;
    db->ino_next = MAX(first, db->ino_by_clock);
    db->ino_end = db->ino_by_clock = db->ino_next + DB_INO_RANGE;
    log_error("db", "no inode numbers could be reserved on disk: numbers by the clock are used");
}

static void db_take_range(struct db *db)
{
    pthread_mutex_lock(&db->lock);
    while (db->range_next == db->range_end && db->range_wanted)
        pthread_cond_wait(&db->answer, &db->lock);
    bool got = db->range_next != db->range_end;
    if (got) {
        db->ino_next = db->range_next;
        db->ino_end = db->range_end;
        db->range_next = db->range_end = 0;
    }
    pthread_mutex_unlock(&db->lock);
    if (!got)
        db_range_by_clock(db);
}

uint64_t db_next_ino(struct db *db)
{
    if (db->ino_next == db->ino_end)
        db_take_range(db);
    if (db->ino_end - db->ino_next == DB_INO_RANGE / 2)
        db_ask_range(db);
    return db->ino_next++;
}

/* The queue */

static void db_queue(struct db *db, struct db_job *job, int kind, size_t listing_bytes)
{
    job->kind = kind;
    pthread_mutex_lock(&db->lock);
    list_add_tail(&db->queue, &job->link);
    db->queued_bytes += listing_bytes;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
}

static int db_ask_bucket(struct db *db, struct db_bucket_ask *ask)
{
    db_queue(db, &ask->job, DB_JOB_BUCKET, 0);
    pthread_mutex_lock(&db->lock);
    while (!ask->done)
        pthread_cond_wait(&db->answer, &db->lock);
    pthread_mutex_unlock(&db->lock);
    return ask->error;
}

int db_bucket(struct db *db, const char *endpoint, const char *bucket, uint64_t scope,
              uint64_t *ret_bucket)
{
    struct db_bucket_ask ask = {.endpoint = endpoint, .bucket = bucket, .scope = scope};
    int r = db_ask_bucket(db, &ask);
    if (r == 0)
        *ret_bucket = ask.id;
    return r;
}

int db_root_ino(struct db *db, uint64_t bucket, uint64_t *ret_ino)
{
    struct db_bucket_ask ask = {.id = bucket};
    int r = db_ask_bucket(db, &ask);
    if (r == 0)
        *ret_ino = ask.root;
    return r;
}

void db_put_inode(struct db *db, const struct db_inode *row)
{
    const char *etag = row->etag ? row->etag : "";
    size_t name_size = strlen(row->name) + 1, etag_size = strlen(etag) + 1;
    struct db_cmd *cmd = calloc(1, sizeof(*cmd) + name_size + etag_size);
    if (!cmd) {
        log_error("db", "out of memory: inode %llu is not kept", (unsigned long long)row->ino);
        return;
    }
    cmd->row = *row;
    cmd->row.name = memcpy(cmd->text, row->name, name_size);
    cmd->row.etag = memcpy(cmd->text + name_size, etag, etag_size);
    db_queue(db, &cmd->job, DB_JOB_PUT_INODE, 0);
}

static void db_queue_ino(struct db *db, uint64_t ino, int kind)
{
    struct db_cmd *cmd = calloc(1, sizeof(*cmd));
    if (!cmd) { /* a row too many: its number is never given again, so nobody finds it */
        log_error("db", "out of memory: inode %llu is not removed", (unsigned long long)ino);
        return;
    }
    cmd->row.ino = ino;
    db_queue(db, &cmd->job, kind, 0);
}

void db_del_inode(struct db *db, uint64_t ino)
{
    db_queue_ino(db, ino, DB_JOB_DEL_INODE);
}

void db_sweep(struct db *db, uint64_t below_ino)
{
    db_queue_ino(db, below_ino, DB_JOB_SWEEP);
}

void db_read_start(struct db *db, struct db_read *read)
{
    read->error = 0;
    read->rows = NULL;
    read->nrows = 0;
    read->listing = NULL;
    db_queue(db, &read->job, DB_JOB_READ, 0);
}

static struct db_cmd *db_listing_cmd(uint64_t bucket, const char *prefix)
{
    size_t size = strlen(prefix) + 1;
    struct db_cmd *cmd = calloc(1, sizeof(*cmd) + size);
    if (!cmd)
        return NULL;
    cmd->bucket = bucket;
    cmd->prefix = memcpy(cmd->text, prefix, size);
    return cmd;
}

static void db_queue_removal(struct db *db, uint64_t bucket, const char *prefix, int kind)
{
    struct db_cmd *cmd = db_listing_cmd(bucket, prefix);
    if (cmd) {
        db_queue(db, &cmd->job, kind, 0);
        return;
    }
    log_error("db", "out of memory: all kept listings are dropped");
    pthread_mutex_lock(&db->lock);
    db->meta_lost = true;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
}

void db_put_listing(struct db *db, uint64_t bucket, const char *prefix,
                    const struct db_listing *listing)
{
    pthread_mutex_lock(&db->lock);
    bool full = db->queued_bytes > DB_LISTING_MAX_BYTES;
    pthread_mutex_unlock(&db->lock);
    struct db_cmd *cmd = full ? NULL : db_listing_cmd(bucket, prefix);
    if (!cmd || db_listing_pack(listing, &cmd->blob) < 0) {
        if (cmd)
            str_fini(&cmd->blob);
        free(cmd);
        db_queue_removal(db, bucket, prefix, DB_JOB_DEL_LISTING);
        return;
    }
    cmd->fetched_ns = listing->fetched_ns;
    db_queue(db, &cmd->job, DB_JOB_PUT_LISTING, cmd->blob.len);
}

void db_del_listing(struct db *db, uint64_t bucket, const char *prefix)
{
    db_queue_removal(db, bucket, prefix, DB_JOB_DEL_LISTING);
}

void db_del_listings_below(struct db *db, uint64_t bucket, const char *prefix)
{
    db_queue_removal(db, bucket, prefix, DB_JOB_DEL_BELOW);
}
