/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Which identity a mount uses. Keys stay in locked memory of the keeper; they leave it only in
 * ATTACH. */
#pragma once

#include <stdbool.h>

#include "fused/opts.h"
#include "fused/source.h"
#include "s3proxyd/cred/cred.h"

struct keys {
    enum {
        KEYS_NONE = 0,
        KEYS_STATIC = 1,
        KEYS_PROFILE = 2,
        KEYS_ANONYMOUS = 3
    } kind;            /* as ATTACH */
    struct cred *cred; /* KEYS_STATIC */
    char *profile;     /* KEYS_PROFILE */
    bool asked;        /* named on the command line: SOURCE is then no volume */
};

/* Arguments first, then HAFIZ_*, then AWS_*, then the files that others use; a key and its secret
 * always come from one place. Takes the secrets out of the options and out of the environment, also
 * on failure. *ret always needs keys_fini(). 0 | -EINVAL (*ret_why, malloc'd) | -ENOMEM */
int keys_find(struct opts *o, const struct source *source, struct keys *ret, char **ret_why);
void keys_fini(struct keys *k);
