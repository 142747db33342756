/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Directories: the slots that give readdir its cookies, and loading a listing from meta.db or the store. */
#pragma once

#include "s3proxyd/fs/fs.h"

int dir_alloc(struct inode *dir);  /* 0 | -ENOMEM */
void dir_free(struct inode *dir);
/* Keeps the inode in its parent's slots. No-op when it is there. 0 | -ENOMEM */
int dir_add(struct inode *inode);
void dir_remove(struct inode *inode);
bool dir_fresh(const struct inode *dir, uint64_t ttl_ms); /* its listing is complete and young */
void dir_expire(struct inode *dir);                       /* the next use asks the store */
uint64_t dir_forget(struct inode *inode); /* itself and all below: asked again. How many they are */
void dir_unsave_listing(struct inode *dir);               /* meta.db's copy is out of date */
void dir_drop_children(struct inode *dir);  /* the directory is gone: forget what was below it */
void dir_trim(struct inode *dir);           /* lets go of children nobody else needs */
uint64_t dir_names_known(const struct inode *dir); /* live children in memory */

/* A short memory of absent names, so that a CREATE after a failed LOOKUP does not ask again. */
void dir_note_absent(struct inode *dir, const char *name, size_t len, uint64_t asked_ns);
bool dir_known_absent(const struct inode *dir, const char *name, size_t len);

struct dir_wait {
    struct list link;
    void (*done)(struct dir_wait *wait, int error);
};
/* Rows of inodes.db below the directory, once per process. 0: in memory | -EINPROGRESS | -errno */
int dir_rows_start(struct inode *dir, struct dir_wait *wait);
/* A complete listing, from meta.db when that one is younger than ttl_ms, else from the store.
 * Joins a load that is under way. -EINPROGRESS | -errno */
int dir_load_start(struct inode *dir, uint64_t ttl_ms, struct dir_wait *wait);
/* Waits for a load under way, whoever wanted it. false: there is none */
bool dir_load_join(struct inode *dir, struct dir_wait *wait);
void dir_wait_cancel(struct dir_wait *wait); /* silent; the load goes on */
