/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* OPEN, CREATE, RELEASE. A reader gets read-only descriptors of the cache file and its sidecar once, here,
 * or all bytes of a small file instead; while a file has unsaved data there is no such file and every read
 * is asked. */
#include "s3proxyd/op/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "s3proxyd/fs/files-ahead.h"
#include "s3proxyd/fs/series.h"

static int open_find(struct op *op)
{
    const struct msg_open_req *m = &op->req.open;
    int r = op_resolve(op, m->ino, &op->inode);
    if (r)
        return r;
    if (op->inode->is_dir)
        return -EISDIR;
    if (m->reopen) /* what O_TRUNC did, it did at the first opening */
        op->req.open.flags &= ~(uint64_t)(O_TRUNC | O_EXCL);
    if (((m->flags & O_ACCMODE) != O_RDONLY || m->flags & O_TRUNC) && !op->session->rw)
        return -EROFS;
    return op->inode->gone && !op->inode->handles ? -ESTALE : 0;
}

/* What the last close left to be saved is waited for, so that who opens after a close sees an object; not
 * when saving has failed already: the data is here all the same. */
static void settled(struct commit_wait *wait, int error)
{
    (void)error; /* reported by status, fsync and close */
    op_wake(container_of(wait, struct op, commit_wait), 0);
}

static int open_wait(struct op *op)
{
    struct inode *inode = op->inode;
    if (!inode->commit || inode->handles || inode->commit_error)
        return 0;
    op->commit_wait = (struct commit_wait){.done = settled};
    list_init(&op->commit_wait.link);
    int r = commit_start(inode, &op->commit_wait);
    return r == -EINPROGRESS ? r : 0;
}

static int open_ask(struct op *op)
{
    return op_freshen(op, op->inode, op->session->cto);
}

/* After a restart of ours: the handle goes on only with the version it had. */
static int open_same_version(struct op *op)
{
    const struct msg_open_req *m = &op->req.open;
    const char *etag = op->inode->etag ? op->inode->etag : "";
    if (!m->reopen || (strlen(etag) == m->etag.len && memcmp(etag, m->etag.s, m->etag.len) == 0))
        return 0;
    return m->etag.len || op->inode->gone ? -ESTALE : 0;
}

/* After a kill of ours the handle is found by its inode's row: one that was made just now may still wait for
 * the end of the database's batch (5 ms). */
static int open_keep(struct op *op)
{
    uint64_t made_ns = op->inode->row_ns;
    return made_ns && clock_mono_ns() - made_ns < 20 * NS_PER_MS ? op_rows_kept(op) : 0;
}

static void truncated(struct spool_io *io)
{
    op_wake(container_of(io, struct op, io), io->error);
}

static int open_handle(struct op *op)
{
    const struct msg_open_req *m = &op->req.open;
    int r = op->names[0].lock ? 0 : op_wait_moving(op, op->inode);
    if (r == 0)
        r = handle_new(op->session, m->fh, op->inode, (unsigned)m->flags, &op->handle);
    if (r)
        return r;
    op->handle->busy++;
    op->handle->released = true; /* not the client's yet, and never when this fails */
    if (!(m->flags & O_TRUNC) || inode_size(op->inode) == 0)
        return 0;
    bool was_dirty = inode_dirty(op->inode) && !op->inode->untouched;
    r = commit_spool(op->inode, true);
    if (r < 0)
        return r;
    op->inode->untouched = !was_dirty; /* `echo x > f` must not publish an empty object first */
    commit_mark_dirty(op->inode);
    push_attr(op->inode, op->session, true);
    op->io = (struct spool_io){.size = 0, .done = truncated};
    return spool_truncate_start(op->inode->spool, &op->io);
}

/* May the bytes go with the reply? A client that has them learns of a change by a push only: not while
 * anybody may write. See PROTOCOL.md, "Bytes of OPEN". */
static bool bytes_welcome(const struct op *op)
{
    const struct msg_open_req *m = &op->req.open;
    const struct inode *inode = op->inode;
    return m->inline_max && !m->reopen && !(m->flags & O_TRUNC) && !inode->writers &&
           !inode->spool && inode->etag && inode->size <= m->inline_max;
}

static void bytes_woke(struct cache_wait *wait, int error)
{
    struct op *op = container_of(wait, struct op, cache_wait);
    struct inode *inode = op->inode, *moving;
    if (error == -ESTALE && (inode_busy_moving(inode, &moving) || !bytes_welcome(op)))
        error = 0; /* renamed or written here meanwhile: opened without bytes */
    if (error == -ESTALE)
        inode->fetched_ns = 0; /* replaced: the kernel looks the name up again, and we ask */
    op_wake(op, error);
}

static int fetch_bytes(struct op *op)
{
    struct cache_obj *obj;
    if (!bytes_welcome(op) || op->inode->size == 0)
        return 0;
    int r = inode_obj(op->inode, &obj);
    if (r < 0)
        return r;
    op->cache_wait = (struct cache_wait){.done = bytes_woke};
    list_init(&op->cache_wait.link);
    return cache_fill_start(obj, 0, op->inode->size, NULL, &op->cache_wait);
}

/* A larger one whose beginning was fetched ahead: goes on from there before the first read is heard of. */
static void fetch_on(struct op *op)
{
    uint64_t begin = series_bytes(op->inode->size);
    struct cache_wait unused = {0};
    struct cache_obj *obj;
    if (begin < op->inode->size && !op->inode->spool && op->inode->etag &&
        inode_obj(op->inode, &obj) == 0 && cache_obj_present(obj, 0, begin))
        cache_fill_start(obj, 0, begin, &op->handle->history, &unused); /* a hit: nothing waits */
}

/* The files behind this one, once. Starting their fetches takes a while. */
static bool look_ahead(struct op *op)
{
    const struct msg_open_req *m = &op->req.open;
    bool reads = !op->handle->writes && !m->reopen && !(m->flags & O_TRUNC);
    if (!reads || op->looked_ahead)
        return false;
    op->looked_ahead = true;
    return files_ahead_opened(op->session, op->inode);
}

static int open_bytes(struct op *op)
{
    int r = fetch_bytes(op);
    if (r == -EINPROGRESS)
        look_ahead(op); /* the round trips go side by side */
    else if (r == 0 && !bytes_welcome(op) && look_ahead(op))
        fetch_on(op);
    return r; /* what is here already is answered with first */
}

/* All of them, into op->buf. false: descriptors do as well. */
static bool take_bytes(struct op *op)
{
    size_t size = op->inode->size, got = 0;
    struct cache_obj *obj;
    if (!bytes_welcome(op))
        return false;
    if (size == 0)
        return true;
    op->buf = inode_obj(op->inode, &obj) == 0 ? malloc(size) : NULL;
    if (op->buf && cache_obj_pread(obj, op->buf, 0, size, &got) == 0 && got == size)
        return true;
    free(take(op->buf));
    return false;
}

static int take_descriptors(struct op *op, int fds[2])
{
    struct cache_obj *obj;
    int r = inode_obj(op->inode, &obj);
    if (r < 0)
        return r;
    op->handle->obj = cache_obj_ref(obj);
    cache_obj_fds(obj, &fds[0], &fds[1]);
    return 0;
}

/* From here on it is the client's, unless it gave up or is gone. */
static void hand_over(struct op *op)
{
    op->handle->released = op->replied || op->session->dead;
}

static int open_reply(struct op *op)
{
    struct inode *inode = op->inode;
    struct msg_open_rep rep = {.size = inode_size(inode),
                               .keep_cache = session_pages_good(op->session, inode)};
    int fds[2];
    if (take_bytes(op)) {
        rep.inline_data = 1;
        rep.stamp = op->fs->change;
    } else if (!inode->spool && !(op->req.open.flags & O_TRUNC)) {
        int r = take_descriptors(op, fds);
        if (r < 0)
            return r;
        rep.cached = 1;
        rep.whole = op->req.open.pass && !op->session->rw && cache_obj_promise(op->handle->obj);
        rep.tell_at = op->handle->history.tell_at;
    }
    rep.etag = msg_str_of(inode->etag);
    _cleanup_(str_fini) struct str head = STR_NULL;
    int r = op_reply_begin(op, &head);
    if (r == 0)
        r = msg_pack_open_rep(&head, &rep);
    if (r < 0)
        return r;
    hand_over(op);
    size_t bytes = rep.inline_data ? rep.size : 0;
    op->session->user->bytes_read += bytes;
    r = op_reply_end(op, &head, op->buf, bytes, fds, rep.cached ? 2 : 0);
    look_ahead(op);
    return r;
}

const struct op_step open_steps[] = {
    {"find", open_find},            {"wait", open_wait},     {"ask", open_ask},
    {"version", open_same_version}, {"keep", open_keep},     {"handle", open_handle},
    {"bytes", open_bytes},          {"reply", open_reply},   {NULL, NULL},
};

/* ---- CREATE */

static int create_parent(struct op *op)
{
    const struct msg_create_req *m = &op->req.create;
    int r = op_resolve_dir(op, m->parent, &op->parent);
    return r ? r : key_name_check(m->name.s, m->name.len);
}

static int create_lock(struct op *op)
{
    return op_lock_name(op, op->parent, op->req.create.name);
}

static int create_ask(struct op *op)
{
    return op_child(op, op->parent, op->req.create.name, false);
}

static int create_key(struct op *op)
{
    _cleanup_(freep) char *name = msg_str_dup(op->req.create.name), *key = NULL;
    return name ? inode_child_key(op->parent, name, false, &key) : -ENOMEM;
}

static int create_new(struct op *op)
{
    const struct msg_create_req *m = &op->req.create;
    struct inode *i;
    int r = create_key(op); /* too long a key is refused before anything exists */
    if (r == 0)
        r = inode_new(op->session->tree, op->parent, m->name.s, m->name.len, false, 0, &i);
    if (r < 0)
        return r;
    i->created = i->untouched = true;
    i->excl = m->flags & O_EXCL;
    i->mode = (uint32_t)m->mode & 07777;
    i->uid = (uint32_t)m->uid;
    i->gid = (uint32_t)m->gid;
    i->set = DB_SET_MODE | DB_SET_UID | DB_SET_GID;
    r = dir_add(i);
    if (r == 0)
        r = commit_spool(i, true);
    if (r < 0) {
        i->created = i->untouched = false;
        inode_detach(i);
        inode_unref(i);
        return r;
    }
    commit_mark_dirty(i);
    inode_touch_dir(op->parent);
    push_entry(op->parent, i->name, op->session);
    push_attr(op->parent, op->session, false);
    op->child = i;
    return 0;
}

static int create_make(struct op *op)
{
    const struct msg_create_req *m = &op->req.create;
    int r = 0;
    if (op->child && m->flags & O_EXCL)
        return -EEXIST;
    if (op->child && op->child->is_dir)
        return -EISDIR;
    if (!op->child)
        r = create_new(op);
    if (r < 0)
        return r;
    op->inode = inode_ref(op->child);
    op->req.open = (struct msg_open_req){.fh = m->fh, .flags = m->flags};
    return open_handle(op);
}

static int create_reply(struct op *op)
{
    struct op_entry e;
    int r = op_entry(op, op->inode, &e);
    if (r < 0)
        return r;
    hand_over(op);
    return OP_REPLY(op, create, .attr = e.attr, .attr_ttl_ms = e.ttl_ms, .entry_ttl_ms = e.ttl_ms,
                    .stamp = e.stamp);
}

const struct op_step create_steps[] = {
    {"parent", create_parent}, {"lock", create_lock},   {"ask", create_ask},
    {"make", create_make},     {"reply", create_reply}, {NULL, NULL},
};

static int release_apply(struct op *op)
{
    struct handle *h = handle_find(op->session, op->req.release.fh);
    if (h)
        handle_release(h);
    return OP_DONE;
}

const struct op_step release_steps[] = {{"apply", release_apply}, {NULL, NULL}};
