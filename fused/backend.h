/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Getting a connection that has said hello: to a socket as it stands, or to this user's private
 * s3proxyd, which is started when nobody listens. Blocking; runs in the keeper only, which waits for
 * whatever child of it ends: one that is slow to end may still be there beside its successor. */
#pragma once

#include <stdbool.h>

#define BACKEND_SYSTEM_SOCKET "/run/hafiz/s3proxyd.sock"

struct backend {
    char *socket;
    bool mine;                /* private: start it when it is not there */
    const char *cache_wanted; /* use_cache, --data-dir; or NULL */
    const char *keep;         /* disk or memory; or NULL */
    bool started;             /* by us, at least once */
};

int backend_named(struct backend *b, const char *socket); /* 0 | -ENOMEM */
/* keep: --cache, or NULL */
int backend_private(struct backend *b, const char *cache_wanted, const char *keep, char **ret_why);
void backend_fini(struct backend *b);
/* 0 | -ENOENT, -ECONNREFUSED (nobody listens) | other -errno; *ret_why: a text for the user, or
 * NULL */
int backend_connect(struct backend *b, int *ret_fd, char **ret_why);
