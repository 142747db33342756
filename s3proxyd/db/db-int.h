/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Inside the database: the queue's jobs, and what its files share. db.c is the main loop's side; all
 * else runs on the database's thread (or in db_new() before there is one). */
#pragma once

#include <pthread.h>
#include <sqlite3.h>

#include "proto/base/str.h"
#include "s3proxyd/db/db.h"

#define DB_INO_FIRST 1024u           /* below: the kernel's root and room for numbers of our own */
#define DB_INO_RANGE 65536u          /* numbers per reservation: a refill is rare, a restart cheap */
#define DB_BATCH_NS (5 * 1000000ULL) /* longest life of an open transaction */
#define DB_BATCH_JOBS 2000u          /* most changes in one */
#define DB_LISTING_MAX_BYTES (64u * 1024 * 1024) /* packed; also bounds what waits in the queue */
#define DB_META_MAX_PAGES 262144     /* 1 GiB of 4 KiB pages: then the oldest listings go */

enum db_job_kind {
    DB_JOB_READ, /* struct db_read */
    DB_JOB_PUT_INODE, /* struct db_cmd, these and the following */
    DB_JOB_DEL_INODE,
    DB_JOB_SWEEP,
    DB_JOB_PUT_LISTING,
    DB_JOB_DEL_LISTING,
    DB_JOB_DEL_BELOW,
    DB_JOB_BUCKET, /* struct db_bucket_ask, on its caller's stack */
};

struct db_cmd {
    struct db_job job;
    struct db_inode row; /* inode kinds; strings point into text */
    uint64_t bucket;     /* listing kinds */
    const char *prefix;
    int64_t fetched_ns;
    struct str blob;
    char text[];
};

struct db_bucket_ask {
    struct db_job job;
    const char *endpoint, *bucket; /* endpoint NULL: the root's number of bucket `id` is asked */
    uint64_t scope;
    uint64_t id, root;
    int error;
    bool done; /* under the lock */
};

/* One SQLite file. What is fixed about it is its schema, a row of tables in db-inode.c and db-meta.c. */
struct db_schema {
    const char *file, *pragmas;
    const char *const *steps; /* steps[i] leads from version i to i + 1 */
    unsigned nsteps;
    const char *const *statements;
    unsigned nstatements;
};

struct db_file {
    const struct db_schema *schema;
    sqlite3 *sql; /* NULL: closed; every use answers -EIO */
    sqlite3_stmt **stmts;
    uint64_t complained_ns;
    unsigned unsaid;
};

/* Opens or creates, migrates, prepares. check: read the whole file for damage first. 0 | -EUCLEAN |
 * -EBUSY | -EPROTONOSUPPORT | -errno; the file is closed then. */
int db_file_open(struct db_file *f, const struct db_schema *schema, const char *dir, bool check);
void db_file_close(struct db_file *f);
int db_file_exec(struct db_file *f, const char *sql);
int db_file_begin(struct db_file *f);  /* no-op inside a transaction */
int db_file_commit(struct db_file *f); /* no-op outside */
/* A prepared statement, reset and without bindings; NULL when the file is closed. */
sqlite3_stmt *db_file_stmt(struct db_file *f, unsigned index);
int db_file_run(struct db_file *f, sqlite3_stmt *stmt); /* steps to the end and resets; 0 | -errno */
int db_file_errno(int sqlite_rc);
/* Logs a failure, at most one line in ten seconds. */
void db_file_complain(struct db_file *f, const char *what, int error);
/* Steps a file from the version it has to the schema's. Inside a transaction per step. */
int db_file_migrate(struct db_file *f);

extern const struct db_schema db_inode_schema, db_meta_schema;

int db_inode_put(struct db_file *f, const struct db_inode *row);
int db_inode_del(struct db_file *f, uint64_t ino);
int db_inode_sweep(struct db_file *f, uint64_t below);
int db_inode_read(struct db_file *f, struct db_read *read); /* fills rows */
int db_inode_bucket(struct db_file *f, struct db_bucket_ask *ask);
/* Commits, synced to the disk, that `count` numbers from *ret_first on are used. */
int db_inode_reserve(struct db_file *f, uint64_t count, uint64_t *ret_first);

/* Whether meta.db was closed in order. Removes the mark: from here on it is unclean. */
bool db_meta_take_mark(const char *dir);
void db_meta_open(struct db_file *f, const char *dir, bool clean);
void db_meta_close(struct db_file *f, const char *dir); /* sync, then the mark */
void db_meta_reset(struct db_file *f, const char *dir); /* empty, after damage */
int db_meta_put(struct db_file *f, const struct db_cmd *cmd);
int db_meta_del(struct db_file *f, uint64_t bucket, const char *prefix);
int db_meta_del_below(struct db_file *f, uint64_t bucket, const char *prefix);
int db_meta_read(struct db_file *f, struct db_read *read);

/* Listings as bytes. pack: 0 | -ENOMEM | -E2BIG. unpack: one block to free(); 0 | -ENOMEM | -EPROTO */
int db_listing_pack(const struct db_listing *listing, struct str *out);
int db_listing_unpack(const void *blob, size_t len, struct db_listing **ret_listing);

struct db {
    struct mailbox *home;
    char *dir;
    pthread_t thread;

    /* the main loop's */
    uint64_t ino_next, ino_end;
    uint64_t ino_by_clock; /* end of the last range made from the clock */

    /* the thread's */
    struct db_file inodes, meta;
    uint64_t batch_end_ns; /* 0: no transaction is open */
    unsigned batch_jobs;

    /* both, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t work, answer;
    struct list queue;
    size_t queued_bytes; /* of listings */
    bool stop;
    bool meta_lost;      /* a removal could not be queued: no listing may be believed */
    bool range_wanted;
    uint64_t range_next, range_end; /* reserved, not yet taken; equal: none */
};

void *db_thread(void *db);
