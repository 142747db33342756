/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* SHA-256, HMAC and MD5 by libcrypto, and the text forms. This file is the only door to libcrypto.
 */
#include "s3proxyd/aws/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

static const EVP_MD *method(enum digest_kind kind)
{
    return kind == DIGEST_SHA256 ? EVP_sha256() : EVP_md5();
}

static int one_shot(enum digest_kind kind, const void *data, size_t len, uint8_t *out)
{
    return EVP_Digest(data, len, out, NULL, method(kind), NULL) == 1 ? 0 : -EIO;
}

int digest_sha256(const void *data, size_t len, uint8_t out[DIGEST_SHA256_BYTES])
{
    return one_shot(DIGEST_SHA256, data, len, out);
}

int digest_sha256_hex(const void *data, size_t len, char out[DIGEST_SHA256_HEX_SIZE])
{
    uint8_t sum[DIGEST_SHA256_BYTES];
    int r = digest_sha256(data, len, sum);

    if (r == 0)
        digest_hex(sum, sizeof(sum), out);
    return r;
}

int digest_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                       uint8_t out[DIGEST_SHA256_BYTES])
{
    unsigned out_len = DIGEST_SHA256_BYTES;

    if (key_len > INT32_MAX)
        return -EIO;
    return HMAC(EVP_sha256(), key, (int)key_len, data, len, out, &out_len) ? 0 : -EIO;
}

int digest_md5(const void *data, size_t len, uint8_t out[DIGEST_MD5_BYTES])
{
    return one_shot(DIGEST_MD5, data, len, out);
}

int digest_md5_base64(const void *data, size_t len, char out[DIGEST_MD5_BASE64_SIZE])
{
    uint8_t sum[DIGEST_MD5_BYTES];
    int r = digest_md5(data, len, sum);

    if (r == 0)
        digest_base64(sum, sizeof(sum), out);
    return r;
}

struct digest {
    EVP_MD_CTX *ctx;
    enum digest_kind kind;
};

int digest_new(enum digest_kind kind, struct digest **ret_digest)
{
    struct digest *d = calloc(1, sizeof(*d));

    if (!d)
        return -ENOMEM;
    d->kind = kind;
    d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || EVP_DigestInit_ex(d->ctx, method(kind), NULL) != 1) {
        int r = d->ctx ? -EIO : -ENOMEM;
        digest_free(d);
        return r;
    }
    *ret_digest = d;
    return 0;
}

void digest_free(struct digest *d)
{
    if (!d)
        return;
    EVP_MD_CTX_free(d->ctx);
    free(d);
}

int digest_update(struct digest *d, const void *data, size_t len)
{
    return EVP_DigestUpdate(d->ctx, data, len) == 1 ? 0 : -EIO;
}

int digest_final(struct digest *d, uint8_t *out)
{
    if (EVP_DigestFinal_ex(d->ctx, out, NULL) != 1 ||
        EVP_DigestInit_ex(d->ctx, method(d->kind), NULL) != 1)
        return -EIO;
    return 0;
}

void digest_hex(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = '\0';
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void digest_base64(const void *data, size_t len, char *out)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i += 3) {
        size_t have = len - i;
        uint32_t v = (uint32_t)p[i] << 16 | (have > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (have > 2 ? p[i + 2] : 0);
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = have > 1 ? base64_digits[v >> 6 & 63] : '=';
        *out++ = have > 2 ? base64_digits[v & 63] : '=';
    }
    *out = '\0';
}

static int base64_value(char c)
{
    const char *at = c ? strchr(base64_digits, c) : NULL;

    return at ? (int)(at - base64_digits) : -1;
}

int digest_base64_decode(const char *s, size_t len, void *out, size_t out_size, size_t *ret_len)
{
    uint8_t *p = out;
    size_t n = 0, pad = 0;

    if (len % 4 != 0)
        return -EINVAL;
    while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
        pad++;
    if (len / 4 * 3 - pad > out_size)
        return -ERANGE;
    for (size_t i = 0; i < len; i += 4) {
        size_t digits = i + 4 == len ? 4 - pad : 4;
        uint32_t v = 0;
        for (size_t j = 0; j < 4; j++) {
            int d = j < digits ? base64_value(s[i + j]) : 0;
            if (d < 0)
                return -EINVAL;
            v = v << 6 | (uint32_t)d;
        }
        if (v & ((1u << (8 * (4 - digits))) - 1)) /* bits behind the last byte: another spelling */
            return -EINVAL;
        for (size_t j = 0; j + 1 < digits; j++)
            p[n++] = (uint8_t)(v >> (16 - 8 * j));
    }
    *ret_len = n;
    return 0;
}
