/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Many keys at once. One DeleteObjects takes all that XML can carry; the rest, the keys that the
 * server failed on for a passing reason, and everything where a store has no DeleteObjects go one
 * by one, each with the usual retries. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "s3proxyd/s3/s3-request.h"

enum { KEY_BATCH, KEY_SINGLE, KEY_DONE };

static size_t many_next(const struct s3_request *rq, unsigned char state)
{
    size_t i = 0;

    while (i < rq->req->nkeys && rq->many.state[i] != state)
        i++;
    return i;
}

static void key_end(struct s3_request *rq, size_t i, int error)
{
    rq->many.state[i] = KEY_DONE;
    rq->req->key_errors[i] = error == -ENOENT ? 0 : error;
}

static void batch_give_up(struct s3_request *rq)
{
    for (size_t i = 0; i < rq->req->nkeys; i++) {
        if (rq->many.state[i] == KEY_BATCH)
            rq->many.state[i] = KEY_SINGLE;
    }
}

static int many_start(struct s3_request *rq)
{
    struct store_req *req = rq->req;

    if (rq->many.state)
        return 0;
    rq->many.state = calloc(req->nkeys, 1);
    free(req->key_errors);
    req->key_errors = calloc(req->nkeys, sizeof(*req->key_errors));
    if (!rq->many.state || !req->key_errors)
        return -ENOMEM;
    for (size_t i = 0; i < req->nkeys; i++)
        rq->many.state[i] = xml_can_carry(req->keys[i]) ? KEY_BATCH : KEY_SINGLE;
    if (rq->store->no_batch_delete)
        batch_give_up(rq);
    return 0;
}

static int batch_body(struct s3_request *rq)
{
    const char **keys = calloc(rq->req->nkeys, sizeof(*keys));
    char md5[DIGEST_MD5_BASE64_SIZE];
    size_t n = 0;
    int r;

    if (!keys)
        return -ENOMEM;
    for (size_t i = 0; i < rq->req->nkeys; i++) {
        if (rq->many.state[i] == KEY_BATCH)
            keys[n++] = rq->req->keys[i];
    }
    r = xml_write_delete(&rq->call.text, keys, n);
    free(keys);
    if (r >= 0)
        r = digest_md5_base64(rq->call.text.s, rq->call.text.len, md5);
    if (r >= 0)
        s3_call_header(&rq->call, "Content-MD5", md5);
    return r;
}

static void many_build(struct s3_request *rq)
{
    int r = many_start(rq);

    if (r >= 0 && many_next(rq, KEY_BATCH) < rq->req->nkeys) {
        rq->many.single = rq->req->nkeys;
        rq->call.method = HTTP_POST;
        rq->call.xml = true;
        rq->call.want = XML_DELETE;
        s3_call_query(&rq->call, "delete", NULL);
        s3_call_header(&rq->call, "Content-Type", "application/xml");
        r = batch_body(rq);
    } else if (r >= 0) {
        rq->many.single = many_next(rq, KEY_SINGLE);
        must(rq->many.single < rq->req->nkeys);
        rq->call.method = HTTP_DELETE;
        rq->call.key = rq->req->keys[rq->many.single];
    }
    rq->call.error = rq->call.error ?: r;
}

static int many_go_on(struct s3_request *rq)
{
    size_t n = rq->req->nkeys;

    rq->tries = rq->limited_tries = 0;
    return many_next(rq, KEY_BATCH) < n || many_next(rq, KEY_SINGLE) < n ? S3_STEP_AGAIN
                                                                         : S3_STEP_DONE;
}

static void batch_failed(struct s3_request *rq, const struct xml_failed *f)
{
    struct s3_verdict v = s3_error_classify(200, f->code, S3_CTX_WRITE);
    bool again = v.retry == S3_RETRY_TRANSIENT || v.retry == S3_RETRY_THROTTLE;

    for (size_t i = 0; i < rq->req->nkeys; i++) {
        if (rq->many.state[i] != KEY_BATCH || strcmp(rq->req->keys[i], f->key))
            continue;
        if (again)
            rq->many.state[i] = KEY_SINGLE;
        else
            key_end(rq, i, v.error);
        return;
    }
    /* A failure of a key we do not recognise may be any of ours: ask again, one by one. */
    for (size_t i = 0; i < rq->req->nkeys; i++) {
        if (rq->many.state[i] == KEY_BATCH)
            rq->many.state[i] = KEY_SINGLE;
    }
}

static int many_reply(struct s3_request *rq)
{
    size_t n = rq->req->nkeys;

    if (rq->many.single < n) {
        key_end(rq, rq->many.single, 0);
        return many_go_on(rq);
    }
    for (size_t i = 0; i < rq->reply.nfailed; i++)
        batch_failed(rq, &rq->reply.failed[i]);
    for (size_t i = 0; i < n; i++) {
        if (rq->many.state[i] == KEY_BATCH)
            key_end(rq, i, 0);
    }
    return many_go_on(rq);
}

/* One key's failure is that key's; a batch's is everybody's, unless it is not understood. */
static int many_refused(struct s3_request *rq, const struct s3_verdict *v)
{
    if (rq->many.single < rq->req->nkeys && s3_request_answered(rq)) {
        key_end(rq, rq->many.single, v->error);
        return many_go_on(rq);
    }
    if (rq->many.single >= rq->req->nkeys && v->error == -EOPNOTSUPP) {
        log_info("s3", "%s has no DeleteObjects: deleting one by one", log_esc(rq->route->host));
        rq->store->no_batch_delete = true;
        batch_give_up(rq);
        return S3_STEP_AGAIN;
    }
    for (size_t i = 0; i < rq->req->nkeys; i++) {
        if (rq->many.state[i] != KEY_DONE)
            key_end(rq, i, v->error);
    }
    return v->error;
}

static void many_fini(struct s3_request *rq)
{
    free(rq->many.state);
    rq->many.state = NULL;
}

const struct s3_op s3_op_delete_many = {"delete-many", S3_CTX_WRITE, many_build, NULL,
                                        many_reply,    many_refused, many_fini};
