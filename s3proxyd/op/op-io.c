/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* READ, WRITE, FLUSH, FSYNC.
 * A read comes from the spool while the file has unsaved data, else from the cache, which fetches what is
 * absent; the client then reads the cache file itself. A write is taken from the ring into the spool. */
#include "s3proxyd/op/ops.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/cleanup.h"

/* Steps that READ goes back to. A step that is run next is op->step when a wait ends, and op->step + 1 when
 * a step returns 0. */
#define READ_WAIT 1
#define READ_FETCH 2
#define READ_TRIES 3u

static int read_find(struct op *op)
{
    return op_handle(op, op->req.read.fh);
}

static int read_wait(struct op *op)
{
    return op_wait_moving(op, op->inode);
}

static void spool_woke(struct spool_io *io)
{
    op_wake(container_of(io, struct op, io), io->error);
}

/* The version we asked for is gone: renamed here meanwhile, or replaced by somebody else. */
static bool other_version(struct op *op)
{
    struct inode *inode = op->inode, *moving;
    if (inode_busy_moving(inode, &moving) || inode->spool ||
        (!inode->gone && inode->obj != op->handle->obj))
        return op->tries++ < READ_TRIES;
    inode->fetched_ns = 0; /* the next open asks */
    return false;
}

static void cache_woke(struct cache_wait *wait, int error)
{
    struct op *op = container_of(wait, struct op, cache_wait);
    if (error == -ESTALE && other_version(op)) {
        op->step = READ_WAIT;
        error = 0;
    }
    op_wake(op, error);
}

static int read_fetch(struct op *op)
{
    const struct msg_read_req *m = &op->req.read;
    struct inode *inode = op->inode;
    if (inode->spool) {
        op->buf = malloc(m->size ? m->size : 1);
        if (!op->buf)
            return -ENOMEM;
        op->io = (struct spool_io){
            .offset = m->offset, .size = m->size, .buf = op->buf, .done = spool_woke};
        return spool_read_start(inode->spool, &op->io);
    }
    struct cache_obj *obj;
    int r = inode_obj(inode, &obj); /* of a file without a name: the last version, if it was kept */
    if (r < 0 && inode->gone && op->handle->obj)
        obj = op->handle->obj;
    else if (r < 0)
        return r;
    if (obj != op->handle->obj) { /* saved or renamed here since the client opened it */
        if (op->handle->obj)
            cache_obj_unref(op->handle->obj);
        op->handle->obj = cache_obj_ref(obj);
        op->fresh_fds = true;
    }
    op->cache_wait = (struct cache_wait){.done = cache_woke};
    list_init(&op->cache_wait.link);
    return cache_fill_start(op->handle->obj, m->offset, m->size, &op->handle->history,
                            &op->cache_wait);
}

static int read_inline(struct op *op, size_t *ret_got)
{
    const struct msg_read_req *m = &op->req.read;
    if (op->buf) {
        *ret_got = op->io.got;
        return 0;
    }
    op->buf = malloc(m->size ? m->size : 1);
    if (!op->buf)
        return -ENOMEM;
    return cache_obj_pread(op->handle->obj, op->buf, m->offset, m->size, ret_got);
}

static int read_reply(struct op *op)
{
    struct msg_read_rep rep = {0};
    _cleanup_(str_fini) struct str head = STR_NULL;
    size_t got = 0;
    int fds[2];
    unsigned nfds = 0;
    if (op->buf || op->req.read.want_inline) {
        int r = read_inline(op, &got);
        if (r == -EAGAIN && op->tries++ < READ_TRIES) { /* evicted before we looked: fetch again */
            free(take(op->buf));
            op->step = READ_FETCH - 1;
            return 0;
        }
        if (r < 0)
            return r == -EAGAIN ? -EIO : r; /* the cache is far too small */
        rep.inline_data = 1;
    }
    if (op->fresh_fds && op->handle->obj) {
        cache_obj_fds(op->handle->obj, &fds[0], &fds[1]);
        rep.refd = 1;
        rep.size = cache_obj_size(op->handle->obj);
        rep.etag = msg_str_of(cache_obj_etag(op->handle->obj));
        nfds = 2;
    }
    if (!op->buf)
        rep.tell_at = op->handle->history.tell_at;
    int r = op_reply_begin(op, &head);
    if (r == 0)
        r = msg_pack_read_rep(&head, &rep);
    op->session->user->bytes_read += got;
    return r < 0 ? r : op_reply_end(op, &head, op->buf, got, fds, nfds);
}

const struct op_step read_steps[] = {{"find", read_find},
                                     [READ_WAIT] = {"wait", read_wait},
                                     [READ_FETCH] = {"fetch", read_fetch},
                                     {"reply", read_reply},
                                     {NULL, NULL}};

/* ---- AHEAD */

static int ahead_reply(struct op *op)
{
    const struct msg_ahead_req *m = &op->req.ahead;
    struct handle *h = op->handle;
    /* Of another version than the client reads, or unsaved: the next READ finds its way. */
    if (op->inode->spool || !h->obj || op->inode->obj != h->obj)
        return OP_REPLY(op, ahead, );
    cache_told(h->obj, MIN(m->offset, cache_obj_size(h->obj)), &h->history);
    return OP_REPLY(op, ahead, .tell_at = h->history.tell_at);
}

static int ahead_find(struct op *op)
{
    return op_handle(op, op->req.ahead.fh);
}

const struct op_step ahead_steps[] = {
    {"find", ahead_find}, {"reply", ahead_reply}, {NULL, NULL}};

/* ---- WRITE */

static int write_find(struct op *op)
{
    const struct msg_write_req *m = &op->req.write;
    int r = op_handle(op, m->fh);
    if (r < 0)
        return r;
    if (!op->handle->writes)
        return -EBADF;
    if (!op->session->ring || m->ring_offset > PROTO_RING_BYTES ||
        m->size > PROTO_RING_BYTES - m->ring_offset)
        return -EPROTO;
    return range_ok(m->offset, m->size) ? 0 : -EFBIG;
}

static void append_granted(struct alock_wait *wait)
{
    struct op *op = wait->who;
    op->append = &op->inode->append;
    op_wake(op, 0);
}

/* O_APPEND: where the end is, is decided here, one write at a time. */
static int write_append(struct op *op)
{
    if (!op->req.write.append)
        return 0;
    op->alock_wait = (struct alock_wait){.who = op, .granted = append_granted};
    list_init(&op->alock_wait.link);
    if (!alock_acquire(&op->inode->append, &op->alock_wait))
        return -EINPROGRESS;
    op->append = &op->inode->append;
    return 0;
}

static int write_spool(struct op *op)
{
    struct msg_write_req *m = &op->req.write;
    int r = op_wait_moving(op, op->inode);
    if (r == 0)
        r = commit_spool(op->inode, false);
    if (r)
        return r;
    if (m->append)
        m->offset = spool_size(op->inode->spool);
    if (!range_ok(m->offset, m->size) ||
        m->offset + m->size > op->session->tree->store->object_max_bytes)
        return -EFBIG;
    op->io = (struct spool_io){.offset = m->offset,
                               .size = m->size,
                               .buf = (uint8_t *)op->session->ring + m->ring_offset,
                               .done = spool_woke};
    return spool_write_start(op->inode->spool, &op->io);
}

static int write_reply(struct op *op)
{
    op->inode->untouched = false;
    op->session->user->bytes_written += op->req.write.size;
    commit_mark_dirty(op->inode);
    push_attr(op->inode, op->session, true);
    return OP_REPLY(op, write, .written = op->req.write.size,
                    .file_size = spool_size(op->inode->spool));
}

const struct op_step write_steps[] = {{"find", write_find},   {"append", write_append},
                                      {"spool", write_spool}, {"reply", write_reply},
                                      {NULL, NULL}};

/* ---- FLUSH, FSYNC */

static int flush_find(struct op *op)
{
    return op_handle(op, op->req.flush.fh);
}

static int flush_commit(struct op *op)
{
    if (op->inode->untouched || !op->handle->writes) /* nothing is published that nobody wrote */
        return 0;
    int r = op_commit(op, op->inode);
    op->saved = r == -EINPROGRESS;
    return r;
}

/* The row with the time of the last write is part of what was saved. */
static int saved_rows(struct op *op)
{
    return op->saved ? op_rows_kept(op) : 0;
}

static int flush_reply(struct op *op)
{
    return OP_REPLY(op, flush, );
}

const struct op_step flush_steps[] = {{"find", flush_find},     {"wait", read_wait},
                                      {"commit", flush_commit}, {"keep", saved_rows},
                                      {"reply", flush_reply},   {NULL, NULL}};

static int fsync_find(struct op *op)
{
    return op_handle(op, op->req.fsync.fh);
}

static int fsync_commit(struct op *op)
{
    int r = op_commit(op, op->inode);
    op->saved = r == -EINPROGRESS;
    return r;
}

static int fsync_reply(struct op *op)
{
    return OP_REPLY(op, fsync, );
}

const struct op_step fsync_steps[] = {{"find", fsync_find},     {"wait", read_wait},
                                      {"commit", fsync_commit}, {"keep", saved_rows},
                                      {"reply", fsync_reply},   {NULL, NULL}};
