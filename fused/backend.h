/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Getting a connection that has said hello: to a socket as it stands, or to this user's private
 * s3proxyd, which is started when nobody listens. Blocking; runs in the keeper only. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define BACKEND_SYSTEM_SOCKET "/run/hafiz/s3proxyd.sock"

struct backend {
    char *socket;
    bool mine;                /* private: start it when it is not there */
    const char *cache_wanted; /* use_cache, --data-dir; or NULL */
    bool started;             /* by us, at least once */
    pid_t pid;                /* what we started and must reap; 0: nothing */
};

int backend_named(struct backend *b, const char *socket); /* 0 | -ENOMEM */
int backend_private(struct backend *b, const char *cache_wanted, char **ret_why);
void backend_fini(struct backend *b);
/* 0 | -ENOENT, -ECONNREFUSED (nobody listens) | other -errno; *ret_why: a text for the user, or
 * NULL */
int backend_connect(struct backend *b, int *ret_fd, char **ret_why);
void backend_reap(struct backend *b); /* after SIGCHLD */
