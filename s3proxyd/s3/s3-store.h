/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the requests of one bucket share. Made on the main loop, read by all transfer threads:
 * constant after s3_store_new() but for the atomics. */
#pragma once

#include "s3proxyd/s3/s3-error.h"
#include "s3proxyd/s3/s3-route.h"
#include "s3proxyd/s3/s3.h"

struct s3_counters {
    _Atomic uint64_t requests[STORE_MPU_ABORT + 1], errors, retries, throttled, bytes_in, bytes_out;
};

struct s3_store {
    struct store base;
    struct net *net;
    struct cred *cred;
    struct s3_routes routes;
    bool sign_payload;               /* plain http across a network: the body is in the signature */
    uint64_t retry_deadline_ns;      /* a duration; see s3_patience_ns() */
    _Atomic int64_t clock_offset_ns; /* the server's clock minus ours, once it complained */
    _Atomic bool no_batch_delete;    /* DeleteObjects is not implemented there */
    struct s3_budget budget;
    struct s3_counters count;
    unsigned in_flight; /* main loop */
};

/* How long a request without a deadline of its own is tried again. Somebody waits in front of a question, and
 * past the kernel's 120 s limit of hung tasks pages he reads would raise alarms; data that is to be saved
 * has all the time. */
uint64_t s3_patience_ns(const struct s3_store *store, enum store_op op);
