/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Counts the requests that pass through a connection, by kind. It only looks: it is shown the bytes
 * at the start of a request and says how long that request is, so that the next one is found behind
 * it. A stream it does not understand (TLS, chunked bodies) is counted no further. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_kind {
    HTTP_GET,   /* a whole object */
    HTTP_RANGE, /* GET with Range */
    HTTP_HEAD,
    HTTP_LIST, /* GET of a bucket, whichever version of the call */
    HTTP_PUT,
    HTTP_POST,
    HTTP_DELETE,
    HTTP_OTHER,
    HTTP_KINDS
};

#define HTTP_HEAD_MAX (16u * 1024)

extern const char *const http_kind_names[HTTP_KINDS];

struct http_count {
    uint64_t left; /* of the request that is passing, head and body */
    bool opaque;
};

/* True: a request begins here; ret_kind and c->left are set. False: its head is not complete yet,
 * or, then `opaque` is set, this is no request at all. */
bool http_count_head(struct http_count *c, const char *data, size_t len, enum http_kind *ret_kind);
