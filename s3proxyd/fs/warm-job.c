/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See warm-job.h. */
#include "s3proxyd/fs/warm-job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/str.h"

#define JOBS_PER_UID_MAX 4u
#define PREFETCH_SEPARATOR ":"

static void job_free(struct warm_job *job)
{
    if (job->warm)
        warm_free(job->warm);
    list_del(&job->link);
    free(job->source);
    free(job->mountpoint);
    free(job->path);
    free(job->rest);
    free(job);
}

static const char *outcome(const struct warm_stats *st)
{
    if (st->full)
        return "the cache is full";
    if (st->error)
        return st->error_text[0] ? log_esc(st->error_text) : strerror(-st->error);
    return st->failed ? "not all could be fetched" : "complete";
}

static void log_end(const struct warm_job *job, const struct warm_stats *st)
{
    bool well = !st->full && !st->failed && !st->error;
    log_write(well || st->error == -ECANCELED ? LOG_LVL_INFO : LOG_LVL_WARN, "warm",
              "%s of %s: %llu of %llu objects, %llu of %llu bytes, in %llu s; %llu changed, "
              "%llu failed: %s",
              job->path[0] ? log_esc(job->path) : "all", log_esc(job->source),
              (unsigned long long)st->objects, (unsigned long long)st->total_objects,
              (unsigned long long)st->bytes, (unsigned long long)st->total_bytes,
              (unsigned long long)((job->ended_ns - job->began_ns) / NS_PER_S),
              (unsigned long long)st->changed, (unsigned long long)st->failed, outcome(st));
}

static bool next_path(struct session *s, char *paths);

static void ended(struct warm *warm, void *arg)
{
    struct warm_job *job = arg;
    struct session *s = job->session;
    struct warm_stats st;
    warm_stats(warm, &st);
    job->ended_ns = clock_mono_ns();
    log_end(job, &st);
    char *rest = take(job->rest);
    bool prefetch = job->prefetch;
    if (!job->owner)
        job_free(job);
    if (prefetch && s && (st.full || !next_path(s, rest)))
        push_prefetched(s);
    free(rest);
}

static int key_of(const struct session *s, const char *path, char **ret_key)
{
    _cleanup_(freep) char *root = NULL;
    path += strspn(path, "/");
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (key_name_check(p, n) < 0)
            return -EINVAL;
        p += n + (p[n] == '/');
    }
    int r = inode_key(s->root, &root);
    if (r < 0)
        return r;
    char *key = str_dup_printf("%s%s", root, path);
    if (!key)
        return -ENOMEM;
    if (strlen(key) + 1 > PROTO_KEY_MAX_BYTES) {
        free(key);
        return -ENAMETOOLONG;
    }
    *ret_key = key;
    return 0;
}

static unsigned running_of(const struct fs *fs, uid_t uid)
{
    const struct warm_job *job;
    unsigned n = 0;
    list_for_each(job, &fs->warm_jobs, link)
        n += job->uid == uid && !job->ended_ns;
    return n;
}

static int job_start(struct warm_job *job, const char *path, unsigned requests)
{
    struct session *s = job->session;
    const struct fs *fs = job->fs;
    _cleanup_(freep) char *key = NULL;
    job->source = strdup(s->source ? s->source : "");
    job->mountpoint = strdup(s->mountpoint ? s->mountpoint : "");
    job->path = strdup(path);
    if (!job->source || !job->mountpoint || !job->path)
        return -ENOMEM;
    int r = key_of(s, path, &key);
    if (r < 0)
        return r;
    struct warm_config config = {.loop = fs->loop,
                                 .cache = fs->cache,
                                 .store = s->tree->store,
                                 .scope = s->tree->scope,
                                 .key = key,
                                 .requests = requests,
                                 .ended = ended,
                                 .arg = job};
    return warm_start(&config, &job->warm);
}

int warm_job_start(struct session *s, const void *owner, const char *path, unsigned requests,
                   struct warm_job **ret_job)
{
    struct fs *fs = s->fs;
    if (running_of(fs, s->peer_uid) >= JOBS_PER_UID_MAX)
        return -EBUSY;
    struct warm_job *job = calloc(1, sizeof(*job));
    if (!job)
        return -ENOMEM;
    job->fs = fs;
    job->session = s;
    job->owner = owner;
    job->uid = s->peer_uid;
    job->id = ++fs->warm_last;
    job->began_ns = clock_mono_ns();
    list_add_tail(&fs->warm_jobs, &job->link);
    int r = job_start(job, path, requests);
    if (r < 0) {
        job_free(job);
        return r;
    }
    *ret_job = job;
    return 0;
}

/* The first of them that can be started. false: there is none. */
static bool next_path(struct session *s, char *paths)
{
    struct warm_job *job;
    char *rest = NULL, *path;
    for (char *p = paths; p && (path = strtok_r(p, PREFETCH_SEPARATOR, &rest)); p = rest) {
        int r = warm_job_start(s, NULL, path, 0, &job);
        if (r == 0) {
            job->prefetch = true;
            job->rest = strdup(rest);
            return true;
        }
        log_warn("warm", "%s of %s is not fetched ahead: %s", log_esc(path), log_esc(s->source),
                 strerror(-r));
    }
    return false;
}

void warm_job_prefetch(struct session *s, const char *paths)
{
    _cleanup_(freep) char *copy = strdup(paths);
    if (copy)
        next_path(s, copy);
}

struct warm_job *warm_job_find(struct fs *fs, uint64_t id)
{
    struct warm_job *job;
    list_for_each(job, &fs->warm_jobs, link)
        if (job->id == id)
            return job;
    return NULL;
}

void warm_jobs_owner_gone(struct fs *fs, const void *owner)
{
    struct warm_job *job, *next;
    list_for_each_safe(job, next, &fs->warm_jobs, link) {
        if (job->owner != owner)
            continue;
        job->owner = NULL;
        if (job->ended_ns)
            job_free(job);
        else
            warm_stop(job->warm, -ECANCELED);
    }
}

void warm_jobs_session_gone(struct session *s)
{
    struct warm_job *job;
    list_for_each(job, &s->fs->warm_jobs, link) {
        if (job->session != s)
            continue;
        job->session = NULL;
        if (!job->ended_ns)
            warm_stop(job->warm, -ECANCELED);
    }
}

bool warm_jobs_run(const struct fs *fs)
{
    const struct warm_job *job;
    list_for_each(job, &fs->warm_jobs, link)
        if (!job->ended_ns)
            return true;
    return false;
}

void warm_jobs_free(struct fs *fs)
{
    struct warm_job *job;
    while ((job = list_first(&fs->warm_jobs, struct warm_job, link)))
        job_free(job);
}
