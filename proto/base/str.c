/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One growable buffer and one set of strict parsers, so that no other file does its own arithmetic on
 * lengths. */
#include "proto/base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void str_fini(struct str *b)
{
    free(b->s);
    *b = STR_NULL;
}

void str_wipe(struct str *b)
{
    if (b->s)
        explicit_bzero(b->s, b->cap);
    str_fini(b);
}

int str_reserve(struct str *b, size_t more)
{
    size_t want, cap;
    char *s;

    if (more >= SIZE_MAX / 2 - b->len)
        return -ENOMEM;
    want = b->len + more + 1;
    if (want <= b->cap)
        return 0;
    cap = b->cap ? b->cap : 32;
    while (cap < want)
        cap *= 2;
    s = realloc(b->s, cap);
    if (!s)
        return -ENOMEM;
    b->s = s;
    b->cap = cap;
    b->s[b->len] = '\0';
    return 0;
}

int str_addn(struct str *b, const void *s, size_t n)
{
    int r = str_reserve(b, n);

    if (r < 0)
        return r;
    if (n)
        memcpy(b->s + b->len, s, n);
    b->len += n;
    b->s[b->len] = '\0';
    return 0;
}

int str_add(struct str *b, const char *s)
{
    return str_addn(b, s, strlen(s));
}

int str_addf(struct str *b, const char *fmt, ...)
{
    va_list ap;
    int n, r;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -EINVAL;
    r = str_reserve(b, (size_t)n);
    if (r < 0)
        return r;
    va_start(ap, fmt);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

void str_clear(struct str *b)
{
    b->len = 0;
    if (b->s)
        b->s[0] = '\0';
}

size_t str_utf8_len(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n;

    if (len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || /* overlong, surrogate */
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))   /* overlong, too large */
        return 0;
    return n;
}

bool str_utf8_ok(const char *s, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = str_utf8_len(s + at, len - at);
        if (n == 0 || s[at] == '\0')
            return false;
        at += n;
    }
    return true;
}

bool str_eq(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static unsigned digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A') + 10;
    return 99;
}

/* Digits at the start of s; *ret_end is what follows them. */
static int parse_digits(const char *s, unsigned base, uint64_t *ret, const char **ret_end)
{
    uint64_t v = 0;
    const char *p = s;

    for (; digit_of(*p) < base; p++)
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit_of(*p), &v))
            return -ERANGE;
    if (p == s)
        return -EINVAL;
    *ret = v;
    *ret_end = p;
    return 0;
}

int str_to_u64(const char *s, int base, uint64_t *ret)
{
    const char *end;
    uint64_t v;
    int r;

    if (base < 2 || base > 36)
        return -EINVAL;
    r = parse_digits(s, (unsigned)base, &v, &end);
    if (r < 0)
        return r;
    if (*end != '\0')
        return -EINVAL;
    *ret = v;
    return 0;
}

int str_to_size(const char *s, uint64_t *ret_bytes)
{
    static const char units[] = "KMGTPE";
    const char *end, *unit;
    unsigned shift = 0;
    uint64_t v;
    int r = parse_digits(s, 10, &v, &end);

    if (r < 0)
        return r;
    unit = *end ? strchr(units, *end >= 'a' && *end <= 'z' ? *end - 'a' + 'A' : *end) : NULL;
    if (unit) {
        shift = 10 * (unsigned)(unit - units + 1);
        end++;
        if (end[0] == 'i' && end[1] == 'B')
            end++;
    }
    if (*end == 'B')
        end++;
    if (*end != '\0')
        return -EINVAL;
    if (v > UINT64_MAX >> shift)
        return -ERANGE;
    *ret_bytes = v << shift;
    return 0;
}

int str_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int str_hex(const void *data, size_t len, char *out, size_t out_size)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    if (out_size == 0 || len > (out_size - 1) / 2)
        return -ERANGE;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
    return 0;
}

char *str_dup_printf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : s;
}
