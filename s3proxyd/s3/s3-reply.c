/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reads what all replies have in common: the description of an object in headers, ETags, and the
 * one line that says what went wrong. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/aws/date.h"
#include "s3proxyd/s3/s3-request.h"

#define META_PREFIX "x-amz-meta-"

/* One line of valid UTF-8 without control bytes, whatever the server or libcurl wrote. */
static void clean(char *s)
{
    size_t left = strlen(s);

    while (left) {
        size_t n = str_utf8_len(s, left);

        if (!n || (unsigned char)*s < 0x20 || *s == 0x7f) {
            *s = '?';
            n = 1;
        }
        s += n;
        left -= n;
    }
}

void s3_reply_text(struct s3_request *rq, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(rq->req->error_text, sizeof(rq->req->error_text), fmt, ap);
    va_end(ap);
    clean(rq->req->error_text);
}

void s3_reply_explain(struct s3_request *rq, const char *code)
{
    const struct xml_error *e = &rq->reply.error;
    const char *id = e->request_id[0] ? e->request_id : http_header(&rq->http, "x-amz-request-id");

    if (e->code[0])
        code = e->code;
    s3_reply_text(rq, "%d%s%.80s%s%.100s%s%.48s", rq->http.status, code ? " " : "", code ?: "",
                  e->message[0] ? ": " : "", e->message, id ? ", request id " : "", id ?: "");
}

static int set_string(char **field, const char *value)
{
    char *copy = NULL;

    if (value) {
        copy = strdup(value);
        if (!copy)
            return -ENOMEM;
    }
    free(*field);
    *field = copy;
    return 0;
}

static int add_user(struct store_meta *m, const char *name, const char *value)
{
    struct store_pair *grown = realloc(m->user, (m->nuser + 1) * sizeof(*grown));
    _cleanup_(freep) char *n = strdup(name), *v = strdup(value);

    if (grown)
        m->user = grown;
    if (!grown || !n || !v)
        return -ENOMEM;
    for (char *c = n; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    grown[m->nuser++] = (struct store_pair){take(n), take(v)};
    return 0;
}

static int64_t header_time(const struct http *x, const char *name)
{
    const char *value = http_header(x, name);
    int64_t ns;

    return value && date_parse_http(value, &ns) >= 0 ? ns : 0;
}

/* The count of pairs is bounded by the header section's 64 KiB. */
int s3_reply_meta(struct s3_request *rq)
{
    struct store_meta *m = &rq->req->meta;
    const struct http *x = &rq->http;
    const char *name, *value, *etag = http_header(x, "ETag");
    size_t pos = 0;

    store_meta_fini(m);
    m->date_ns = header_time(x, "Date");
    m->mtime_ns = header_time(x, "Last-Modified");
    if (!m->mtime_ns)
        m->mtime_ns = m->date_ns;
    if (set_string(&m->etag, etag && *etag ? etag : NULL) < 0 ||
        set_string(&m->content_type, rq->call.xml ? NULL : http_header(x, "Content-Type")) < 0 ||
        set_string(&m->storage_class, http_header(x, "x-amz-storage-class")) < 0 ||
        set_string(&m->version_id, http_header(x, "x-amz-version-id")) < 0)
        return -ENOMEM;
    while (http_header_next(x, &pos, &name, &value)) {
        if (!strncasecmp(name, META_PREFIX, strlen(META_PREFIX)) && name[strlen(META_PREFIX)] &&
            add_user(m, name + strlen(META_PREFIX), value) < 0)
            return -ENOMEM;
    }
    return 0;
}

int s3_reply_stored(struct s3_request *rq)
{
    if (s3_reply_meta(rq) < 0)
        return -ENOMEM;
    rq->req->meta.size = rq->req->length;
    if (rq->req->meta.etag)
        return S3_STEP_DONE;
    rq->broken = S3_BROKEN_GARBAGE;
    return S3_STEP_BROKEN;
}

/* The opaque part of an ETag: without W/ and quotes. */
static const char *etag_core(const char *etag, size_t *ret_len)
{
    size_t len;

    if (!strncmp(etag, "W/", 2))
        etag += 2;
    len = strlen(etag);
    if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"') {
        etag++;
        len -= 2;
    }
    *ret_len = len;
    return etag;
}

bool s3_reply_etag_eq(const char *a, const char *b)
{
    size_t alen, blen;

    a = etag_core(a, &alen);
    b = etag_core(b, &blen);
    return alen == blen && !memcmp(a, b, alen);
}

bool s3_reply_etag_md5(const char *etag, uint8_t out[DIGEST_MD5_BYTES], unsigned *ret_parts)
{
    uint64_t parts = 0;
    char count[8];
    size_t len;
    const char *s = etag_core(etag, &len);

    if (len < 2 * DIGEST_MD5_BYTES)
        return false;
    for (size_t i = 0; i < DIGEST_MD5_BYTES; i++) {
        int hi = str_hex_digit(s[2 * i]), lo = str_hex_digit(s[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    s += 2 * DIGEST_MD5_BYTES;
    len -= 2 * DIGEST_MD5_BYTES;
    if (len) { /* "-N": the MD5 of N parts' MD5s */
        if (*s != '-' || len - 1 >= sizeof(count))
            return false;
        memcpy(count, s + 1, len - 1);
        count[len - 1] = '\0';
        if (str_to_u64(count, 10, &parts) < 0 || !parts)
            return false;
    }
    *ret_parts = (unsigned)parts;
    return true;
}
