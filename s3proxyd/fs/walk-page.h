/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The pages of a flat listing, sorted into directories. Keys come in order, so a directory's keys,
 * and those of all below it, stand together: it is complete when a key of somewhere else follows.
 */
#pragma once

#include "s3proxyd/fs/dir.h"

struct walk_stamp { /* when a page was asked for */
    uint64_t ns, change;
    int64_t real_ns;
};

struct walk_level { /* a directory that is not complete yet; those inside each other */
    size_t end;     /* its prefix: so much of `pos` */
    struct store_entry *entries;
    size_t n, cap;
    bool whole; /* nothing of it is missing */
    struct walk_stamp asked;
};

struct walk_page {
    struct inode *root; /* the owner's, these three */
    const char *prefix, *start;
    /* A complete directory. Takes the entries. */
    void (*bring)(struct walk_page *page, struct inode *dir, struct dir_given *given);
    struct walk_stamp asked; /* of the page that comes */

    char *pos;                 /* last key */
    struct walk_level *levels; /* from the root on, which itself is never completed */
    size_t depth, cap, kept;
};

struct walk_found {
    size_t completed; /* directories */
    size_t branches;  /* of them directly in the root */
};

/* Takes entries. 0 | -EBADMSG: not in order | -ESTALE: the root has gone elsewhere | -ENOMEM */
int walk_page_take(struct walk_page *page, struct store_entry *entries, size_t n,
                   struct walk_found *found);
void walk_page_end(struct walk_page *page, struct walk_found *found); /* no more keys */
void walk_page_fini(struct walk_page *page);
