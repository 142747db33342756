/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Percent-encoding and the canonical query. libcurl and other helpers differ in small things (which
 * bytes stay, '+', normalisation) and every difference is a wrong signature, so it is written out
 * here once. */
#include "s3proxyd/aws/uri.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/cleanup.h"

static bool unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static int encode(struct str *out, const char *s, size_t len, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t done = 0;

    while (done < len) {
        char piece[3 * 128];
        size_t n = 0;
        for (; done < len && n + 3 <= sizeof(piece); done++) {
            unsigned char c = (unsigned char)s[done];
            if (unreserved(c) || (keep_slash && c == '/')) {
                piece[n++] = (char)c;
                continue;
            }
            piece[n++] = '%';
            piece[n++] = digits[c >> 4];
            piece[n++] = digits[c & 15];
        }
        int r = str_addn(out, piece, n);
        if (r < 0)
            return r;
    }
    return 0;
}

int uri_encode_key(struct str *out, const char *key, size_t len)
{
    return encode(out, key, len, true);
}

int uri_encode(struct str *out, const char *s, size_t len)
{
    return encode(out, s, len, false);
}

int uri_path(struct str *out, const char *bucket, const char *key)
{
    int r;

    if (bucket) {
        if ((r = str_addn(out, "/", 1)) < 0 || (r = encode(out, bucket, strlen(bucket), false)) < 0)
            return r;
        if (!key || !*key)
            return 0;
    }
    r = str_addn(out, "/", 1);
    if (r < 0 || !key)
        return r;
    return encode(out, key, strlen(key), true);
}

int uri_decode(const char *s, size_t len, bool plus_is_space, size_t max, char **ret,
               size_t *ret_len)
{
    /* The result is never longer than the input, nor than max. */
    size_t room = len < max ? len : max;
    _cleanup_(freep) char *out = malloc(room + 1);
    size_t n = 0;

    if (!out)
        return -ENOMEM;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c == '%') {
            int high = i + 2 < len ? str_hex_digit(s[i + 1]) : -1;
            int low = i + 2 < len ? str_hex_digit(s[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0')
            return -EILSEQ;
        if (n == room)
            return -E2BIG;
        out[n++] = c;
    }
    out[n] = '\0';
    *ret = take(out);
    *ret_len = n;
    return 0;
}

void uri_query_fini(struct uri_query *q)
{
    for (size_t i = 0; i < q->n; i++) {
        free(q->pairs[i].name);
        free(q->pairs[i].value);
    }
    free(q->pairs);
    *q = URI_QUERY_NULL;
}

static int encode_new(const char *s, char **ret)
{
    struct str b = STR_NULL;
    int r = str_add(&b, ""); /* an empty value is a string, too */

    if (r == 0)
        r = encode(&b, s, strlen(s), false);
    if (r < 0) {
        str_fini(&b);
        return r;
    }
    *ret = b.s;
    return 0;
}

int uri_query_add(struct uri_query *q, const char *name, const char *value)
{
    _cleanup_(freep) char *n = NULL, *v = NULL;

    if (q->n == q->cap) {
        size_t cap = q->cap ? 2 * q->cap : 8;
        struct uri_pair *pairs = reallocarray(q->pairs, cap, sizeof(*pairs));
        if (!pairs)
            return -ENOMEM;
        q->pairs = pairs;
        q->cap = cap;
    }
    if (encode_new(name, &n) < 0 || encode_new(value ? value : "", &v) < 0)
        return -ENOMEM;
    q->pairs[q->n++] = (struct uri_pair){take(n), take(v)};
    return 0;
}

static int compare_pairs(const void *a, const void *b)
{
    const struct uri_pair *x = a, *y = b;
    int c = strcmp(x->name, y->name);

    return c ? c : strcmp(x->value, y->value);
}

int uri_query_build(struct uri_query *q, struct str *out)
{
    if (q->n > 1)
        qsort(q->pairs, q->n, sizeof(*q->pairs), compare_pairs);
    for (size_t i = 0; i < q->n; i++) {
        int r = str_addf(out, "%s%s=%s", i ? "&" : "", q->pairs[i].name, q->pairs[i].value);
        if (r < 0)
            return r;
    }
    return 0;
}
