/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One message to S3, from its parts to signed header lines. Made anew for every attempt, since the
 * signature carries the time. Adding never fails visibly: the first failure sticks and
 * s3_call_sign() returns it. */
#pragma once

#include "s3proxyd/aws/sigv4.h"
#include "s3proxyd/aws/uri.h"
#include "s3proxyd/aws/xml.h"
#include "s3proxyd/net/http.h"
#include "s3proxyd/s3/s3-store.h"

struct s3_call {
    /* set by an operation's build() */
    enum http_method method;
    const char *key;       /* borrowed; NULL: the bucket itself */
    struct http_body body; /* fd or memory, borrowed; or text below */
    struct str text;       /* a body we wrote ourselves; wins over body */
    bool xml;              /* a success carries a document of this kind: */
    enum xml_want want;
    bool bulk;      /* the reply is large */
    bool fresh;     /* see http.h */
    bool needs_md5; /* send only when the MD5 of the request's body is known, or cannot be */
    unsigned stall_timeout_ms; /* 0: the usual */

    /* built up by the functions below */
    struct uri_query query;
    struct sigv4_header *headers; /* both strings owned */
    size_t nheaders;
    int error;

    /* by s3_call_sign(), for http_start() */
    struct str target;
    char **lines;
    size_t nlines;
};
void s3_call_fini(struct s3_call *call); /* an all-zero one is fine; all zero afterwards */

void s3_call_query(struct s3_call *call, const char *name, const char *value);
void s3_call_header(struct s3_call *call, const char *name,
                    const char *value); /* value NULL: none */
void s3_call_headerf(struct s3_call *call, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* If-Match / If-None-Match as the request says. */
void s3_call_conditions(struct s3_call *call, const struct store_req *req);
/* Content-Type and x-amz-meta-*. */
void s3_call_describe(struct s3_call *call, const struct store_req *req);
/* The request's own body: a fd or memory. */
void s3_call_body(struct s3_call *call, const struct store_req *req);
/* x-amz-copy-source and its condition. */
void s3_call_source(struct s3_call *call, const struct s3_store *s, const struct store_req *req);

/* payload_hash: hex SHA-256 of a body that is not text; NULL: unsigned. 0 | -EINVAL | -ENOMEM |
 * -EIO */
int s3_call_sign(struct s3_call *call, struct s3_store *s, const struct s3_route *route,
                 const char *payload_hash);
