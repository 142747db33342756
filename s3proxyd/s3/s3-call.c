/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Puts a message to S3 together and signs it. Every header given here is signed, so that none can
 * be changed or dropped on the way; the ones libcurl adds (User-Agent, Expect, Content-Length) are
 * not. */
#include "s3proxyd/s3/s3-call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "s3proxyd/aws/digest.h"

#define LINES_EXTRA 5u /* Host, date, hash, token, Authorization */

static const char *const method_names[] = {
    [HTTP_GET] = "GET",   [HTTP_HEAD] = "HEAD",     [HTTP_PUT] = "PUT",
    [HTTP_POST] = "POST", [HTTP_DELETE] = "DELETE",
};

static void lines_free(struct s3_call *call)
{
    for (size_t i = 0; i < call->nlines; i++) {
        secret_wipe(call->lines[i], strlen(call->lines[i])); /* one may hold the session token */
        free(call->lines[i]);
    }
    free(call->lines);
    call->lines = NULL;
    call->nlines = 0;
}

void s3_call_fini(struct s3_call *call)
{
    for (size_t i = 0; i < call->nheaders; i++) {
        free((char *)call->headers[i].name);
        free((char *)call->headers[i].value);
    }
    free(call->headers);
    lines_free(call);
    uri_query_fini(&call->query);
    str_fini(&call->target);
    str_fini(&call->text);
    *call = (struct s3_call){0};
}

static void call_error(struct s3_call *call, int error)
{
    if (!call->error)
        call->error = error;
}

void s3_call_query(struct s3_call *call, const char *name, const char *value)
{
    if (uri_query_add(&call->query, name, value) < 0)
        call_error(call, -ENOMEM);
}

void s3_call_header(struct s3_call *call, const char *name, const char *value)
{
    _cleanup_(freep) char *n = NULL, *v = NULL;
    struct sigv4_header *grown;

    if (!value || call->error)
        return;
    if (call->nheaders >= SIGV4_HEADERS_MAX - LINES_EXTRA || strpbrk(value, "\r\n")) {
        call_error(call, call->nheaders >= SIGV4_HEADERS_MAX - LINES_EXTRA ? -E2BIG : -EINVAL);
        return;
    }
    n = strdup(name);
    v = strdup(value);
    grown = realloc(call->headers, (call->nheaders + 1) * sizeof(*grown));
    if (grown)
        call->headers = grown;
    if (!n || !v || !grown) {
        call_error(call, -ENOMEM);
        return;
    }
    grown[call->nheaders++] = (struct sigv4_header){take(n), take(v)};
}

void s3_call_headerf(struct s3_call *call, const char *name, const char *fmt, ...)
{
    _cleanup_(freep) char *value = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&value, fmt, ap);
    va_end(ap);
    if (n < 0) {
        value = NULL;
        call_error(call, -ENOMEM);
        return;
    }
    s3_call_header(call, name, value);
}

void s3_call_conditions(struct s3_call *call, const struct store_req *req)
{
    s3_call_header(call, "If-Match", req->if_match);
    s3_call_header(call, "If-None-Match", req->if_none_match ? "*" : NULL);
}

void s3_call_describe(struct s3_call *call, const struct store_req *req)
{
    s3_call_header(call, "Content-Type", req->content_type);
    for (size_t i = 0; i < req->nuser; i++) {
        _cleanup_(freep) char *name = str_dup_printf("x-amz-meta-%s", req->user[i].name);

        if (!name)
            call_error(call, -ENOMEM);
        else
            s3_call_header(call, name, req->user[i].value);
    }
}

void s3_call_body(struct s3_call *call, const struct store_req *req)
{
    call->body = (struct http_body){req->body.fd, req->body.offset, req->length, req->body.memory};
}

void s3_call_source(struct s3_call *call, const struct s3_store *s, const struct store_req *req)
{
    _cleanup_(str_fini) struct str source = STR_NULL;

    if (uri_path(&source, s->routes.bucket, req->src_key) < 0)
        call_error(call, -ENOMEM);
    else
        s3_call_header(call, "x-amz-copy-source", source.s);
    s3_call_header(call, "x-amz-copy-source-if-match", req->src_if_match);
}

static int line_add(struct s3_call *call, const char *name, const char *value)
{
    char *line;

    if (!value)
        return 0;
    /* libcurl drops a header that ends in ':'; ';' is its spelling of an empty one */
    line = *value ? str_dup_printf("%s: %s", name, value) : str_dup_printf("%s;", name);
    if (!line)
        return -ENOMEM;
    call->lines[call->nlines++] = line;
    return 0;
}

static int lines_make(struct s3_call *call, const struct s3_route *route,
                      const struct sigv4_request *sign, const struct sigv4_result *signature)
{
    int r;

    call->lines = calloc(call->nheaders + LINES_EXTRA, sizeof(*call->lines));
    if (!call->lines)
        return -ENOMEM;
    r = line_add(call, "Host", route->host);
    for (size_t i = 0; r >= 0 && i < call->nheaders; i++)
        r = line_add(call, call->headers[i].name, call->headers[i].value);
    if (r < 0 || !signature->authorization)
        return r;
    r = line_add(call, "x-amz-date", signature->amz_date);
    if (r >= 0)
        r = line_add(call, "x-amz-content-sha256", sign->payload_hash);
    if (r >= 0)
        r = line_add(call, "x-amz-security-token", sign->session_token);
    if (r >= 0)
        r = line_add(call, "Authorization", signature->authorization);
    return r;
}

/* What stands for the body in the signature; small bodies of our own are always hashed. */
static int choose_hash(struct s3_call *call, const char *given, char hex[DIGEST_SHA256_HEX_SIZE],
                       const char **ret)
{
    *ret = SIGV4_EMPTY_SHA256;
    if (call->text.len) {
        call->body = (struct http_body){-1, 0, call->text.len, call->text.s};
        *ret = hex;
        return digest_sha256_hex(call->text.s, call->text.len, hex);
    }
    if (call->body.length)
        *ret = given ?: SIGV4_UNSIGNED_PAYLOAD;
    return 0;
}

int s3_call_sign(struct s3_call *call, struct s3_store *s, const struct s3_route *route,
                 const char *payload_hash)
{
    _cleanup_(sigv4_result_fini) struct sigv4_result signature = SIGV4_RESULT_NULL;
    _cleanup_(str_fini) struct str path = STR_NULL, query = STR_NULL;
    char hex[DIGEST_SHA256_HEX_SIZE];
    struct sigv4_request sign = {
        .method = method_names[call->method],
        .host = route->host,
        .headers = call->headers,
        .nheaders = call->nheaders,
        .time_ns = clock_real_ns() + s->clock_offset_ns,
        .region = route->region,
        .access_key = s->cred->access_key,
    };
    int r = call->error;

    if (r >= 0)
        r = s3_route_path(&s->routes, call->key, &path);
    if (r >= 0)
        r = uri_query_build(&call->query, &query);
    if (r >= 0)
        r = choose_hash(call, payload_hash, hex, &sign.payload_hash);
    if (r < 0)
        return r;
    sign.path = path.s;
    sign.query = query.s;
    if (sign.access_key) {
        sign.secret = secret_bytes(s->cred->secret_key, &sign.secret_len);
        if (s->cred->session_token)
            sign.session_token = secret_bytes(s->cred->session_token, &(size_t){0});
        r = sigv4_sign(&sign, false, &signature);
    }
    if (r >= 0 && query.len)
        r = str_addf(&call->target, "%s?%s", path.s, query.s);
    else if (r >= 0)
        r = str_add(&call->target, path.s);
    if (r >= 0)
        r = lines_make(call, route, &sign, &signature);
    return r;
}
