/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What outlives the process, in two SQLite files that are never mixed:
 *   inodes.db  durable (WAL, synchronous=NORMAL): inode number ↔ parent and name, and attributes that are
 *              not in the store. Migrated by upgrades, never dropped; a newer schema is refused.
 *   meta.db    disposable (synchronous=OFF): listings. Thrown away when its clean mark is missing, when
 *              it does not open or when its schema differs.
 * One thread owns both connections and batches writes into transactions (a few ms); callers stay on the
 * main loop and, but for the two calls that say so, never wait. Reads see all writes queued before them.
 * Killing the process loses at most the last batch and what is still queued; a power cut may lose more, but
 * never a range of inode numbers or a bucket's number, which are synced before they are used. A disk
 * that is full or broken is logged and costs rows, never the service. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3proxyd/work/mailbox.h"

struct db;

/* dir: created 0700. home: where answers arrive; it must outlive the last read. Blocking, for start-up.
 * 0 | -EPROTONOSUPPORT (newer schema) | -EUCLEAN (inodes.db is damaged) | -EBUSY (another backend has it) |
 * -errno; *ret_why: static text. meta.db alone never makes it fail. */
int db_new(struct mailbox *home, const char *dir, struct db **ret_db, const char **ret_why);
void db_free(struct db *db); /* flushes, checkpoints, marks meta.db clean */

/* Inode numbers: taken from a range that was committed as used before any of it is given out, so none is
 * ever given twice, also after a crash. The thread reserves the next range when half of one is used; a
 * caller that uses up the other half before the thread got to it waits for it (one small transaction).
 * Never fails: while the disk takes no reservation, numbers come from above 2^62, by the clock. */
uint64_t db_next_ino(struct db *db);

struct db_inode {
    uint64_t ino, bucket, parent; /* parent 0: the root of a bucket */
    const char *name;             /* copied */
    uint64_t generation;
    uint32_t type;                /* S_IFDIR | S_IFREG */
    uint32_t set;                 /* DB_SET_* : which of the following are ours */
    uint32_t mode, uid, gid;
    int64_t atime_ns, mtime_ns, ctime_ns;
    const char *etag;             /* the version the times belong to; "" none. copied */
};
#define DB_SET_MODE 1u
#define DB_SET_UID 2u
#define DB_SET_GID 4u
#define DB_SET_ATIME 8u
#define DB_SET_MTIME 16u
#define DB_SET_KEEP 32u /* a row below it carries something: without this one it could not be found */

/* The number of a bucket (endpoint, name, scope), from 1: the same one for ever. Synchronous, waits for the
 * rows queued before it; called at attach. 0 | -errno */
int db_bucket(struct db *db, const char *endpoint, const char *bucket, uint64_t scope,
              uint64_t *ret_bucket);

/* The number its root directory had (the row with parent 0), or 0. Synchronous; called at attach. */
int db_root_ino(struct db *db, uint64_t bucket, uint64_t *ret_ino);

/* Queue a row (insert or replace by ino) / queue its removal. Another row with the same bucket, parent and
 * name makes way for the new one. Memory is copied; out of memory is logged. */
void db_put_inode(struct db *db, const struct db_inode *row);
void db_del_inode(struct db *db, uint64_t ino);
/* Removes the rows of earlier processes (numbers below) that carry nothing of ours: nobody held them. */
void db_sweep(struct db *db, uint64_t below_ino);

/* The head of everything that waits in the queue. */
struct db_job {
    struct list link;
    int kind;
};

/* Reads: rows live until done() returned. */
struct db_read {
    struct mail mail;  /* these two are the database's own */
    struct db_job job;
    enum { DB_READ_INO, DB_READ_CHILD, DB_READ_CHILDREN, DB_READ_LISTING,
           DB_READ_NOTHING } kind; /* NOTHING: done once all that was queued before outlives a kill */
    uint64_t ino;      /* INO: itself; CHILD, CHILDREN: the parent */
    uint64_t bucket;   /* LISTING; CHILD of parent 0 */
    const char *name;  /* CHILD: the name; LISTING: the directory's key prefix. Unchanged until done */
    int error;         /* 0 | -ENOENT (not CHILDREN: no rows then) | -EIO | -ENOMEM */
    struct db_inode *rows;
    size_t nrows;
    struct db_listing *listing; /* LISTING */
    void (*done)(struct db_read *read); /* may free the read */
};
void db_read_start(struct db *db, struct db_read *read); /* done() exactly once, later, main loop */

/* A complete listing of one directory. */
struct db_listing {
    int64_t fetched_ns; /* CLOCK_REALTIME of the request's start */
    bool marker;        /* the directory's own marker object exists */
    struct db_listing_entry {
        const char *name;
        bool is_dir;
        uint64_t size;
        int64_t mtime_ns;
        const char *etag; /* NULL comes back as "" */
    } *entries;
    size_t nentries;
};
/* Not kept when it is larger than 64 MiB or when the thread is that far behind: then an older listing
 * of the directory goes, too. */
void db_put_listing(struct db *db, uint64_t bucket, const char *prefix,
                    const struct db_listing *listing); /* copied */
void db_del_listing(struct db *db, uint64_t bucket, const char *prefix); /* this directory only */
void db_del_listings_below(struct db *db, uint64_t bucket, const char *prefix); /* and prefix itself */
