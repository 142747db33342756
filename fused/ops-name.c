/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Names that come, go and move: the kernel hears what the backend says, nothing is kept here. */
#include "fused/ops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"

static void done_answer(struct req *r, const struct client_reply *reply)
{
    (void)reply;
    req_reply_err(r, 0);
}

/* A request about `name` in `parent`; NULL: answered. */
static struct req *name_req(fuse_req_t fuse, req_answer_fn *answer, uint64_t parent,
                            const char *name)
{
    struct req *r = req_new(fuse, answer, name);
    if (!r)
        return NULL;
    if (r->name_len > PROTO_NAME_MAX_BYTES) {
        req_fail(r, -ENAMETOOLONG);
        return NULL;
    }
    r->ino = daemon_ino_in(r->d, parent);
    return r;
}

void ops_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct req *r = name_req(fuse, done_answer, parent, name);
    if (r)
        req_call(r, UNLINK, unlink, .parent = r->ino, .name = {r->name, r->name_len});
}

void ops_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct req *r = name_req(fuse, done_answer, parent, name);
    if (r)
        req_call(r, RMDIR, rmdir, .parent = r->ino, .name = {r->name, r->name_len});
}

static void mkdir_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_mkdir_rep rep;

    if (msg_unpack_mkdir_rep(reply->fields, reply->fields_len, &rep) < 0 || rep.attr.ino == 0)
        req_reply_err(r, -EPROTO);
    else
        ops_reply_entry(r, &OPS_ENTRY(rep));
}

void ops_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(fuse);
    struct req *r = name_req(fuse, mkdir_answer, parent, name);
    if (r)
        req_call(r, MKDIR, mkdir, .parent = r->ino, .name = {r->name, r->name_len},
                 .mode = mode & 07777, .uid = ctx->uid, .gid = ctx->gid);
}

void ops_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                const char *new_name, unsigned flags)
{
    struct req *r = name_req(fuse, done_answer, parent, name);
    if (!r)
        return;
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        req_fail(r, -EINVAL);
    else if (strlen(new_name) > PROTO_NAME_MAX_BYTES)
        req_fail(r, -ENAMETOOLONG);
    else
        req_call(r, RENAME, rename, .parent = r->ino, .name = {r->name, r->name_len},
                 .new_parent = daemon_ino_in(r->d, new_parent), .new_name = msg_str_of(new_name),
                 .noreplace = (flags & RENAME_NOREPLACE) != 0);
}

static void symlink_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_symlink_rep rep;

    if (msg_unpack_symlink_rep(reply->fields, reply->fields_len, &rep) < 0 || rep.attr.ino == 0)
        req_reply_err(r, -EPROTO);
    else
        ops_reply_entry(r, &OPS_ENTRY(rep));
}

void ops_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(fuse);
    struct req *r = name_req(fuse, symlink_answer, parent, name);
    if (!r)
        return;
    if (strlen(target) > 4096)
        req_fail(r, -ENAMETOOLONG);
    else
        req_call(r, SYMLINK, symlink, .parent = r->ino, .name = {r->name, r->name_len},
                 .target = msg_str_of(target), .uid = ctx->uid, .gid = ctx->gid);
}

static void readlink_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_readlink_rep rep;
    _cleanup_(freep) char *target = NULL;

    if (msg_unpack_readlink_rep(reply->fields, reply->fields_len, &rep) == 0)
        target = msg_str_dup(rep.target);
    if (!target) {
        req_reply_err(r, -EPROTO);
        return;
    }
    fuse_req_t fuse = req_take(r);
    if (fuse)
        fuse_reply_readlink(fuse, target);
}

void ops_readlink(fuse_req_t fuse, fuse_ino_t ino)
{
    struct req *r = req_new(fuse, readlink_answer, NULL);
    if (r)
        req_call(r, READLINK, readlink, .ino = daemon_ino_in(r->d, ino));
}
