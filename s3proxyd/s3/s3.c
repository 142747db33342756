/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The store interface over S3: checks what comes in, sends it to a transfer thread, gives it back.
 * All of this file runs on the main loop. */
#include "s3proxyd/s3/s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/limits.h"
#include "s3proxyd/s3/s3-request.h"

#define RETRY_DEADLINE_DEFAULT_MS 300000u
#define QUESTION_DEADLINE_NS (45 * NS_PER_S)
#define KEYS_MAX 1000u
#define PARTS_MAX 10000u

#define GIB (1024ull * 1024 * 1024)

static const struct s3_op *const ops[] = {
    [STORE_CHECK] = &s3_op_check,
    [STORE_LIST] = &s3_op_list,
    [STORE_HEAD] = &s3_op_head,
    [STORE_GET] = &s3_op_get,
    [STORE_PUT] = &s3_op_put,
    [STORE_DELETE] = &s3_op_delete,
    [STORE_DELETE_MANY] = &s3_op_delete_many,
    [STORE_COPY] = &s3_op_copy,
    [STORE_MPU_CREATE] = &s3_op_mpu_create,
    [STORE_MPU_PART] = &s3_op_mpu_part,
    [STORE_MPU_PART_COPY] = &s3_op_mpu_part_copy,
    [STORE_MPU_COMPLETE] = &s3_op_mpu_complete,
    [STORE_MPU_ABORT] = &s3_op_mpu_abort,
};

static struct s3_store *s3_of(struct store *store)
{
    return container_of(store, struct s3_store, base);
}

static int key_check(const char *key)
{
    size_t len = key ? strlen(key) : 0;

    if (!len)
        return -EINVAL;
    if (len > PROTO_KEY_MAX_BYTES)
        return -ENAMETOOLONG;
    return str_utf8_ok(key, len) ? 0 : -EILSEQ;
}

static int keys_check(const struct store_req *req)
{
    if (!req->nkeys || req->nkeys > KEYS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < req->nkeys; i++) {
        int r = key_check(req->keys[i]);

        if (r < 0)
            return r;
    }
    return 0;
}

static int req_check(const struct store_req *req)
{
    int r = 0;

    if (req->op > STORE_MPU_ABORT || !range_ok(req->offset, req->length))
        return -EINVAL;
    if (req->op == STORE_DELETE_MANY)
        return keys_check(req);
    if (req->op == STORE_CHECK || req->op == STORE_LIST)
        return req->key && *req->key ? key_check(req->key) : 0;
    r = key_check(req->key);
    if (r >= 0 && (req->op == STORE_COPY || req->op == STORE_MPU_PART_COPY))
        r = key_check(req->src_key);
    if (r >= 0 && req->op >= STORE_MPU_PART && !req->upload_id)
        r = -EINVAL;
    if (r >= 0 && (req->op == STORE_MPU_PART || req->op == STORE_MPU_PART_COPY) &&
        (req->part_number < 1 || req->part_number > PARTS_MAX))
        r = -EINVAL;
    if (r >= 0 && req->op == STORE_MPU_PART_COPY && !req->length)
        r = -EINVAL;
    if (r >= 0 && req->op == STORE_MPU_COMPLETE && (!req->nparts || req->nparts > PARTS_MAX))
        r = -EINVAL;
    return r;
}

/* How much of the range there is. */
static uint64_t get_want(const struct store_req *req)
{
    uint64_t size = req->sink.object_size;

    return req->offset < size ? MIN(req->length, size - req->offset) : 0;
}

static void req_done(struct store_req *req)
{
    s3_of(req->store)->in_flight--;
    req->done(req);
}

/* Decided here, but told later: done() never runs inside submit. */
static void answered_home(struct mail *mail)
{
    req_done(container_of(mail, struct store_req, mail));
}

static void request_leave(struct s3_request *rq)
{
    struct store_req *req = rq->req;

    if (!rq->finished || rq->cancel_out)
        return;
    req->impl = NULL;
    free(rq);
    req_done(req);
}

static void request_home(struct mail *mail)
{
    struct s3_request *rq = container_of(mail, struct store_req, mail)->impl;

    rq->finished = true;
    request_leave(rq);
}

static void cancel_home(struct mail *mail)
{
    struct s3_request *rq = container_of(mail, struct s3_request, cancel_mail);

    rq->cancel_out = false;
    request_leave(rq);
}

static void s3_submit(struct store *store, struct store_req *req)
{
    struct s3_store *s = s3_of(store);
    struct s3_request *rq = NULL;
    int r = req_check(req);

    s->in_flight++;
    req->impl = NULL;
    req->cancelled = false;
    req->error = 0;
    req->error_text[0] = '\0';
    req->got = 0;
    if (r >= 0 && !(req->op == STORE_GET && !get_want(req))) {
        rq = calloc(1, sizeof(*rq));
        r = rq ? 0 : -ENOMEM;
    }
    if (!rq) { /* refused, or the empty range of a GET: a Range of an empty object would be 416 */
        req->error = r;
        if (r < 0)
            snprintf(req->error_text, sizeof(req->error_text), "%s", strerror(-r));
        req->mail.run = answered_home;
        mailbox_post(net_home(s->net), &req->mail);
        return;
    }
    rq->req = req;
    rq->store = s;
    rq->op = rq->main_op = ops[req->op];
    rq->broken = S3_BROKEN_COUNT;
    rq->sink.want = req->op == STORE_GET ? get_want(req) : 0;
    req->impl = rq;
    s3_request_submit(rq, request_home);
}

static void s3_cancel(struct store *store, struct store_req *req)
{
    struct s3_request *rq = req->impl;

    (void)store;
    if (rq && !rq->finished)
        s3_request_cancel(rq, cancel_home);
}

static void s3_stats(struct store *store, struct store_stats *ret)
{
    struct s3_counters *c = &s3_of(store)->count;

    for (size_t i = 0; i < ARRAY_SIZE(ret->requests); i++)
        ret->requests[i] = c->requests[i];
    ret->errors = c->errors;
    ret->retries = c->retries;
    ret->throttled = c->throttled;
    ret->bytes_in = c->bytes_in;
    ret->bytes_out = c->bytes_out;
}

static void s3_free(struct store *store)
{
    struct s3_store *s = s3_of(store);

    must(s->in_flight == 0);
    s3_routes_fini(&s->routes);
    cred_unref(s->cred);
    free((char *)s->base.endpoint);
    free(s);
}

static const struct store_impl impl = {"s3", s3_submit, s3_cancel, s3_stats, s3_free};

static int store_init(struct s3_store *s, struct net *net, const struct s3_config *config,
                      const char **ret_why)
{
    int r;

    s->base.impl = &impl;
    s->net = net;
    s->cred = cred_ref(config->cred);
    s3_budget_init(&s->budget);
    r = s3_routes_init(&s->routes, config, ret_why);
    if (r < 0)
        return r;
    /* The name in cache keys: a bucket's region is not part of its identity. */
    s->base.endpoint = config->endpoint && !s->routes.regional ? strdup(config->endpoint)
                                                               : strdup("https://s3.amazonaws.com");
    if (!s->base.endpoint)
        return -ENOMEM;
    s->base.bucket = s->routes.bucket;
    s->base.copy_max_bytes = 5 * GIB;
    s->base.part_min_bytes = 5ull * 1024 * 1024;
    s->base.object_max_bytes = 5 * 1024 * GIB;
    s->base.parts_max = PARTS_MAX;
    s->sign_payload = !s->routes.tls && !s->routes.loopback && !config->insecure_http;
    s->retry_deadline_ns = (config->retry_deadline_ms ?: RETRY_DEADLINE_DEFAULT_MS) * NS_PER_MS;
    return 0;
}

int s3_store_new(struct net *net, const struct s3_config *config, struct store **ret_store,
                 const char **ret_why)
{
    struct s3_store *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    r = store_init(s, net, config, ret_why);
    if (r < 0) {
        s3_free(&s->base);
        return r;
    }
    log_debug("s3", "bucket %s at %s, region %s", log_esc(s->base.bucket),
              log_esc(s->routes.current->origin), s->routes.current->region);
    *ret_store = &s->base;
    return 0;
}

uint64_t s3_patience_ns(const struct s3_store *store, enum store_op op)
{
    bool question = op <= STORE_GET; /* CHECK, LIST, HEAD, GET */

    return question ? MIN(store->retry_deadline_ns, QUESTION_DEADLINE_NS)
                    : store->retry_deadline_ns;
}
