/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The step between the spool and the store: saving what was written to an inode as a new object version. */
#pragma once

#include "s3proxyd/fs/fs.h"

struct commit_wait {
    struct list link;
    uint64_t generation; /* commit.c's: the data that must be saved */
    void (*done)(struct commit_wait *wait, int error);
};
/* Saves everything written so far. 0: nothing to save | -EINPROGRESS: done runs once, later | -errno.
 * wait NULL: nobody waits; a failure is kept and tried again. */
int commit_start(struct inode *inode, struct commit_wait *wait);
/* Until none is under way, whatever becomes of it. 0: none is | -EINPROGRESS: done runs once, later */
int commit_wait_end(struct inode *inode, struct commit_wait *wait);

/* Gives a file a spool based on its current version (truncate: on nothing). 0 | -errno */
int commit_spool(struct inode *inode, bool truncate);
void commit_mark_dirty(struct inode *inode); /* after a write, a truncation or a creation */
/* Nobody writes any more: a clean spool becomes cache content; unsaved data is saved. */
void commit_settle(struct inode *inode);
/* A spool of which nothing is unsaved becomes the cache's file of the current version, if it has all
 * of it. */
void commit_retire(struct inode *inode);
bool commit_dirty_below(const struct inode *dir); /* unsaved files in a directory; false for a file */
void commit_discard(struct inode *inode); /* unlinked: the data is not wanted any more */
