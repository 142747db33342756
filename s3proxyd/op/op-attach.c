/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* ATTACH, BIND, DETACH. Who may mount what is decided here, from the peer's uid and the configuration, never
 * from anything in the message: volumes by their users= and groups=; a bucket, a directory, an endpoint or
 * a key of the client's own only from the uid the backend itself runs as. */
#include "s3proxyd/op/ops.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/file/file.h"
#include "s3proxyd/fs/warm-job.h"
#include "s3proxyd/s3/s3.h"

static int refuse(struct op *op, int error, const char *why)
{
    snprintf(op->store.error_text, sizeof(op->store.error_text), "%s", why);
    const struct chan_peer *peer = op->conn && op->conn->chan ? chan_peer(op->conn->chan) : NULL;
    log_warn("attach", "uid %d: %s: %s", peer ? (int)peer->uid : -1,
             log_escn(op->req.attach.source.s, op->req.attach.source.len), why);
    return error;
}

static char *dup_or_null(struct msg_str s)
{
    return s.len ? msg_str_dup(s) : NULL;
}

static int from_volume(struct op *op, const struct chan_peer *peer)
{
    const struct msg_attach_req *m = &op->req.attach;
    struct op_attach *a = op->priv;
    const struct conf_volume *v = conf_volume_find(op->fs->conf, m->volume.s, m->volume.len);
    if (!v)
        return refuse(op, -ENODEV, "no volume of that name");
    if (!conf_volume_allows(v, peer->uid, peer->gid))
        return refuse(op, -EACCES, "this user may not mount that volume (users= of its section)");
    if (m->cred || m->endpoint.len)
        return refuse(op, -EACCES, "a volume brings its own endpoint and keys");
    if (m->rw && !v->rw)
        return refuse(op, -EROFS, "that volume is read-only (mode=ro)");
    a->volume = strdup(v->name);
    a->bucket = strdup(v->bucket);
    a->prefix = str_dup_printf("%s%.*s", v->prefix ? v->prefix : "", (int)m->prefix.len,
                               m->prefix.len ? m->prefix.s : "");
    a->endpoint = v->endpoint ? strdup(v->endpoint) : NULL;
    a->region = v->region ? strdup(v->region) : NULL;
    a->addressing = v->addressing;
    a->insecure_http = v->insecure_http;
    a->cred = v->cred ? cred_ref(v->cred) : NULL;
    a->rw = m->rw;
    return a->volume && a->bucket && a->prefix ? 0 : -ENOMEM;
}

/* As every AWS tool: $HOME first. After su it may be somebody else's. */
static const char *own_home(void)
{
    struct stat st;
    const char *home = getenv("HOME");
    if (home && home[0] == '/' && stat(home, &st) == 0 && st.st_uid == geteuid())
        return home;
    const struct passwd *pw = getpwuid(geteuid());
    return pw ? pw->pw_dir : "/";
}

static int from_profile(struct op *op)
{
    struct op_attach *a = op->priv;
    _cleanup_(freep) char *named = dup_or_null(op->req.attach.profile), *region = NULL, *url = NULL;
    const char *why = "it cannot be read", *profile = named ? named : "default";
    char text[200];
    int r = cred_new_profile(own_home(), profile, &a->cred, &region, &url, &why);
    if (r == 0 && !a->region)
        a->region = take(region);
    if (r == 0 && !a->endpoint)
        a->endpoint = take(url);
    if (r == 0)
        return 0;
    snprintf(text, sizeof(text), "profile \"%.64s\": %s", log_esc(profile), why);
    return refuse(op, r == -ENOENT ? -EACCES : r, text);
}

static int own_cred(struct op *op)
{
    const struct msg_attach_req *m = &op->req.attach;
    struct op_attach *a = op->priv;
    const char *why = "the key is empty or has odd characters";
    int r = 0;
    switch (m->cred) {
    case 1:
        r = cred_new_static(m->access_key.s, m->access_key.len, m->secret_key.s,
                            m->secret_key.len, m->session_token.s, m->session_token.len, &a->cred);
        break;
    case 2:
        return from_profile(op);
    case 3:
        r = cred_new_anonymous(&a->cred);
        break;
    default:
        r = m->kind == 1 ? -EACCES : 0;
        why = "no key was given and no volume of that name is configured: name a volume of "
              "s3proxyd.conf, or give a key, a profile, a password file or --anonymous";
    }
    return r < 0 ? refuse(op, r == -ENOENT ? -EACCES : r, why) : 0;
}

static int from_client(struct op *op, const struct chan_peer *peer)
{
    const struct msg_attach_req *m = &op->req.attach;
    struct op_attach *a = op->priv;
    if (peer->uid != op->fs->own_uid)
        return refuse(op, -EACCES,
                      "only the backend's own user may bring a bucket, an endpoint or a key; "
                      "others mount the volumes of s3proxyd.conf by name");
    a->prefix = msg_str_dup(m->prefix);
    a->endpoint = dup_or_null(m->endpoint);
    a->region = dup_or_null(m->region);
    a->bucket = m->kind == 2 ? str_dup_printf("file://%.*s", (int)m->bucket.len, m->bucket.s)
                             : msg_str_dup(m->bucket);
    a->addressing = (int)m->addressing;
    a->insecure_http = m->insecure_http;
    a->rw = m->rw;
    return a->prefix && a->bucket ? own_cred(op) : -ENOMEM;
}

static int attach_allow(struct op *op)
{
    const struct msg_attach_req *m = &op->req.attach;
    struct op_attach *a = op->priv;
    if (!op->conn || !op->conn->chan)
        return -ECANCELED;
    if (op->conn->session || op->conn->attaching || op->conn->is_push ||
        m->instance.len != sizeof(op->conn->session->instance))
        return -EPROTO;
    op->conn->attaching = a->first = true;
    const struct chan_peer *peer = chan_peer(op->conn->chan);
    a->source = msg_str_dup(m->source);
    a->mountpoint = msg_str_dup(m->mountpoint);
    a->prefetch = msg_str_dup(m->prefetch);
    if (!a->source || !a->mountpoint || !a->prefetch)
        return -EINVAL;
    int r = m->kind == 0 ? from_volume(op, peer) : from_client(op, peer);
    memcpy(a->instance, m->instance.s, sizeof(a->instance));
    /* The keys are in locked memory now; the frame they came in is wiped, and its strings with it. */
    secret_wipe(op->frame.data, op->frame.head_len);
    op->req.attach.source = msg_str_of(a->source);
    return r;
}

static int prefix_check(const char *prefix)
{
    size_t len = strlen(prefix);
    if (len > PROTO_KEY_MAX_BYTES || (len && prefix[len - 1] != '/'))
        return -EINVAL;
    for (const char *p = prefix; *p;) {
        size_t n = strcspn(p, "/");
        if (key_name_check(p, n) < 0)
            return -EINVAL;
        p += n + 1;
    }
    return 0;
}

/* The reason stands last: a long path is cut, not the reason. */
static int refuse_directory(struct op *op, const char *path, int error)
{
    const char *reason =
        error == -ELOOP ? "it lies on a mount of hafiz, or its links never end" : strerror(-error);
    const char *shown = log_esc(path);
    char text[sizeof(op->store.error_text)];
    snprintf(text, sizeof(text), "the directory %.140s%s cannot be used: %s", shown,
             strlen(shown) > 140 ? "..." : "", reason);
    return refuse(op, error == -ENOENT ? -ENXIO : error, text);
}

static int attach_store(struct op *op)
{
    struct op_attach *a = op->priv;
    const char *why = NULL;
    int r;
    if (prefix_check(a->prefix) < 0)
        return refuse(op, -EINVAL, "the prefix is not a path");
    if (str_starts(a->bucket, "file://")) {
        r = file_store_new(op->fs->pool, a->bucket + strlen("file://"), &a->store);
        if (r < 0)
            return refuse_directory(op, a->bucket + strlen("file://"), r);
    } else {
        struct s3_config config = {.endpoint = a->endpoint,
                                   .bucket = a->bucket,
                                   .region = a->region,
                                   .addressing = a->addressing,
                                   .insecure_http = a->insecure_http,
                                   .cred = a->cred};
        r = s3_store_new(op->fs->net, &config, &a->store, &why);
        if (r < 0)
            return refuse(op, r, why);
    }
    op->store = (struct store_req){
        .op = STORE_CHECK,
        .key = a->prefix,
        .deadline_ns = clock_mono_ns() + (ATTACH_TIMEOUT_MS - 1000) * NS_PER_MS};
    return 0;
}

/* Who mounts a volume by its name does not know what is behind it. */
static void name_bucket(struct store_req *req, const char *bucket)
{
    char said[sizeof(req->error_text)];
    memcpy(said, req->error_text, sizeof(said));
    snprintf(req->error_text, sizeof(req->error_text), "its bucket %.64s: %.170s", log_esc(bucket),
             said[0] ? said : strerror(-req->error));
}

static void checked(struct store_req *req)
{
    struct op *op = container_of(req, struct op, store);
    struct op_attach *a = op->priv;
    if (req->error == -ETIMEDOUT || req->error == -ECANCELED) {
        req->error = -ETIMEDOUT;
        snprintf(req->error_text, sizeof(req->error_text), "%.200s does not answer",
                 a->store->endpoint ? a->store->endpoint : a->store->bucket);
    } else if (req->error < 0 && a->volume) {
        name_bucket(req, a->bucket);
    }
    if (req->error == -ENOENT)
        req->error = -ENXIO; /* what stores call a missing bucket, and not a missing object */
    op_wake(op, req->error);
}

static int attach_check(struct op *op)
{
    struct op_attach *a = op->priv;
    op->store.done = checked;
    store_submit(a->store, &op->store);
    return -EINPROGRESS;
}

static int root_of(struct op *op, struct inode **ret)
{
    struct op_attach *a = op->priv;
    struct inode *dir = inode_ref(a->tree->root);
    for (const char *p = a->prefix; *p;) {
        size_t n = strcspn(p, "/");
        struct inode *next = inode_child(dir, p, n);
        if (next && next->is_dir) {
            inode_ref(next);
        } else {
            int r = next ? -ENOTDIR : 0;
            if (r == 0)
                r = inode_new(a->tree, dir, p, n, true, 0, &next);
            if (r == 0 && dir_add(next) < 0)
                dir->dir->complete = false;
            if (r < 0) {
                inode_unref(dir);
                return r;
            }
            next->fetched_ns = clock_mono_ns();
            inode_save_row(next);
        }
        inode_unref(dir);
        dir = next;
        p += n + 1;
    }
    *ret = dir;
    return 0;
}

/* After a restart the prefix' directories must get the numbers they had: load their rows, level by level. */
static void rows_woke(struct dir_wait *wait, int error)
{
    op_wake(container_of(wait, struct op, dir_wait), error);
}

static int attach_tree(struct op *op)
{
    struct op_attach *a = op->priv;
    if (!a->tree)
        a->tree = tree_find(op->fs, a->store->endpoint, a->store->bucket, a->cred);
    if (!a->tree) {
        int r = tree_new(op->fs, a->store, a->cred, &a->tree);
        if (r < 0)
            return r;
        a->store = NULL;
        a->cred = NULL;
    }
    struct inode *dir = a->tree->root;
    for (const char *p = a->prefix; dir && *p; p += strcspn(p, "/") + 1) {
        op->dir_wait = (struct dir_wait){.done = rows_woke};
        int r = dir_rows_start(dir, &op->dir_wait);
        if (r)
            return r == -EINPROGRESS ? OP_PARK : r;
        dir = inode_child(dir, p, strcspn(p, "/"));
        if (dir && !dir->is_dir)
            return refuse(op, -ENOTDIR, "the prefix is an object, not a directory");
    }
    return 0;
}

/* Its number must outlive a kill that follows the reply: the mount keeps it. */
static int attach_root(struct op *op)
{
    return root_of(op, &op->inode);
}

static int attach_session(struct op *op, struct session **ret)
{
    const struct msg_attach_req *m = &op->req.attach;
    struct op_attach *a = op->priv;
    struct session *s;
    struct session *old = session_find_instance(op->fs, a->instance);
    if (old && old->peer_uid == chan_peer(op->conn->chan)->uid && old->rpc)
        chan_shutdown(old->rpc); /* the newer connection wins, once the older one is gone */
    if (old)
        return -EBUSY;
    int r = session_new(op->fs, a->tree, op->inode, op->conn->chan, &s);
    if (r < 0)
        return r;
    memcpy(s->instance, a->instance, sizeof(s->instance));
    s->rw = a->rw;
    s->cto = m->cto;
    s->resumed = m->resume;
    s->attr_ttl_ms =
        m->attr_ttl_ms < ATTR_TTL_UNSET_MS ? m->attr_ttl_ms : op->fs->conf->attr_ttl_ms;
    s->uid = (uint32_t)m->uid;
    s->gid = (uint32_t)m->gid;
    s->file_mode = (uint32_t)m->file_mode;
    s->dir_mode = (uint32_t)m->dir_mode;
    s->source = take(a->source);
    s->mountpoint = take(a->mountpoint);
    s->volume = take(a->volume);
    if (s->rw)
        r = session_ring_new(s);
    *ret = s;
    return r;
}

static int attach_reply(struct op *op)
{
    const struct msg_attach_req *m = &op->req.attach;
    struct session *s = NULL;
    _cleanup_(str_fini) struct str head = STR_NULL;
    if (!op->conn || !op->conn->chan)
        return -ECANCELED;
    int r = attach_session(op, &s);
    if (r < 0) {
        if (s)
            session_hang_up(s);
        return r;
    }
    struct msg_attach_rep rep = {.token = {(const char *)s->token, sizeof(s->token)},
                                 .root = s->root->ino,
                                 .rw = s->rw,
                                 .ring_bytes = s->rw ? PROTO_RING_BYTES : 0,
                                 .attr_ttl_ms = s->attr_ttl_ms,
                                 .resumed = m->resume};
    inode_attr(s->root, s, &rep.attr);
    r = op_reply_begin(op, &head);
    if (r == 0)
        r = msg_pack_attach_rep(&head, &rep);
    if (r < 0) {
        session_hang_up(s);
        return r;
    }
    op->conn->session = s;
    log_info("attach", "uid %u mounts %s at %s%s%s", (unsigned)s->peer_uid, log_esc(s->source),
             log_esc(s->mountpoint), s->rw ? ", read-write" : ", read-only",
             s->resumed ? ", again" : "");
    const struct op_attach *a = op->priv;
    if (a->prefetch[0])
        warm_job_prefetch(s, a->prefetch);
    return op_reply_end(op, &head, NULL, 0, &s->ring_fd, s->rw ? 1 : 0);
}

void attach_fini(struct op *op)
{
    struct op_attach *a = op->priv;
    if (a->first && op->conn)
        op->conn->attaching = false;
    free(a->volume);
    free(a->bucket);
    free(a->prefix);
    free(a->endpoint);
    free(a->region);
    free(a->source);
    free(a->mountpoint);
    free(a->prefetch);
    cred_unref(a->cred);
    store_free(a->store);
}

const struct op_step attach_steps[] = {
    {"allow", attach_allow}, {"store", attach_store}, {"check", attach_check},
    {"tree", attach_tree},   {"root", attach_root},   {"keep", op_rows_kept},
    {"reply", attach_reply}, {NULL, NULL},
};

/* ---- BIND: this connection carries the pushes of a session */

static int bind_apply(struct op *op)
{
    const struct msg_bind_req *m = &op->req.bind;
    if (!op->conn || op->conn->session || op->conn->attaching || op->conn->is_push ||
        m->token.len != PROTO_TOKEN_BYTES)
        return -EPROTO;
    struct session *s = session_find_token(op->fs, (const uint8_t *)m->token.s);
    if (!s || s->peer_uid != chan_peer(op->conn->chan)->uid)
        return -EACCES;
    if (s->push) { /* a newer connection takes over */
        *s->push_ref = NULL;
        chan_shutdown(s->push);
    }
    s->push = op->conn->chan;
    op->conn->session = s;
    op->conn->is_push = true;
    s->push_ref = &op->conn->session;
    return OP_REPLY(op, bind, );
}

const struct op_step bind_steps[] = {{"bind", bind_apply}, {NULL, NULL}};

static int detach_apply(struct op *op)
{
    struct session *s = op->session;
    struct chan *chan = s->rpc;
    int r = OP_REPLY(op, detach, );
    if (chan)
        chan_shutdown(chan); /* closed() hangs the session up */
    return r;
}

const struct op_step detach_steps[] = {{"detach", detach_apply}, {NULL, NULL}};
