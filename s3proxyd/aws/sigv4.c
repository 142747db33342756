/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* SigV4 in four steps, in reading order at the end: collect and sort the headers, hash the
 * canonical request, put the string to sign together, sign it with the day's key. The canonical
 * request is hashed as it is produced, so that no copy of it (the session token is in it) is left
 * in the heap. */
#include "s3proxyd/aws/sigv4.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/date.h"
#include "s3proxyd/aws/digest.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define OWN_HEADERS 4u

DEFINE_CLEANUP(struct digest *, digest_free)

struct header {
    const char *name, *value;
    size_t index; /* order among headers of one name */
};

struct signing {
    const struct sigv4_request *req;
    char amz_date[DATE_AMZ_SIZE];
    struct header headers[SIGV4_HEADERS_MAX + OWN_HEADERS];
    size_t nheaders;
    struct digest *digest;
    struct str *trace;     /* the canonical request, or NULL */
    struct str names;      /* SignedHeaders */
    struct str scope, sts; /* 20130524/us-east-1/s3/aws4_request; string to sign */
    int error;             /* of put(), looked at once */
};

void sigv4_result_fini(struct sigv4_result *r)
{
    if (r->canonical)
        explicit_bzero(r->canonical, strlen(r->canonical));
    free(r->canonical);
    free(r->string_to_sign);
    free(r->authorization);
    *r = SIGV4_RESULT_NULL;
}

static void put(struct signing *s, const void *data, size_t len)
{
    if (s->error == 0)
        s->error = digest_update(s->digest, data, len);
    if (s->error == 0 && s->trace)
        s->error = str_addn(s->trace, data, len);
}

static void puts_(struct signing *s, const char *text)
{
    put(s, text, strlen(text));
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Nothing that ends a line may get into a header, signed or not. */
static bool one_line(const char *s)
{
    return s && !s[strcspn(s, "\r\n")];
}

static bool header_name_ok(const char *name)
{
    return name && *name && !name[strcspn(name, "\r\n:; \t")];
}

static void add_header(struct signing *s, const char *name, const char *value)
{
    s->headers[s->nheaders] = (struct header){name, value, s->nheaders};
    s->nheaders++;
}

static int compare_headers(const void *a, const void *b)
{
    const struct header *x = a, *y = b;
    int c = strcasecmp(x->name, y->name);

    return c ? c : (x->index > y->index) - (x->index < y->index);
}

static int collect_headers(struct signing *s)
{
    const struct sigv4_request *req = s->req;

    if (req->nheaders > SIGV4_HEADERS_MAX)
        return -EINVAL;
    add_header(s, "host", req->host);
    add_header(s, "x-amz-content-sha256", req->payload_hash);
    add_header(s, "x-amz-date", s->amz_date);
    if (req->session_token)
        add_header(s, "x-amz-security-token", req->session_token);
    for (size_t i = 0; i < req->nheaders; i++) {
        const struct sigv4_header *h = &req->headers[i];
        if (!header_name_ok(h->name) || !one_line(h->value))
            return -EINVAL;
        for (size_t own = 0; own < OWN_HEADERS && own < s->nheaders - i; own++)
            if (strcasecmp(h->name, s->headers[own].name) == 0)
                return -EINVAL;
        add_header(s, h->name, h->value);
    }
    qsort(s->headers, s->nheaders, sizeof(s->headers[0]), compare_headers);
    return 0;
}

/* The value without blanks at its ends and with inner runs of them as one. */
static void put_value(struct signing *s, const char *value)
{
    const char *p = value + strspn(value, " \t");

    for (bool first = true; *p; first = false) {
        size_t word = strcspn(p, " \t");
        if (!first)
            put(s, " ", 1);
        put(s, p, word);
        p += word;
        p += strspn(p, " \t");
    }
}

static void put_name(struct signing *s, const char *name)
{
    if (s->error == 0 && s->names.len > 0)
        s->error = str_addn(&s->names, ";", 1);
    for (; *name; name++) {
        char c = lower(*name);
        put(s, &c, 1);
        if (s->error == 0)
            s->error = str_addn(&s->names, &c, 1);
    }
}

static void put_headers(struct signing *s)
{
    for (size_t i = 0; i < s->nheaders; i++) {
        if (i > 0 && strcasecmp(s->headers[i].name, s->headers[i - 1].name) == 0) {
            put(s, ",", 1);
        } else {
            if (i > 0)
                put(s, "\n", 1);
            put_name(s, s->headers[i].name);
            put(s, ":", 1);
        }
        put_value(s, s->headers[i].value);
    }
    put(s, "\n", 1);
}

static int hash_request(struct signing *s, char hex[DIGEST_SHA256_HEX_SIZE])
{
    uint8_t sum[DIGEST_SHA256_BYTES];

    puts_(s, s->req->method);
    put(s, "\n", 1);
    puts_(s, s->req->path);
    put(s, "\n", 1);
    puts_(s, s->req->query ? s->req->query : "");
    put(s, "\n", 1);
    put_headers(s);
    put(s, "\n", 1);
    puts_(s, s->names.s ? s->names.s : "");
    put(s, "\n", 1);
    puts_(s, s->req->payload_hash);
    if (s->error == 0)
        s->error = digest_final(s->digest, sum);
    if (s->error == 0)
        digest_hex(sum, sizeof(sum), hex);
    return s->error;
}

/* HMAC down the scope: "AWS4" + secret, day, region, service, "aws4_request"; then the string to
 * sign. */
static int sign(struct signing *s, char hex[DIGEST_SHA256_HEX_SIZE])
{
    const struct sigv4_request *req = s->req;
    uint8_t key[2][DIGEST_SHA256_BYTES];
    size_t start_len = 4 + req->secret_len;
    uint8_t *start = malloc(start_len);
    int r;

    if (!start)
        return -ENOMEM;
    memcpy(start, "AWS4", 4);
    if (req->secret_len)
        memcpy(start + 4, req->secret, req->secret_len);
    r = digest_hmac_sha256(start, start_len, s->amz_date, 8, key[0]);
    explicit_bzero(start, start_len);
    free(start);

    const char *steps[] = {req->region, req->service ? req->service : "s3", "aws4_request",
                           s->sts.s};
    for (size_t i = 0; i < 4 && r == 0; i++)
        r = digest_hmac_sha256(key[i % 2], sizeof(key[0]), steps[i], strlen(steps[i]),
                               key[(i + 1) % 2]);
    if (r == 0)
        digest_hex(key[0], sizeof(key[0]), hex);
    explicit_bzero(key, sizeof(key));
    return r;
}

static int check(const struct sigv4_request *req)
{
    if (!req->method || !*req->method || !one_line(req->method) || !req->path ||
        req->path[0] != '/' || !one_line(req->path) || (req->query && !one_line(req->query)) ||
        !one_line(req->host) || !*req->host || !one_line(req->payload_hash) ||
        !*req->payload_hash || !one_line(req->region) || !*req->region ||
        (req->service && !one_line(req->service)) || !one_line(req->access_key) ||
        !*req->access_key || (!req->secret && req->secret_len > 0) ||
        (req->session_token && !one_line(req->session_token)))
        return -EINVAL;
    return 0;
}

static int sign_request(struct signing *s, struct str *auth)
{
    char hash[DIGEST_SHA256_HEX_SIZE], signature[DIGEST_SHA256_HEX_SIZE];
    const struct sigv4_request *req = s->req;
    int r;

    date_format_amz(req->time_ns, s->amz_date);
    if ((r = collect_headers(s)) < 0 || (r = hash_request(s, hash)) < 0)
        return r;
    r = str_addf(&s->scope, "%.8s/%s/%s/aws4_request", s->amz_date, req->region,
                 req->service ? req->service : "s3");
    if (r == 0)
        r = str_addf(&s->sts, ALGORITHM "\n%s\n%s\n%s", s->amz_date, s->scope.s, hash);
    if (r == 0)
        r = sign(s, signature);
    if (r == 0)
        r = str_addf(auth, ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                     req->access_key, s->scope.s, s->names.s, signature);
    return r;
}

int sigv4_sign(const struct sigv4_request *req, bool want_trace, struct sigv4_result *ret)
{
    _cleanup_(digest_freep) struct digest *digest = NULL;
    _cleanup_(freep) struct signing *s = NULL;
    struct str auth = STR_NULL, trace = STR_NULL;
    int r = check(req);

    if (r < 0 || (r = digest_new(DIGEST_SHA256, &digest)) < 0)
        return r;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->req = req;
    s->digest = digest;
    s->trace = want_trace ? &trace : NULL;
    r = sign_request(s, &auth);
    if (r == 0) {
        *ret = (struct sigv4_result){.authorization = take(auth.s), .canonical = take(trace.s)};
        memcpy(ret->amz_date, s->amz_date, sizeof(ret->amz_date));
        if (want_trace)
            ret->string_to_sign = take(s->sts.s);
    }
    str_fini(&auth);
    str_fini(&trace);
    str_fini(&s->names);
    str_fini(&s->scope);
    str_fini(&s->sts);
    return r;
}
