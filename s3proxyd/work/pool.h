/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A few threads for blocking disk work and digests. run() happens on a pool thread and touches
 * nothing but what hangs on its own work item; done() happens later on the loop of the pool's
 * home mailbox. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/work/mailbox.h"

struct pool;

struct work {
    struct mail mail;  /* pool's; on its way home */
    struct list link;  /* pool's; while queued */
    struct pool *pool; /* pool's; set by submit */
    void (*run)(struct work *work);
    void (*done)(struct work *work); /* exactly once; may free the item */
};

#define POOL_THREADS_DEFAULT 4u
#define POOL_THREADS_MAX 256u

/* threads 0: POOL_THREADS_DEFAULT. 0 | -EINVAL | -errno */
int pool_new(struct mailbox *home, unsigned threads, struct pool **ret_pool);
/* On the home's thread: waits for everything submitted, also by done(); all done() have run
 * afterwards. */
void pool_free(struct pool *pool);
struct mailbox *pool_home(struct pool *pool); /* where done() runs; for mails on the way to it */
void pool_submit(struct pool *pool, struct work *work); /* on the home's thread */
