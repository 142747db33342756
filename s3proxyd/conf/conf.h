/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* s3proxyd's configuration: an INI file, [s3proxyd] and one section per volume. Every option is
 * a row of conf.tbl. Unknown options, bad values and contradictions are errors with file and
 * line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "s3proxyd/cred/cred.h"

struct conf_volume {
    char *name;              /* [name]; letters, digits, '-', '_', '.' */
    char *bucket;            /* or `file:///directory` */
    char *prefix;            /* "" or ends in '/' */
    char *endpoint, *region; /* or NULL */
    int addressing;          /* S3_ADDR_* */
    bool rw, insecure_http;
    struct cred *cred; /* from access_key/secret_key, key_file, profile or anonymous */
    uid_t *users;      /* users=name,uid,… */
    size_t nusers;     /* 0: nobody but the backend's own uid and root */
    gid_t *groups;     /* groups=… */
    size_t ngroups;
    bool any_user; /* users=* */
};

struct conf {
    char *socket_path, *cache_dir, *state_dir; /* absolute, or NULL for the defaults of main.c */
    bool cache_memory;                         /* cache_dir is not used then */
    uint64_t cache_size_bytes;                 /* hard bound of the read cache */
    uint64_t min_free_bytes;                   /* kept free on the cache's file system */
    uint64_t spool_size_bytes;                 /* bound of unsaved data on disk */
    unsigned net_threads, disk_threads, connections_per_host;
    uint64_t idle_exit_s; /* 0: never */
    uint64_t attr_ttl_ms;
    char *ca_bundle, *proxy;
    struct conf_volume *volumes;
    size_t nvolumes;
};

/* Defaults only, when path is NULL. On failure *ret_error is malloc'd: "FILE:LINE: what". 0 |
 * -EINVAL | -errno of opening the file */
int conf_load(const char *path, struct conf **ret_conf, char **ret_error);
/* The same from memory, len bytes and a NUL, changed in place; `file` is for the errors.
 * Nobody's right to read or change the text is checked. */
int conf_parse(const char *file, char *text, size_t len, struct conf **ret_conf, char **ret_error);
void conf_free(struct conf *conf);
const struct conf_volume *conf_volume_find(const struct conf *conf, const char *name, size_t len);
/* May this peer mount the volume? Root and the backend's own uid always, then users and groups (the
 * peer's supplementary groups are looked up from its uid). */
bool conf_volume_allows(const struct conf_volume *v, uid_t uid, gid_t gid);
/* The option table, from conf.tbl, on standard output: `s3proxyd --print-options`. */
void conf_print_options(void);
