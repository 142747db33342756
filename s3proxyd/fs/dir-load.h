/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Inside the loading of a directory: dir-load.c asks, dir-apply.c merges what comes into the inodes. */
#pragma once

#include "proto/base/loop.h"
#include "s3proxyd/fs/dir.h"
#include "s3proxyd/fs/pages.h"

enum load_phase { LOAD_ROWS, LOAD_SAVED, LOAD_PARKED, LOAD_PAGES };

struct dir_load {
    struct inode *dir;
    enum load_phase phase;
    enum dir_want want;
    uint64_t ttl_ms;
    struct list waiters;
    struct db_read read;
    struct pages pages;
    char *key;
    uint64_t asked_ns, asked_change; /* when the first question was asked: what is newer wins */
    int64_t asked_real_ns;
    unsigned restarts;
    bool for_reader;
    struct loop_task more; /* readers hear of a page */

    /* what came so far */
    bool marker, applying, first_shown, saved;
    uint64_t hidden;
    size_t mentioned;
    char *first_last;                /* greatest key of the first page, behind the prefix */
    struct store_entry *held;        /* objects: a directory of the same name may yet come */
    size_t nheld, held_cap, held_top; /* held_top: which has the greatest key */
    struct removed {                 /* names that went while it ran */
        uint64_t hash;
        char *name;
    } *removed;
    size_t nremoved;
    bool removed_lost;               /* too many to remember: what came is not to be believed */

    struct store_entry *given;       /* by a walk: no question is asked */
    size_t ngiven;
    struct list walk_link;           /* PARKED: with a walk that may bring it */
    unsigned parked_pages;
};

void dir_load_resume(struct dir_load *load); /* PARKED: it asks by itself */
bool dir_apply_outdated(const struct dir_load *l); /* what it asked for has changed since */
bool dir_apply_was_removed(const struct dir_load *l, const char *name, size_t len);

/* One page, or a part of one. Takes the entries it holds. 0 | -errno */
int dir_apply_entries(struct dir_load *l, struct store_entry *entries, size_t n, const char *until,
                      size_t *ret_new);
int dir_apply_saved(struct dir_load *l, const struct db_listing *listing);
int dir_apply_first(struct dir_load *l); /* there are more pages, which nobody wants now */
int dir_apply_end(struct dir_load *l);   /* all of it was shown: the rest is absent */
void dir_apply_save(struct dir_load *l); /* into meta.db */
void dir_apply_forget(struct dir_load *l); /* for another beginning, or the end */
