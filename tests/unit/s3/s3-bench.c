/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The bench: nothing here but the order of making and ending things. */
#include "tests/unit/s3/s3-bench.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/must.h"

static struct s3_bench *current; /* a bench is a test's; one runs at a time */

static int cred_make(const struct s3_bench_config *c, struct cred **ret)
{
    if (!c->access_key)
        return cred_new_anonymous(ret);
    return cred_new_static(c->access_key, strlen(c->access_key), c->secret_key,
                           strlen(c->secret_key), NULL, 0, ret);
}

int s3_bench_init(struct s3_bench *b, const struct s3_bench_config *config)
{
    struct s3_config s3 = config->s3;
    struct cred *cred = NULL;
    const char *why = "out of memory";
    int r;

    *b = (struct s3_bench){0};
    r = loop_new(&b->loop);
    if (r >= 0)
        r = mailbox_new(b->loop, &b->home);
    if (r >= 0)
        r = net_new(b->home, &config->net, &b->net);
    if (r >= 0)
        r = cred_make(config, &cred);
    if (r >= 0) {
        s3.cred = cred;
        r = s3_store_new(b->net, &s3, &b->store, &why);
        cred_unref(cred);
    }
    if (r < 0) {
        fprintf(stderr, "cannot set up: %s: %s\n", why, strerror(-r));
        s3_bench_fini(b);
    }
    return r;
}

void s3_bench_fini(struct s3_bench *b)
{
    store_free(b->store);
    net_free(b->net);
    if (b->home)
        mailbox_free(b->home);
    if (b->loop)
        loop_free(b->loop);
    *b = (struct s3_bench){0};
}

static void bench_done(struct store_req *req)
{
    (void)req;
    must(current->pending > 0);
    if (--current->pending == 0)
        loop_stop(current->loop);
}

void s3_bench_submit(struct s3_bench *b, struct store_req *req)
{
    current = b;
    b->pending++;
    req->done = bench_done;
    store_submit(b->store, req);
}

void s3_bench_wait(struct s3_bench *b)
{
    if (b->pending)
        loop_run(b->loop);
}

int s3_bench_run(struct s3_bench *b, struct store_req *req)
{
    s3_bench_submit(b, req);
    s3_bench_wait(b);
    return req->error;
}
