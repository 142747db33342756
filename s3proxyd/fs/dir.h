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
/* READDIR's cookie that comes behind a slot, and the slot it goes on with. */
uint64_t dir_cookie(const struct inode *dir, size_t slot);
size_t dir_slot_behind(const struct inode *dir, uint64_t cookie);
bool dir_fresh(const struct inode *dir, uint64_t ttl_ms); /* its listing is complete and young */
bool dir_readable(const struct inode *dir, uint64_t ttl_ms); /* ... and may be shown to a reader */
void dir_expire(struct inode *dir);                       /* the next use asks the store */
/* Itself and all below: asked again. Raise fs->change before. How many they are */
uint64_t dir_forget(struct inode *inode);
void dir_unsave_listing(struct inode *dir);               /* meta.db's copy is out of date */
void dir_drop_children(struct inode *dir);  /* the directory is gone: forget what was below it */
void dir_trim(struct inode *dir);           /* lets go of children nobody else needs */
uint64_t dir_names_known(const struct inode *dir); /* live children in memory */

/* A short memory of absent names, so that a CREATE after a failed LOOKUP does not ask again. */
void dir_note_absent(struct inode *dir, const char *name, size_t len, uint64_t asked_ns);
bool dir_known_absent(const struct inode *dir, const char *name, size_t len);
/* Does what is known of the directory say that it has no such name? A listing that somebody read is believed
 * for ttl_ms; one made for a name or by a walk only when it was asked for since then, because until now an
 * absent name was asked for, and others may wait for it to come. */
bool dir_lacks(struct inode *dir, const char *name, size_t len, uint64_t ttl_ms, uint64_t since_ns);
/* Does a page whose greatest key (behind the prefix) is `covered` decide about that name, as a file and as a
 * directory? */
bool dir_covers(const char *covered, const char *name, size_t len);
/* Somebody looks into it. */
void dir_used(struct inode *dir);
/* Is the first page the cheaper way to learn about one name? known: it was there before. */
bool dir_worth_listing(const struct inode *dir, bool known, uint64_t ttl_ms);

enum dir_want { DIR_ROWS = 1, DIR_FIRST, DIR_MORE, DIR_WHOLE };
struct dir_wait {
    struct list link;
    enum dir_want want;
    void (*done)(struct dir_wait *wait, int error);
};
/* Rows of inodes.db below the directory, once per process. 0: in memory | -EINPROGRESS | -errno */
int dir_rows_start(struct inode *dir, struct dir_wait *wait);
/* The first page of the listing at least. 0: was shown | -EINPROGRESS | -errno */
int dir_first_start(struct inode *dir, uint64_t ttl_ms, struct dir_wait *wait);
/* A complete listing, from meta.db when that one is younger than ttl_ms, else from the store.
 * Joins a load that is under way. done() comes as soon as some more of it was shown: see dir_shown().
 * -EINPROGRESS | -errno */
int dir_more_start(struct inode *dir, uint64_t ttl_ms, struct dir_wait *wait);
/* A complete listing that was found on the way. Takes the entries. */
struct dir_given {
    struct store_entry *entries;
    size_t n;
    uint64_t asked_ns, asked_change;
    int64_t asked_real_ns;
};
void dir_give(struct inode *dir, struct dir_given *given);
void dir_entries_free(struct store_entry *entries, size_t n); /* the array, too */
/* It is being loaded for a reader. */
bool dir_growing(const struct inode *dir);
/* Up to which slot, from one on, names may be shown: all of them, or, while it grows, those that the listing
 * has confirmed. *ret_any: there is one. */
size_t dir_shown(const struct inode *dir, size_t from, bool *ret_any);
/* Waits for a load under way, whoever wanted it. false: there is none */
bool dir_load_join(struct inode *dir, struct dir_wait *wait);
void dir_load_removed(struct inode *dir, const char *name); /* a child lost its name, not by the load */
