/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* AWS Signature Version 4, header form, with S3's rules: the path is taken as it stands, encoded
 * once, and never normalised. Pure and re-entrant; a fresh signature for every attempt (the date
 * moves). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGV4_HEADERS_MAX 256u /* user metadata is at most 2-8 KiB, so this is plenty */

struct sigv4_header {
    const char *name, *value; /* name in any case; value as sent */
};

/* Everything borrowed. */
struct sigv4_request {
    const char *method; /* "GET" */
    const char *host;   /* the Host header, byte for byte as sent: uri_endpoint_authority() */
    const char *path;   /* as sent: uri_path() */
    const char *query;  /* as sent: uri_query_build(); NULL or "": none */
    /* More headers to sign, any order; same names are joined in order. host, x-amz-date,
     * x-amz-content-sha256 and x-amz-security-token are added here and must not be among them.
     * Never pass user-agent, accept-encoding, connection, expect, transfer-encoding: proxies
     * rewrite them. */
    const struct sigv4_header *headers;
    size_t nheaders;
    const char *payload_hash; /* lower-case hex SHA-256 of the body, or SIGV4_UNSIGNED_PAYLOAD */
    int64_t time_ns;          /* the server's idea of now: CLOCK_REALTIME + clock offset */
    const char *region, *service; /* service NULL: "s3" */
    const char *access_key;
    const void *secret; /* bytes of the secret key */
    size_t secret_len;
    const char *session_token; /* or NULL */
};

/* What the caller sends, besides Host and its own headers: x-amz-date: amz_date,
 * x-amz-content-sha256: payload_hash, x-amz-security-token: session_token when there is one,
 * Authorization: authorization. */
struct sigv4_result {
    char amz_date[17];   /* 20130524T000000Z */
    char *authorization; /* "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…" */
    char *canonical,
        *string_to_sign; /* only with want_trace: tests, never logs (the token is in it) */
};
#define SIGV4_RESULT_NULL ((struct sigv4_result){0})
void sigv4_result_fini(struct sigv4_result *r);

/* 0 | -EINVAL (a field is missing, a value holds CR, LF or NUL, too many headers) | -ENOMEM | -EIO
 * (libcrypto refused). *ret is untouched on failure. */
int sigv4_sign(const struct sigv4_request *req, bool want_trace, struct sigv4_result *ret);
