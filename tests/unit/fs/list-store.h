/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A store that can only list, from a set of keys in memory, and tell lies about it. Answers come
 * from the loop, in an order that a seed decides. */
#pragma once

#include "proto/base/loop.h"
#include "s3proxyd/store/store.h"

enum list_lie {
    LIST_HONEST,
    LIST_DIRS_AS_NAMES, /* sorts "n/" as "n", in tokens and start-after, too; nothing is left out */
    LIST_UNSORTED,      /* some order of its own; start-after means nothing */
    LIST_NO_START_AFTER, /* ignored: always from the beginning */
    LIST_REFUSES_START,  /* an error */
    LIST_START_INCLUDED, /* start-after itself comes again */
    LIST_EMPTY_PAGES,    /* every other page is empty, with a token */
    LIST_SAME_TOKEN,     /* the second page comes for ever */
    LIST_EMPTY_FOR_EVER,
    LIST_LIES
};

struct list_store {
    struct store store;
    struct loop *loop;
    struct list jobs;
    char **keys; /* sorted as S3 does */
    size_t n, cap;
    enum list_lie lie;
    unsigned page_keys; /* most of one page; 0: 1000 */
    unsigned asked, in_flight, most_in_flight;
    unsigned fail_at; /* this request, from 1, fails; 0: none */
    uint64_t seed;
};

struct list_store *list_store_new(struct loop *loop);
void list_store_free(struct list_store *s);
void list_store_put(struct list_store *s, const char *key);
void list_store_sort(struct list_store *s); /* after the last put */
unsigned list_store_random(struct list_store *s, unsigned below);
