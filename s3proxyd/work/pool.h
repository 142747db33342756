/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A few threads for blocking disk work and digests. run() happens on a pool thread and touches nothing
 * but what hangs on its own work item; done() happens later on the loop of the pool's home mailbox. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/work/mailbox.h"

struct pool;

struct work {
    struct mail mail; /* pool's; on its way home */
    struct list link; /* pool's; while queued */
    struct work_serial *serial;
    void (*run)(struct work *work);
    void (*done)(struct work *work); /* exactly once; may free the item */
};

/* Items submitted through the same serial run one after the other, in order. */
struct work_serial {
    struct list waiting;
    bool running;
};
#define WORK_SERIAL_INIT(s) ((struct work_serial){LIST_INIT((s).waiting), false})

int pool_new(struct mailbox *home, unsigned threads, struct pool **ret_pool);
void pool_free(struct pool *pool); /* waits for running items; all done() have run afterwards */
void pool_submit(struct pool *pool, struct work *work);
void pool_submit_serial(struct pool *pool, struct work_serial *serial, struct work *work);
