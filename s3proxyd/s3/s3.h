/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The S3 store. Submitting hands the request to a transfer thread, which signs, sends, classifies,
 * retries, and mails it home. */
#pragma once

#include "s3proxyd/cred/cred.h"
#include "s3proxyd/net/net.h"
#include "s3proxyd/store/store.h"

struct s3_config {
    const char *endpoint; /* http[s]://host[:port]; NULL: AWS for the region */
    const char *bucket;
    const char *region; /* NULL: us-east-1 until the server says another */
    enum { S3_ADDR_AUTO, S3_ADDR_PATH, S3_ADDR_VIRTUAL } addressing;
    bool insecure_http;         /* plain http to a non-loopback host without payload signing */
    struct cred *cred;          /* referenced */
    uint64_t retry_deadline_ms; /* default deadline of a change; 0: 300 s. Of a question: 45 s, or less */
};

/* Copies the configuration. 0 | -EINVAL (*ret_why: static text for the user) | -ENOMEM */
int s3_store_new(struct net *net, const struct s3_config *config, struct store **ret_store,
                 const char **ret_why);
