/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Brings all that lies below a key into the cache: a walk through its flat listing, two pages in memory at
 * most, and fills of whole objects, several at once. A second walk counts, beyond the first page, what there
 * is in all, so that progress has an end. Nothing here touches inodes.
 *
 * It takes no more of the cache than there is: what it has brought it would evict next, so it stops instead
 * (`full`). Everything is fetched behind readers (cache_fill_behind()). Main loop only. */
#pragma once

#include "proto/base/loop.h"
#include "proto/limits.h"
#include "s3proxyd/cache/cache.h"

#define WARM_REQUESTS_DEFAULT 32u
#define WARM_REQUESTS_MAX PROTO_WARM_REQUESTS_MAX
#define WARM_FAILURES_KEPT 100u

struct warm;

struct warm_config {
    struct loop *loop;
    struct cache *cache;
    struct store *store;
    uint64_t scope;          /* cred_scope() */
    const char *key;         /* of an object or a directory; with a final '/', or "": a directory's only */
    unsigned requests;       /* begun or queued, at most WARM_REQUESTS_MAX; 0: WARM_REQUESTS_DEFAULT */
    void (*ended)(struct warm *warm, void *arg); /* once */
    void *arg;
};

struct warm_failure {
    char *key;
    int error;
};

struct warm_stats {
    uint64_t objects, bytes;                 /* in the cache now; bytes: also of what is not whole */
    uint64_t present_objects, present_bytes; /* of these: were there before */
    uint64_t total_objects, total_bytes;     /* found so far; of all when total_known */
    uint64_t lost_bytes;                     /* of objects that changed or failed */
    uint64_t changed;                        /* replaced or removed since they were listed */
    uint64_t failed;
    uint64_t hidden;                         /* keys that no path names */
    unsigned requests;                       /* running */
    bool total_known, over, full;
    int error;                               /* why it ended early: 0, or -errno */
    char error_text[256];                    /* in the store's words, or empty */
    const struct warm_failure *failures;     /* the first WARM_FAILURES_KEPT */
    size_t nfailures;
};

int warm_start(const struct warm_config *config, struct warm **ret_warm);
/* Ends soon, not waiting for what is under way. */
void warm_stop(struct warm *warm, int error);
void warm_stats(const struct warm *warm, struct warm_stats *ret);
void warm_free(struct warm *warm); /* it has ended */
