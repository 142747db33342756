/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The identity's name in cache keys and tables on disk: the same in every run, so never keyed
 * per process, and a digest, so that a stolen cache does not tell access keys. A file of its own
 * because only the backend needs libcrypto for it. */
#include "s3proxyd/cred/cred.h"

#include <openssl/evp.h>
#include <string.h>

#include "proto/base/must.h"

uint64_t cred_scope(const struct cred *c)
{
    static const char domain[] = "hafiz identity 1:";
    unsigned char digest[EVP_MAX_MD_SIZE];
    uint64_t scope = 0;
    EVP_MD_CTX *ctx;
    bool ok;

    if (!c || !c->access_key)
        return 0;
    ctx = EVP_MD_CTX_new();
    ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
         EVP_DigestUpdate(ctx, domain, sizeof(domain) - 1) == 1 &&
         EVP_DigestUpdate(ctx, c->access_key, strlen(c->access_key)) == 1 &&
         EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok) {
        /* Out of memory. A wrong scope could show one identity what another saw, so one that
         * nothing on disk has: this snapshot's own address, which lives as long as it is used. */
        return (uint64_t)(uintptr_t)c | 1;
    }
    for (int i = 0; i < 8; i++)
        scope = scope << 8 | digest[i];
    return scope ? scope : 1; /* 0 is anonymous */
}
