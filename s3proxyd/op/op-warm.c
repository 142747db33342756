/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* WARM and WARM_STATUS: who may, and how far it is. The work is done by fs/warm.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "s3proxyd/fs/warm-job.h"
#include "s3proxyd/op/op-json.h"

static int refuse(struct op *op, int error, const char *why)
{
    snprintf(op->store.error_text, sizeof(op->store.error_text), "%s", why);
    return error;
}

static int warm_begin(struct op *op)
{
    const struct msg_warm_req *m = &op->req.warm;
    struct session *s = m->instance.len == 16
                            ? session_find_instance(op->fs, (const uint8_t *)m->instance.s)
                            : NULL;
    if (!s || !op_may_see(op, s->peer_uid))
        return refuse(op, -ENOENT, "no mount of that number");
    _cleanup_(freep) char *path = memchr(m->path.s ? m->path.s : "", 0, m->path.len)
                                      ? NULL
                                      : msg_str_dup(m->path);
    if (!path)
        return -EINVAL;
    struct warm_job *job;
    int r = warm_job_start(s, op->conn, path, (unsigned)m->requests, &job);
    if (r == -EBUSY)
        return refuse(op, r, "this user warms enough already");
    return r < 0 ? r : OP_REPLY(op, warm, .job = job->id);
}

const struct op_step warm_steps[] = {{"begin", warm_begin}, {NULL, NULL}};

/* ---- how far */

static const char *state_of(const struct warm_stats *st)
{
    if (!st->over)
        return st->total_known ? "running" : "counting";
    if (st->full)
        return "full";
    return st->error || st->failed ? "failed" : "done";
}

static void put_counts(struct json_object *o, const struct warm_stats *st)
{
    put_str(o, "state", state_of(st));
    put_int(o, "objects", st->objects);
    put_int(o, "bytes", st->bytes);
    put_int(o, "total_objects", st->total_objects);
    put_int(o, "total_bytes", st->total_bytes);
    put_bool(o, "total_known", st->total_known);
    put_int(o, "present_objects", st->present_objects);
    put_int(o, "present_bytes", st->present_bytes);
    put_int(o, "lost_bytes", st->lost_bytes);
    put_int(o, "changed", st->changed);
    put_int(o, "failed", st->failed);
    put_int(o, "hidden", st->hidden);
    put_int(o, "requests", st->requests);
}

static struct json_object *job_json(const struct warm_job *job, const struct warm_stats *st)
{
    struct json_object *o = json_object_new_object();
    uint64_t now = job->ended_ns ? job->ended_ns : clock_mono_ns();
    put_int(o, "job", job->id);
    put_str(o, "mountpoint", job->mountpoint);
    put_str(o, "source", job->source);
    put_str(o, "path", job->path);
    put_int(o, "uid", job->uid);
    put_bool(o, "prefetch", job->prefetch);
    put_int(o, "elapsed_ms", (now - job->began_ns) / NS_PER_MS);
    put_counts(o, st);
    return o;
}

struct json_object *op_warming_json(const struct op *op)
{
    struct json_object *list = json_object_new_array();
    const struct warm_job *job;
    list_for_each(job, &op->fs->warm_jobs, link) {
        struct warm_stats st;
        if (job->ended_ns || !op_may_see(op, job->uid))
            continue;
        warm_stats(job->warm, &st);
        json_object_array_add(list, job_json(job, &st));
    }
    return list;
}

static struct json_object *failures_json(const struct warm_stats *st)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < st->nfailures; i++) {
        struct json_object *o = json_object_new_object();
        put_str(o, "key", st->failures[i].key);
        put_str(o, "error", strerror(-st->failures[i].error));
        json_object_array_add(list, o);
    }
    return list;
}

static int warm_status_reply(struct op *op)
{
    const struct warm_job *job = warm_job_find(op->fs, op->req.warm_status.job);
    struct cache_stats cache;
    struct warm_stats st;
    if (!job || !op_may_see(op, job->uid))
        return -ENOENT;
    warm_stats(job->warm, &st);
    struct json_object *o = job_json(job, &st);
    put_str(o, "error", !st.error ? "" : st.error_text[0] ? st.error_text : strerror(-st.error));
    put_int(o, "errno", (uint64_t)-st.error);
    cache_stats(op->fs->cache, &cache);
    put_int(o, "cache_size_bytes", cache.size_bytes);
    put_int(o, "cache_room_bytes", cache_room(op->fs->cache));
    json_object_object_add(o, "failures", failures_json(&st));
    return op_reply_json(op, o);
}

const struct op_step warm_status_steps[] = {{"reply", warm_status_reply}, {NULL, NULL}};
