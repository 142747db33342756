/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The database's thread: takes jobs in the order they were queued, runs them on the two connections,
 * and commits what has changed every few milliseconds. A read runs on the connection that wrote, so it
 * sees rows that are not committed yet. */
#include <errno.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/db/db-int.h"

static void db_commit(struct db *db)
{
    int r = db_file_commit(&db->inodes);
    if (r < 0)
        db_file_complain(&db->inodes, "commit", r);
    r = db_file_commit(&db->meta);
    if (r < 0) { /* removals were lost with it */
        db_file_complain(&db->meta, "commit", r);
        db_meta_reset(&db->meta, db->dir);
    }
    db->batch_end_ns = 0;
    db->batch_jobs = 0;
}

/* The owner's loop runs this; done() may free the read. */
static void db_read_home(struct mail *mail)
{
    struct db_read *read = container_of(mail, struct db_read, mail);
    struct db_inode *rows = read->rows;
    struct db_listing *listing = read->listing;
    read->done(read);
    free(rows);
    free(listing);
}

static void db_run_read(struct db *db, struct db_read *read)
{
    int r = 0;
    if (read->kind == DB_READ_NOTHING) {
        db_commit(db);
    } else if (read->kind == DB_READ_LISTING) {
        r = db_meta_read(&db->meta, read);
        if (r == -EUCLEAN) {
            db_file_complain(&db->meta, "read", r);
            db_meta_reset(&db->meta, db->dir);
        }
        if (r < 0 && r != -ENOMEM)
            r = -ENOENT; /* a listing that cannot be read is one we do not have */
    } else {
        r = db_inode_read(&db->inodes, read);
        if (r < 0 && r != -ENOENT)
            db_file_complain(&db->inodes, "read", r);
        if (r < 0 && r != -ENOENT && r != -ENOMEM)
            r = -EIO;
    }
    read->error = r;
    read->mail.run = db_read_home;
    mailbox_post(db->home, &read->mail);
}

static void db_run_inode(struct db *db, struct db_cmd *cmd)
{
    int r = db_file_begin(&db->inodes);
    if (r == 0 && cmd->job.kind == DB_JOB_PUT_INODE)
        r = db_inode_put(&db->inodes, &cmd->row);
    else if (r == 0 && cmd->job.kind == DB_JOB_SWEEP)
        r = db_inode_sweep(&db->inodes, cmd->row.ino);
    else if (r == 0)
        r = db_inode_del(&db->inodes, cmd->row.ino);
    if (r < 0)
        db_file_complain(&db->inodes, "write", r);
}

static void db_run_listing(struct db *db, struct db_cmd *cmd)
{
    if (!db->meta.sql) /* it could not be made; that was said */
        return;
    int r = db_file_begin(&db->meta);
    if (r == 0 && cmd->job.kind == DB_JOB_PUT_LISTING)
        r = db_meta_put(&db->meta, cmd);
    else if (r == 0 && cmd->job.kind == DB_JOB_DEL_LISTING)
        r = db_meta_del(&db->meta, cmd->bucket, cmd->prefix);
    else if (r == 0)
        r = db_meta_del_below(&db->meta, cmd->bucket, cmd->prefix);
    if (r == 0)
        return;
    /* An old listing may have stayed where a new one or none should be: none is believed any more. */
    db_file_complain(&db->meta, "write", r);
    db_meta_reset(&db->meta, db->dir);
}

static void db_run_bucket(struct db *db, struct db_bucket_ask *ask)
{
    db_commit(db);
    ask->error = db_inode_bucket(&db->inodes, ask);
    pthread_mutex_lock(&db->lock);
    ask->done = true;
    pthread_cond_broadcast(&db->answer);
    pthread_mutex_unlock(&db->lock);
}

static void db_run_cmd(struct db *db, struct db_cmd *cmd)
{
    if (cmd->job.kind == DB_JOB_PUT_INODE || cmd->job.kind == DB_JOB_DEL_INODE ||
        cmd->job.kind == DB_JOB_SWEEP)
        db_run_inode(db, cmd);
    else
        db_run_listing(db, cmd);
    str_fini(&cmd->blob);
    free(cmd);
    if (!db->batch_end_ns)
        db->batch_end_ns = clock_mono_ns() + DB_BATCH_NS;
    if (++db->batch_jobs >= DB_BATCH_JOBS || clock_mono_ns() >= db->batch_end_ns)
        db_commit(db);
}

static void db_run(struct db *db, struct db_job *job)
{
    switch (job->kind) {
    case DB_JOB_READ:
        db_run_read(db, container_of(job, struct db_read, job));
        break;
    case DB_JOB_BUCKET:
        db_run_bucket(db, container_of(job, struct db_bucket_ask, job));
        break;
    default:
        db_run_cmd(db, container_of(job, struct db_cmd, job));
    }
}

static void db_reserve(struct db *db)
{
    uint64_t first = 0;
    db_commit(db);
    int r = db_inode_reserve(&db->inodes, DB_INO_RANGE, &first);
    if (r < 0)
        db_file_complain(&db->inodes, "reserving inode numbers", r);
    pthread_mutex_lock(&db->lock);
    db->range_wanted = false;
    if (r == 0) {
        db->range_next = first;
        db->range_end = first + DB_INO_RANGE;
    }
    pthread_cond_broadcast(&db->answer);
    pthread_mutex_unlock(&db->lock);
}

struct db_todo {
    struct list jobs;
    bool range, meta_lost, stop;
};

/* Waits for something to do or for the end of the open batch. */
static void db_wait(struct db *db, struct db_todo *todo)
{
    list_init(&todo->jobs);
    pthread_mutex_lock(&db->lock);
    while (list_empty(&db->queue) && !db->range_wanted && !db->meta_lost && !db->stop) {
        if (!db->batch_end_ns) {
            pthread_cond_wait(&db->work, &db->lock);
            continue;
        }
        struct timespec until = {(time_t)(db->batch_end_ns / NS_PER_S),
                                 (long)(db->batch_end_ns % NS_PER_S)};
        if (pthread_cond_timedwait(&db->work, &db->lock, &until) == ETIMEDOUT)
            break;
    }
    list_splice_tail(&todo->jobs, &db->queue);
    todo->range = db->range_wanted;
    todo->meta_lost = db->meta_lost;
    todo->stop = db->stop;
    db->meta_lost = false;
    db->queued_bytes = 0;
    pthread_mutex_unlock(&db->lock);
}

void *db_thread(void *arg)
{
    struct db *db = arg;
    struct db_todo todo;
    do {
        struct db_job *job, *next;
        db_wait(db, &todo);
        if (todo.range)
            db_reserve(db);
        list_for_each_safe(job, next, &todo.jobs, link) {
            list_del(&job->link);
            db_run(db, job);
        }
        if (todo.meta_lost) /* after the jobs: one of them may be the listing that should be gone */
            db_meta_reset(&db->meta, db->dir);
        if (db->batch_end_ns && clock_mono_ns() >= db->batch_end_ns)
            db_commit(db);
    } while (!todo.stop);
    db_commit(db);
    db_file_close(&db->inodes);
    db_meta_close(&db->meta, db->dir);
    return NULL;
}
