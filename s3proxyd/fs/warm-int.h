/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the two files of warming share: warm-list.c says what there is, warm.c brings it. */
#pragma once

#include "s3proxyd/fs/warm.h"

struct warm_lister {
    struct store_req req;
    char *token;
    bool running, over;
};

struct warm_object;
struct warm_piece { /* a fill; free when object is NULL */
    struct cache_wait wait;
    struct warm_object *object;
    uint64_t offset, len;
};

struct warm {
    struct warm_config config; /* its strings are not ours */
    struct loop_task task;
    struct warm_stats stats;
    struct warm_failure failures[WARM_FAILURES_KEPT];

    /* warm-list.c */
    char *key, *prefix;
    struct warm_lister feed, count;
    struct store_entry *page;  /* in use, up to `at`; the feed has the next one asked for */
    size_t npage, at;
    bool ready;                /* the next one is in feed.req */
    struct store_entry single; /* the object `key` itself; no key: none */
    bool single_used, anything; /* there is something, if only a marker */

    /* warm.c */
    struct warm_piece pieces[WARM_REQUESTS_MAX];
    struct warm_object *current; /* the one that has pieces to start */
    unsigned running, bad_in_a_row;
    uint64_t running_bytes;
    uint64_t mine_bytes;       /* room that our objects take, with what is still to come of them */
    uint64_t own_bytes;        /* fetched by us */
    uint64_t fetched_before;   /* by all, when we began */
    bool stopping;
};

int warm_list_start(struct warm *w);
/* The next object, valid until the call after; NULL: none so far, or none at all. */
const struct store_entry *warm_list_next(struct warm *w);
bool warm_list_done(const struct warm *w); /* there will be none */
void warm_list_cancel(struct warm *w);
bool warm_list_busy(const struct warm *w);
void warm_list_fini(struct warm *w);

void warm_go_on(struct warm *w); /* soon, from the loop */
