/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Percent-encoding exactly as S3 signs it: once, '/' of keys kept, nothing normalised, A-Z a-z 0-9
 * - . _ ~ literal, everything else as upper-case %XX, a blank as %20. What is signed is what is
 * sent, so the strings made here go to the HTTP library unchanged. Pure; allocations only in the
 * given struct str. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/str.h"

/* Append the encoded form. 0 | -ENOMEM */
int uri_encode_key(struct str *out, const char *key, size_t len); /* keeps '/' */
int uri_encode(struct str *out, const char *s, size_t len); /* encodes '/' too: query, headers */

/* "/key" or "/bucket/key" (path style: bucket not NULL), encoded; key "" or NULL: the bucket itself
 * ("/" or
 * "/bucket"). Appended to out. Also the value of x-amz-copy-source, which always wants the bucket.
 */
int uri_path(struct str *out, const char *bucket, const char *key);

/* Decodes into a new NUL-terminated string of at most max bytes.
 * 0 | -EINVAL (a '%' without two hex digits) | -EILSEQ (%00, or a NUL byte) | -E2BIG | -ENOMEM */
int uri_decode(const char *s, size_t len, bool plus_is_space, size_t max, char **ret,
               size_t *ret_len);

/* A query under construction; names and values are given raw. */
struct uri_query {
    struct uri_pair {
        char *name, *value; /* encoded */
    } * pairs;
    size_t n, cap;
};
#define URI_QUERY_NULL ((struct uri_query){0})
void uri_query_fini(struct uri_query *q);
int uri_query_add(struct uri_query *q, const char *name, const char *value); /* value NULL: "" */
/* Sorts by encoded name, then value, and appends "a=1&uploads=": the canonical query of SigV4, to
 * be used on the wire as well. Appends nothing for an empty query. */
int uri_query_build(struct uri_query *q, struct str *out);

#define URI_HOST_MAX_BYTES 255u
struct uri_endpoint {
    char host[URI_HOST_MAX_BYTES + 1]; /* lower case; IPv6 without brackets */
    unsigned port;                     /* always set: 80, 443 or as given */
    bool tls, ipv6;
};
/* http[s]://host[:port][/]. No path, query, fragment, user or password. *ret_why: static text for
 * the user. 0 | -EINVAL */
int uri_endpoint_parse(const char *url, struct uri_endpoint *ret, const char **ret_why);
/* The Host header as HTTP wants it: [label.]host[:port], port only when not the scheme's default,
 * IPv6 in brackets. label: a bucket for virtual-host style, or NULL. Appended. 0 | -ENOMEM */
int uri_endpoint_authority(const struct uri_endpoint *e, const char *label, struct str *out);
/* 127.0.0.0/8, ::1 (any spelling), ::ffff:127.x, localhost and *.localhost */
bool uri_host_is_loopback(const char *host);
bool uri_host_is_address(
    const char *host); /* a literal IPv4 or IPv6 address: no virtual-host style */
/* A bucket name that may be a DNS label or labels in front of a host: 3-63 of a-z 0-9 - (and '.',
 * which *ret_dotted reports: then TLS certificates do not match and path style is needed). */
bool uri_bucket_is_dns(const char *bucket, bool *ret_dotted);
