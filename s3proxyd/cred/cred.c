/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The snapshot itself. A request signs with one snapshot from beginning to end, so key, secret
 * and token never mix; a refresh makes a new one and drops the old reference. */
#include "s3proxyd/cred/cred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"

struct cred *cred_ref(struct cred *c)
{
    if (c)
        c->refs++;
    return c;
}

void cred_unref(struct cred *c)
{
    if (!c || --c->refs > 0)
        return;
    free(c->access_key);
    secret_unref(c->secret_key);
    secret_unref(c->session_token);
    free(c);
}

/* What may stand in a header line: no blanks or control bytes, so a key cannot add a header. */
static bool plain(const char *s, size_t len, size_t max)
{
    if (len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] <= 0x20 || (unsigned char)s[i] >= 0x7f)
            return false;
    return true;
}

int cred_new_anonymous(struct cred **ret)
{
    struct cred *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->refs = 1;
    *ret = c;
    return 0;
}

int cred_new_static(const char *access_key, size_t access_key_len, const char *secret,
                    size_t secret_len, const char *token, size_t token_len, struct cred **ret)
{
    struct cred *c;
    int r;

    if (access_key_len == 0 || secret_len == 0)
        return -EINVAL;
    if (!plain(access_key, access_key_len, PROTO_SECRET_MAX_BYTES) ||
        !plain(secret, secret_len, PROTO_SECRET_MAX_BYTES) ||
        (token_len > 0 && !plain(token, token_len, PROTO_SECRET_MAX_BYTES)))
        return -EINVAL;
    r = cred_new_anonymous(&c);
    if (r < 0)
        return r;
    c->access_key = strndup(access_key, access_key_len);
    r = c->access_key ? secret_new(secret, secret_len, &c->secret_key) : -ENOMEM;
    if (r == 0 && token_len > 0)
        r = secret_new(token, token_len, &c->session_token);
    if (r < 0) {
        cred_unref(c);
        return r;
    }
    *ret = c;
    return 0;
}
