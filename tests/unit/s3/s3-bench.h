/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A work bench for the S3 store in tests: a loop, its mailbox, transfer threads and one store;
 * requests are run one at a time, or many at once, until they are done. */
#pragma once

#include "s3proxyd/s3/s3.h"

struct s3_bench {
    struct loop *loop;
    struct mailbox *home;
    struct net *net;
    struct store *store;
    unsigned pending;
};

struct s3_bench_config {
    struct net_config net;
    struct s3_config s3;                 /* cred is made from the keys here */
    const char *access_key, *secret_key; /* NULL: anonymous */
};

/* 0 | -errno, with the reason on stderr */
int s3_bench_init(struct s3_bench *b, const struct s3_bench_config *config);
void s3_bench_fini(struct s3_bench *b);
void s3_bench_submit(struct s3_bench *b, struct store_req *req); /* sets req->done */
void s3_bench_wait(struct s3_bench *b);                          /* until none is pending */
int s3_bench_run(struct s3_bench *b, struct store_req *req);     /* both; → req->error */
