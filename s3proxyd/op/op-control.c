/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* STATUS and REFRESH, for hafizctl; and the answers of messages whose engines come later. A user sees and
 * refreshes their own mounts; root and the backend's own uid all of them. */
#include "s3proxyd/op/op-json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"

static struct json_object *mounts_json(struct op *op)
{
    struct json_object *list = json_object_new_array();
    struct session *s;
    list_for_each(s, &op->fs->sessions, link) {
        if (!op_may_see(op, s->peer_uid))
            continue;
        struct json_object *o = json_object_new_object();
        char hex[33];
        str_hex(s->instance, sizeof(s->instance), hex, sizeof(hex));
        put_str(o, "instance", hex);
        put_str(o, "source", s->source);
        put_str(o, "volume", s->volume);
        put_str(o, "mountpoint", s->mountpoint);
        put_int(o, "uid", s->peer_uid);
        put_bool(o, "rw", s->rw);
        put_int(o, "calls", s->calls);
        put_int(o, "handles", s->handles.count);
        put_bool(o, "connected", s->rpc != NULL);
        json_object_array_add(list, o);
    }
    return list;
}

static struct json_object *stores_json(struct op *op)
{
    struct json_object *list = json_object_new_array();
    struct tree *t;
    list_for_each(t, &op->fs->trees, link) {
        struct json_object *o = json_object_new_object();
        struct store_stats st = {0};
        uint64_t requests = 0;
        t->store->impl->stats(t->store, &st);
        for (size_t i = 0; i < ARRAY_SIZE(st.requests); i++)
            requests += st.requests[i];
        put_str(o, "endpoint", t->store->endpoint);
        put_str(o, "bucket", t->store->bucket);
        put_int(o, "requests", requests);
        put_int(o, "errors", st.errors);
        put_int(o, "retries", st.retries);
        put_int(o, "throttled", st.throttled);
        put_int(o, "bytes_in", st.bytes_in);
        put_int(o, "bytes_out", st.bytes_out);
        json_object_array_add(list, o);
    }
    return list;
}

static struct json_object *problems_json(struct op *op)
{
    struct json_object *list = json_object_new_array();
    struct inode *i;
    list_for_each(i, &op->fs->dirty, dirty_link) {
        if (!i->commit_error || i->gone)
            continue;
        struct json_object *o = json_object_new_object();
        _cleanup_(freep) char *path = inode_path(i, i->tree->root);
        char why[400];
        snprintf(why, sizeof(why), "%s (%s)", strerror(-i->commit_error), i->commit_text);
        put_str(o, "path", path);
        put_str(o, "error", why);
        put_int(o, "since_s", (clock_mono_ns() - i->failed_ns) / NS_PER_S);
        put_int(o, "bytes", inode_size(i));
        json_object_array_add(list, o);
    }
    return list;
}

static struct json_object *cache_json(struct op *op)
{
    struct json_object *o = json_object_new_object();
    struct cache_stats st;
    cache_stats(op->fs->cache, &st);
    put_str(o, "dir", op->fs->conf->cache_dir);
    put_int(o, "size_bytes", st.size_bytes);
    put_int(o, "used_bytes", st.used_bytes);
    put_int(o, "passed_bytes", st.promised_bytes);
    put_int(o, "objects", st.objects);
    put_int(o, "hits", st.hits);
    put_int(o, "fills", st.fills);
    put_int(o, "fetched_bytes", st.fetched_bytes);
    put_int(o, "evicted_bytes", st.evicted_bytes);
    put_int(o, "hedged", st.hedged);
    return o;
}

static struct json_object *spool_json(struct op *op)
{
    struct json_object *o = json_object_new_object();
    put_str(o, "dir", op->fs->conf->state_dir);
    put_int(o, "size_bytes", op->fs->conf->spool_size_bytes);
    put_int(o, "used_bytes", spool_dir_used_bytes(op->fs->spools));
    put_int(o, "dirty_files", fs_dirty_files(op->fs));
    put_int(o, "orphans", spool_dir_orphans(op->fs->spools));
    return o;
}

static struct json_object *users_json(struct op *op)
{
    struct json_object *list = json_object_new_array();
    for (struct table_node *n = table_next(&op->fs->users, NULL); n;
         n = table_next(&op->fs->users, n)) {
        const struct user *u = container_of(n, struct user, node);
        struct json_object *o = json_object_new_object();
        put_int(o, "uid", u->uid);
        put_int(o, "connections", u->connections);
        put_int(o, "mounts", u->mounts);
        put_int(o, "handles", u->handles);
        put_int(o, "calls", u->calls);
        put_int(o, "bytes_read", u->bytes_read);
        put_int(o, "bytes_written", u->bytes_written);
        json_object_array_add(list, o);
    }
    return list;
}

static uint64_t hidden_keys(const struct fs *fs)
{
    uint64_t n = 0;
    for (struct table_node *t = table_next(&fs->inodes, NULL); t; t = table_next(&fs->inodes, t)) {
        const struct inode *i = container_of(t, struct inode, by_ino);
        n += i->dir ? i->dir->hidden : 0;
    }
    return n;
}

int op_reply_json(struct op *op, struct json_object *o)
{
    size_t len = 0;
    const char *text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &len);
    struct str head = STR_NULL;
    const struct msg_status_rep none = {};
    int r = !text ? -ENOMEM : len > PROTO_PAYLOAD_MAX_BYTES ? -E2BIG : op_reply_begin(op, &head);
    if (r == 0)
        r = msg_pack_status_rep(&head, &none);
    if (r == 0)
        r = op_reply_end(op, &head, text, len, NULL, 0);
    str_fini(&head);
    json_object_put(o);
    return r;
}

static int status_reply(struct op *op)
{
    struct json_object *o = json_object_new_object(), *pools = json_object_new_object();
    bool all = op_may_see(op, (uid_t)-1);
    put_str(o, "version", HAFIZ_VERSION);
    put_int(o, "pid", (uint64_t)getpid());
    put_int(o, "uid", op->fs->own_uid);
    put_bool(o, "private", op->fs->private_backend);
    put_int(o, "uptime_s", (clock_mono_ns() - op->fs->started_ns) / NS_PER_S);
    put_str(o, "socket", op->fs->conf->socket_path);
    json_object_object_add(o, "cache", cache_json(op));
    json_object_object_add(o, "spool", spool_json(op));
    put_int(o, "inodes", op->fs->inodes.count);
    put_int(o, "hidden_keys", hidden_keys(op->fs));
    json_object_object_add(o, "mounts", mounts_json(op));
    json_object_object_add(o, "warming", op_warming_json(op));
    if (all) {
        json_object_object_add(o, "stores", stores_json(op));
        json_object_object_add(o, "problems", problems_json(op));
        json_object_object_add(o, "users", users_json(op));
    }
    put_int(pools, "net_threads", op->fs->conf->net_threads);
    put_int(pools, "disk_threads", op->fs->conf->disk_threads);
    json_object_object_add(o, "pools", pools);
    return op_reply_json(op, o);
}

const struct op_step status_steps[] = {{"reply", status_reply}, {NULL, NULL}};

/* ---- REFRESH */

static int refresh_apply(struct op *op)
{
    const struct msg_refresh_req *m = &op->req.refresh;
    struct session *s = m->instance.len == 16
                            ? session_find_instance(op->fs, (const uint8_t *)m->instance.s)
                            : NULL;
    if (!s || !op_may_see(op, s->peer_uid))
        return -ENOENT;
    struct inode *i = s->root;
    op->fs->change++;
    const char *p = m->path.s, *end = p + m->path.len;
    while (p < end && i) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t len = slash ? (size_t)(slash - p) : (size_t)(end - p);
        if (len) {
            dir_expire(i); /* the name itself may have appeared meanwhile */
            _cleanup_(freep) char *name = strndup(p, len);
            if (name) /* the kernel may remember that it was absent, which no known inode shows */
                push_entry(i, name, NULL);
            i = inode_child(i, p, len);
        }
        p += len + (slash != NULL);
        if (i && !i->is_dir && p < end)
            i = NULL;
    }
    uint64_t n = i ? dir_forget(i) : 0;
    push_all(s);
    return OP_REPLY(op, refresh, .forgotten = n);
}

const struct op_step refresh_steps[] = {{"apply", refresh_apply}, {NULL, NULL}};

static int answer_eperm(struct op *op)
{
    (void)op;
    return -EPERM;
}

static int answer_eopnotsupp(struct op *op)
{
    (void)op;
    return -EOPNOTSUPP;
}

const struct op_step eperm_steps[] = {{"refuse", answer_eperm}, {NULL, NULL}};
const struct op_step eopnotsupp_steps[] = {{"refuse", answer_eopnotsupp}, {NULL, NULL}};
