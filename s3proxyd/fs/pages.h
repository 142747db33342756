/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* All pages of one listing with a delimiter, several side by side where the order of keys allows
 * it.
 *
 * The key space is cut into lanes: the first begins at the beginning, each other one behind a key
 * (`start`) that was known from an earlier listing or guessed (split.h). A lane goes on by the
 * server's own continuation tokens until it has met the start of the next lane or the listing's
 * end. A guess therefore never decides what is in a directory: every stretch between two starts was
 * shown by pages that follow each other by tokens. It only costs a request when it was wrong, and
 * who guesses wrong stops guessing.
 *
 * A server whose pages contradict the order of S3 (directory buckets, some others) is asked page
 * after page, from where the first lane was. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/list.h"
#include "s3proxyd/store/store.h"

#define PAGES_KEYS 1000u    /* of a page; what store.h's LIST gives */
#define PAGES_LANES_MAX 12u /* requests side by side */

struct pages {
    /* the caller's, unchanged until done */
    struct store *store;
    const char *prefix; /* of the directory: "" or ending in '/' */
    bool side_by_side;  /* cleared here when the order of keys cannot be relied on (`unordered`) */
    char **hints;       /* start keys, sorted; malloc'd, taken. What an earlier listing tells */
    size_t nhints;
    bool one;            /* only the first page, for now: pages_go_on() gets the others */
    uint64_t *in_flight; /* counts requests, also those nobody waits for any more */
    /* One page, in the server's order; takes what it wants out of the entries. Entries behind
     * `until` (NULL: none) will be shown by another lane, too. *ret_new: how many were not seen
     * before. 0 | -errno: the listing fails with it */
    int (*page)(struct pages *p, struct store_entry *entries, size_t n, const char *until,
                size_t *ret_new);
    void (*done)(struct pages *p, int error); /* later; may free p */

    /* outputs */
    bool unordered; /* the server's pages are not in S3's order */
    bool truncated; /* `one` ended it: there is more */
    char error_text[256];

    /* its own */
    struct list lanes; /* in key order */
    unsigned running, useful, wasted, barren;
    char *model_first, *model_last; /* the names of a page, to guess by */
    size_t model_n;
    int error;
    bool sequential, guessing, ended; /* ended: a lane has seen the end of the listing */
};

int pages_start(struct pages *p); /* 0: done() comes, never from inside | -ENOMEM */
/* After done() with `truncated`: the rest. done() comes again. */
void pages_go_on(struct pages *p);
void pages_fini(struct pages *p); /* after done(), or before pages_start() */
/* Picks start keys from the names of an earlier listing, which are sorted. *ret_hints is malloc'd,
 * its strings too; NULL and 0: too few to cut, or no memory. */
void pages_hints(const char *prefix, const char **names, size_t n, char ***ret_hints,
                 size_t *ret_n);
