/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Who warms what: jobs of a connection, which end with it and are asked how far they are, and of a mount's
 * own wish (prefetch), which nobody waits for. All end with the mount they go through. */
#pragma once

#include "s3proxyd/fs/fs.h"
#include "s3proxyd/fs/warm.h"

struct warm_job {
    struct list link;        /* fs->warm_jobs */
    struct fs *fs;
    struct session *session; /* NULL: it has ended */
    const void *owner;       /* a connection; NULL: nobody, or gone */
    uint64_t id, began_ns, ended_ns; /* 0: it runs */
    uid_t uid;
    char *source, *mountpoint, *path; /* for people */
    bool prefetch;
    char *rest;              /* paths to come, separated by ':' */
    struct warm *warm;
};

/* path: below the session's root, of a file or a directory.
 * 0 | -EINVAL (no path) | -ENAMETOOLONG | -EBUSY (too many of this uid) | -ESTALE | -ENOMEM */
int warm_job_start(struct session *s, const void *owner, const char *path, unsigned requests,
                   struct warm_job **ret_job);
/* Of a mount, one path after the other; what goes wrong is logged, and the end told to the mount. */
void warm_job_prefetch(struct session *s, const char *paths);
struct warm_job *warm_job_find(struct fs *fs, uint64_t id);
void warm_jobs_owner_gone(struct fs *fs, const void *owner);
void warm_jobs_session_gone(struct session *s);
bool warm_jobs_run(const struct fs *fs);
void warm_jobs_free(struct fs *fs); /* none runs */
