/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Credentials: an immutable snapshot (key, secret and token never mix) and where to get the next
 * one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "s3proxyd/cred/secret.h"

struct cred { /* immutable, reference counted, any thread */
    _Atomic unsigned refs;
    char *access_key; /* NULL: anonymous, requests are not signed */
    struct secret *secret_key;
    struct secret *session_token; /* or NULL */
    int64_t expires_ns;           /* CLOCK_REALTIME; 0: never */
};
struct cred *cred_ref(struct cred *c);
void cred_unref(struct cred *c);

/* All copy their arguments. 0 | -ENOMEM | -EINVAL (empty, control characters) */
int cred_new_static(const char *access_key, size_t access_key_len, const char *secret,
                    size_t secret_len, const char *token, size_t token_len, struct cred **ret);
int cred_new_anonymous(struct cred **ret);
/* A named profile of ~/.aws/credentials and ~/.aws/config below home; static keys only so far.
 * ret_region and ret_endpoint get a malloc'd string or NULL, ret_why static text for the user on
 * failure. 0 | -ENOENT (no such profile) | -EACCES | -EINVAL | -EOPNOTSUPP (a role, SSO, …) |
 * -ENOMEM */
int cred_new_profile(const char *home, const char *profile, struct cred **ret, char **ret_region,
                     char **ret_endpoint, const char **ret_why);
/* s3fs' file: `ak:sk` or `bucket:ak:sk`. Refuses links, foreign owners and open modes by the
 * rules of s3fs. Also used by hafiz-mount, as cred_file_dep, which needs no libcrypto.
 * 0 | -ENOENT (no file, or no line for this bucket) | -EACCES | -EINVAL | -errno */
int cred_new_passwd_file(const char *path, const char *bucket, struct cred **ret,
                         const char **ret_why);

/* Eight bytes that name the identity in cache keys and metadata scopes without revealing it:
 * of the access key, 0 for anonymous. */
uint64_t cred_scope(const struct cred *c);
