/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Bytes. A read of present blocks is answered by the worker itself; everything else is a call. A
 * write is copied into a slot of the ring, or waits for one without holding a thread. */
#include "fused/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fused/ahead.h"
#include "fused/behind.h"
#include "proto/base/cleanup.h"
#include "proto/base/must.h"

/* Each thread that reads has one buffer for good: answers are copied out of it before it is used
 * again. */
static char *own_buffer(void)
{
    static _Thread_local char *buffer;
    if (!buffer)
        buffer = malloc(PROTO_IO_MAX_BYTES);
    return buffer;
}

/* The bytes from the cache file, in own_buffer(). 0 | -EAGAIN | -ENOMEM */
static int read_local(struct handle *h, uint64_t offset, size_t size, size_t *ret_got)
{
    struct view *view = handle_view(h);
    char *buffer = own_buffer();
    int e = !view ? -EAGAIN : !buffer ? -ENOMEM : view_read(view, offset, size, buffer, ret_got);
    view_unref(view);
    return e;
}

static void read_answer(struct req *r, const struct client_reply *reply);

static void ask_read(struct req *r, bool want_inline)
{
    r->flag = want_inline;
    req_call(r, READ, read, .fh = r->h->fh, .offset = r->offset, .size = r->size,
             .want_inline = want_inline);
}

/* The blocks were there and are gone again: now ask for the bytes, by a new call. */
static void read_again(struct req *r)
{
    fuse_req_t fuse = req_take(r);
    struct req *next = fuse ? req_new(fuse, read_answer, NULL) : NULL;
    if (!next)
        return;
    next->h = handle_ref(r->h);
    next->offset = r->offset;
    next->size = r->size;
    ask_read(next, true);
}

static int take_refd(struct req *r, const struct client_reply *reply,
                     const struct msg_read_rep *rep)
{
    struct view *view = NULL;

    if (!rep->refd)
        return 0;
    if (reply->nfds != 2)
        return -EPROTO;
    int e = view_new(take_fd(&reply->fds[0]), take_fd(&reply->fds[1]), rep->size, &view);
    return e < 0 ? e : handle_set_version(r->h, view, rep->etag);
}

static void read_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_read_rep rep;
    const char *bytes = reply->payload;
    size_t got = reply->payload_len;
    int e = msg_unpack_read_rep(reply->fields, reply->fields_len, &rep);

    if (e == 0)
        e = take_refd(r, reply, &rep);
    if (e == 0)
        r->h->tell_at = rep.tell_at;
    if (e == 0 && rep.inline_data)
        e = got <= r->size ? 0 : -EPROTO;
    else if (e == 0) {
        e = read_local(r->h, r->offset, r->size, &got);
        bytes = own_buffer();
    }
    if (e == -EAGAIN && !r->flag) {
        read_again(r);
        return;
    }
    if (e < 0) {
        req_reply_err(r, e);
        return;
    }
    if (!rep.inline_data)
        behind_read(r->h, r->offset, r->offset + got);
    fuse_req_t fuse = req_take(r);
    if (fuse)
        fuse_reply_buf(fuse, bytes, got);
}

void ops_read(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct handle *h = handle_get(fi->fh);
    size_t got;

    (void)ino;
    size = MIN(size, (size_t)PROTO_IO_MAX_BYTES);
    if (!h || h->error != 0 || off < 0 || !range_ok((uint64_t)off, size)) {
        fuse_reply_err(fuse, !h ? EBADF : h->error != 0 ? req_errno(h->error) : EINVAL);
    } else if (read_local(h, (uint64_t)off, size, &got) == 0) {
        struct daemon *d = fuse_req_userdata(fuse);
        behind_read(h, (uint64_t)off, (uint64_t)off + got);
        fuse_reply_buf(fuse, own_buffer(), got);
        ahead_come(d, h, (uint64_t)off + got);
    } else {
        struct req *r = req_new(fuse, read_answer, NULL);
        if (r) {
            r->h = handle_ref(h);
            r->offset = (uint64_t)off;
            r->size = size;
            ask_read(r, false);
        }
    }
    handle_unref(h);
}

static void write_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_write_rep rep;

    if (msg_unpack_write_rep(reply->fields, reply->fields_len, &rep) < 0 || rep.written == 0 ||
        rep.written > r->size) {
        req_reply_err(r, -EPROTO);
        return;
    }
    r->h->changes++; /* taken by the backend, not saved: a promise from here on */
    fuse_req_t fuse = req_take(r);
    if (fuse)
        fuse_reply_write(fuse, rep.written);
}

static void write_start(struct req *r, uint32_t slot, const char *bytes)
{
    r->slot = slot;
    ring_fill(slot, bytes, r->size);
    req_call(r, WRITE, write, .fh = r->h->fh, .offset = r->offset, .size = r->size,
             .ring_offset = ring_offset(slot), .append = r->flag);
}

static void write_ready(struct ring_waiter *w, uint32_t slot)
{
    struct req *r = container_of(w, struct req, waiter);
    write_start(r, slot, r->data);
}

/* Copied aside first: as soon as it is in the queue, the waiter may be called. */
static void write_wait(struct req *r, const char *bytes)
{
    r->data = malloc(r->size);
    if (!r->data) {
        req_fail(r, -ENOMEM);
        return;
    }
    memcpy(r->data, bytes, r->size);
    r->waiter.ready = write_ready;
    uint32_t slot = ring_get(&r->waiter);
    if (slot != RING_NONE)
        write_start(r, slot, r->data);
}

void ops_write(fuse_req_t fuse, fuse_ino_t ino, const char *buf, size_t size, off_t off,
               struct fuse_file_info *fi)
{
    struct req *r = req_new(fuse, write_answer, NULL);

    (void)ino;
    if (!r)
        return;
    r->h = handle_get(fi->fh);
    r->offset = (uint64_t)off;
    r->size = size;
    r->flag = fi->flags & O_APPEND && !fi->writepage;
    int e = !r->h ? -EBADF : !r->d->rw ? -EROFS : r->h->error;
    if (e == 0 && (off < 0 || size == 0 || size > PROTO_IO_MAX_BYTES || !range_ok(r->offset, size)))
        e = -EINVAL;
    if (e < 0) {
        req_fail(r, e);
        return;
    }
    uint32_t slot = ring_get(NULL);
    if (slot != RING_NONE)
        write_start(r, slot, buf);
    else
        write_wait(r, buf);
}
