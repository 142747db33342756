/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The command line of hafiz-mount in all its dialects, as one struct: its own long options,
 * mount(8)'s helper arguments, -o words, s3fs' and rusty-s3fs' habits. Pure but for the wiping of
 * argv and for the lookup of user names. Rows: options.tbl. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/str.h"
#include "s3proxyd/cred/secret.h"

#define OPTS_UNSET UINT64_MAX

struct opts {
    char *source, *mountpoint, *prefetch;
    char *endpoint, *region, *profile, *passwd_file, *secret_key_file, *socket, *cache_dir;
    char *passthrough; /* NULL, auto or off */
    char *cache;       /* NULL, disk or memory */
    struct secret *access_key, *secret_key, *session_token;
    uint64_t rw, addressing, insecure_http, anonymous, cto, direct_io, allow_other, allow_root,
        auto_unmount, remount, foreground, debug, help, version;
    uint64_t attr_ttl_s, timeo_s, readahead_kib;
    uint64_t uid, gid, umask, file_mode, dir_mode; /* OPTS_UNSET: not given */
    struct str kernel;                             /* words for the kernel, comma-separated */
    bool helper;                                   /* called as mount.something: mount(8)'s rules */
    bool endpoint_given; /* not from the environment: SOURCE is then no volume */
    bool s3fs;           /* a word only s3fs has: read-write by default */
    bool fake, sloppy;   /* mount(8)'s -f and -s */
};

/* Parses and overwrites every secret in argv, also on failure. *ret always needs opts_fini(); on
 * failure *ret_why is malloc'd or NULL (no memory). 0 | -EINVAL | -ENOMEM */
int opts_parse(int argc, char **argv, struct opts *ret, char **ret_why);
/* The environment, for what the arguments left open: HAFIZ_* and AWS_* except keys.
 * 0 | -EINVAL (*ret_why, malloc'd) | -ENOMEM */
int opts_env(struct opts *o, char **ret_why);
/* scheme://host[:port][/path], and nothing else that a URL may have: keys least of all. */
bool opts_is_endpoint(const char *url);
void opts_fini(struct opts *o);

void opts_print_help(void);
/* The option table for tests: name of row i, NULL after the last; *ret_help NULL: hidden. */
const char *opts_row(unsigned i, const char **ret_help);
