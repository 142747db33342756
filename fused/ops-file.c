/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Opening and closing. A handle is in the table before the kernel learns its number, since the next
 * request for it may be faster than we are. */
#include "fused/ops.h"

#include <errno.h>
#include <fcntl.h>

#include "fused/foreign.h"
#include "fused/known.h"
#include "fused/pass.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

#define FLAGS_SENT (O_ACCMODE | O_TRUNC | O_APPEND | O_EXCL)

static bool writable(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

static bool changes_data(int flags, bool truncate)
{
    return writable(flags) || truncate;
}

static void file_info(const struct daemon *d, const struct handle *h, bool keep_cache,
                      struct fuse_file_info *ret)
{
    *ret = (struct fuse_file_info){.fh = h->fh, .flags = h->flags};
    ret->direct_io = d->direct_io;
    ret->keep_cache = keep_cache;
    ret->noflush = !writable(h->flags);
}

static void close_handle(struct daemon *d, struct handle *h)
{
    pass_closed(h);
    handle_drop(h);
    req_oneway(d, RELEASE, release, .fh = h->fh);
}

/* r for an OPEN or CREATE, with a new handle. */
static struct req *open_req(fuse_req_t fuse, req_answer_fn *answer, const char *name, uint64_t ino,
                            int flags)
{
    struct req *r = req_new(fuse, answer, name);
    if (!r)
        return NULL;
    r->ino = daemon_ino_in(r->d, ino);
    r->flag = flags & O_TRUNC;
    int e = handle_new(r->ino, flags & FLAGS_SENT, foreign_opener(fuse_req_ctx(fuse)->pid), &r->h);
    if (e == 0 && r->name_len > PROTO_NAME_MAX_BYTES)
        e = -ENAMETOOLONG;
    if (e < 0) {
        req_fail(r, e);
        return NULL;
    }
    return r;
}

static int take_view(struct req *r, const struct client_reply *reply,
                     const struct msg_open_rep *rep)
{
    struct view *view = NULL;
    int e = 0;

    if (rep->cached && reply->nfds == 2)
        e = view_new(take_fd(&reply->fds[0]), take_fd(&reply->fds[1]), rep->size, &view);
    if (e < 0) /* READ calls do as well */
        log_warn("open", "cache file of inode %llu cannot be used: %s", (unsigned long long)r->ino,
                 e == -EPROTO ? "it does not fit" : "no memory");
    return handle_set_version(r->h, view, rep->etag);
}

/* r->size: how many were asked for. */
static int take_bytes(struct req *r, const struct client_reply *reply,
                      const struct msg_open_rep *rep)
{
    if (rep->cached || reply->nfds > 0 || rep->size > r->size || reply->payload_len != rep->size) {
        log_warn("open", "senseless bytes of inode %llu: %zu of a file of %llu",
                 (unsigned long long)r->ino, reply->payload_len, (unsigned long long)rep->size);
        return -EPROTO;
    }
    int e = handle_set_bytes(r->h, reply->payload, reply->payload_len, rep->etag);
    /* A push that overtook this reply has found nothing to drop. */
    if (e == 0 && rep->stamp < r->d->stamp)
        handle_forget_bytes(r->ino);
    return e;
}

static int take_content(struct req *r, const struct client_reply *reply,
                        const struct msg_open_rep *rep)
{
    if (changes_data(r->h->flags, r->flag)) /* from here on none are sent, see PROTOCOL.md */
        handle_forget_bytes(r->ino);
    if (rep->inline_data && r->size > 0)
        return take_bytes(r, reply, rep);
    r->h->tell_at = rep->tell_at;
    return rep->inline_data || reply->payload_len > 0 ? -EPROTO : take_view(r, reply, rep);
}

static void open_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_open_rep rep;
    struct fuse_file_info fi;
    int e = msg_unpack_open_rep(reply->fields, reply->fields_len, &rep);

    if (e == 0)
        e = take_content(r, reply, &rep);
    if (e == 0)
        e = handle_add(r->h);
    if (e == 0) {
        e = pass_opened(r->h, rep.whole);
        if (e < 0)
            handle_drop(r->h);
    }
    if (e < 0) {
        req_reply_err(r, e);
        req_oneway(r->d, RELEASE, release, .fh = r->h->fh);
        return;
    }
    if (r->flag) /* O_TRUNC: an empty file that is not saved yet */
        r->h->changes++;
    file_info(r->d, r->h, rep.keep_cache, &fi);
    fuse_req_t fuse = req_take(r);
    if (!fuse || pass_reply(fuse, r->h, &fi) < 0)
        close_handle(r->d, r->h);
}

void ops_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct req *r = open_req(fuse, open_answer, NULL, ino, fi->flags);
    if (!r)
        return;
    /* With direct_io every read is ours to answer, and sees what was written elsewhere at once. */
    if (!changes_data(fi->flags, r->flag) && !r->d->direct_io)
        r->size = handle_bytes_room();
    req_call(r, OPEN, open, .ino = r->ino, .fh = r->h->fh,
             .flags = (uint64_t)(fi->flags & FLAGS_SENT), .pass = pass_possible(),
             .inline_max = r->size);
}

static void create_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_create_rep rep;
    struct fuse_entry_param p;
    struct fuse_file_info fi;
    int e = msg_unpack_create_rep(reply->fields, reply->fields_len, &rep);

    if (e == 0)
        e = ops_entry_param(r->d, &OPS_ENTRY(rep), &p);
    if (e == 0)
        e = p.ino == 0 ? -EPROTO : 0;
    if (e == 0) {
        r->h->ino = rep.attr.ino;
        handle_forget_bytes(rep.attr.ino); /* it may have existed */
        r->h->changes++; /* until its first save the file is not in the bucket */
        e = handle_add(r->h);
    }
    if (e < 0) {
        req_reply_err(r, e);
        req_oneway(r->d, RELEASE, release, .fh = r->h->fh);
        return;
    }
    known_add(rep.attr.ino, daemon_ino_out(r->d, r->ino), r->name, r->name_len);
    file_info(r->d, r->h, false, &fi);
    fuse_req_t fuse = req_take(r);
    if (!fuse || fuse_reply_create(fuse, &p, &fi) < 0) {
        close_handle(r->d, r->h);
        ops_forget(r->d, rep.attr.ino, 1);
    }
}

void ops_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
                struct fuse_file_info *fi)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(fuse);
    struct req *r = open_req(fuse, create_answer, name, parent, fi->flags);
    if (r)
        req_call(r, CREATE, create, .parent = r->ino, .name = {r->name, r->name_len},
                 .fh = r->h->fh, .flags = (uint64_t)(fi->flags & FLAGS_SENT), .mode = mode & 07777,
                 .uid = ctx->uid, .gid = ctx->gid);
}

/* FLUSH, FSYNC: what had been changed when it was asked for is saved now. */
static void saved_answer(struct req *r, const struct client_reply *reply)
{
    (void)reply;
    if (r->h->saved < r->mark)
        r->h->saved = r->mark;
    req_reply_err(r, 0);
}

/* NULL: answered. */
static struct req *save_req(fuse_req_t fuse, const struct fuse_file_info *fi)
{
    struct req *r = req_new(fuse, saved_answer, NULL);
    if (!r)
        return NULL;
    r->h = handle_get(fi->fh);
    if (!r->h || !writable(r->h->flags) || r->h->error < 0) {
        /* A lost handle with everything saved has nothing to complain about. */
        req_fail(r, !r->h ? -EBADF : handle_unsaved(r->h) ? r->h->error : 0);
        return NULL;
    }
    r->mark = r->h->changes;
    r->saves = true;
    return r;
}

void ops_flush(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
    pid_t pid = fuse_req_ctx(fuse)->pid;
    struct req *r = save_req(fuse, fi);

    (void)ino;
    if (!r)
        return;
    /* A child that was forked with the descriptor saves nothing, and a fork that closes files on
     * its way to exec must not wait for a backend that is away. */
    if (foreign_flush(r->h->opener, pid))
        req_fail(r, 0);
    else
        req_call(r, FLUSH, flush, .fh = r->h->fh);
}

void ops_fsync(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct req *r = save_req(fuse, fi);

    (void)ino;
    if (r)
        req_call(r, FSYNC, fsync, .fh = r->h->fh, .datasync = datasync != 0);
}

void ops_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct daemon *d = fuse_req_userdata(fuse);
    struct handle *h = handle_get(fi->fh);

    (void)ino;
    if (h) {
        close_handle(d, h);
        handle_unref(h);
    }
    fuse_reply_err(fuse, 0);
}
