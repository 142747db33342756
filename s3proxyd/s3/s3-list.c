/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Listings, and the check at attach, which is the smallest listing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "s3proxyd/s3/s3-request.h"

#define KEYS_MAX 1000u

static void list_call(struct s3_request *rq, unsigned max_keys, const char *delimiter)
{
    struct s3_call *call = &rq->call;
    const struct store_req *req = rq->req;
    char max[12];

    snprintf(max, sizeof(max), "%u", max_keys);
    call->method = HTTP_GET;
    call->xml = true;
    call->want = XML_LIST;
    s3_call_query(call, "list-type", "2");
    s3_call_query(call, "encoding-type", "url"); /* XML cannot carry control characters */
    s3_call_query(call, "max-keys", max);
    s3_call_query(call, "prefix", req->key ?: "");
    if (delimiter)
        s3_call_query(call, "delimiter", delimiter);
}

static void list_build(struct s3_request *rq)
{
    const struct store_req *req = rq->req;
    unsigned max = req->list.max_keys;

    list_call(rq, max && max < KEYS_MAX ? max : KEYS_MAX, req->list.recursive ? NULL : "/");
    if (req->list.token)
        s3_call_query(&rq->call, "continuation-token", req->list.token);
    else if (req->list.start_after)
        s3_call_query(&rq->call, "start-after", req->list.start_after);
}

/* Who asked cuts the prefix off the keys, renames and removes what was listed: an answer to another
 * question is not to be believed in any part. */
static bool is_below(const struct s3_request *rq)
{
    const char *prefix = rq->req->key ?: "";

    for (size_t i = 0; i < rq->reply.nentries; i++)
        if (!str_starts(rq->reply.entries[i].key, prefix))
            return false;
    return true;
}

static int list_reply(struct s3_request *rq)
{
    struct store_req *req = rq->req;

    if (!is_below(rq)) {
        s3_reply_text(rq, "the listing shows keys that do not begin with the prefix");
        return -EIO;
    }

    if (rq->reply.next_token && req->list.token && !strcmp(rq->reply.next_token, req->list.token)) {
        s3_reply_text(rq, "the listing gives the same continuation token again and again");
        return -EIO;
    }
    if (s3_reply_meta(rq) < 0) /* the Date: racy-clean attributes need it */
        return -ENOMEM;
    req->entries = take(rq->reply.entries);
    req->nentries = rq->reply.nentries;
    rq->reply.nentries = 0;
    /* HEAD and GET tell whole seconds: an object must not seem to change between two questions. */
    for (size_t i = 0; i < req->nentries; i++)
        req->entries[i].mtime_ns -= req->entries[i].mtime_ns % (int64_t)NS_PER_S;
    req->next_token = take(rq->reply.next_token);
    return S3_STEP_DONE;
}

static void check_build(struct s3_request *rq)
{
    list_call(rq, 1, "/");
}

static int check_reply(struct s3_request *rq)
{
    return s3_reply_meta(rq);
}

const struct s3_op s3_op_list = {"list", 0, list_build, NULL, list_reply, NULL, NULL};
const struct s3_op s3_op_check = {"check",     S3_CTX_ATTACH, check_build, NULL,
                                  check_reply, NULL,          NULL};
