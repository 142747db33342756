/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Names to inodes, and their attributes. */
#include "fused/ops.h"

#include <errno.h>
#include <sys/statvfs.h>

#include "proto/base/clock.h"

static void lookup_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_lookup_rep rep;

    if (msg_unpack_lookup_rep(reply->fields, reply->fields_len, &rep) < 0)
        req_reply_err(r, -EPROTO);
    else
        ops_reply_entry(r, &OPS_ENTRY(rep));
}

void ops_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct req *r = req_new(fuse, lookup_answer, name);
    if (!r)
        return;
    if (r->name_len > PROTO_NAME_MAX_BYTES) {
        req_fail(r, -ENAMETOOLONG);
        return;
    }
    r->ino = daemon_ino_in(r->d, parent);
    req_call(r, LOOKUP, lookup, .parent = r->ino, .name = {r->name, r->name_len});
}

void ops_forget_one(fuse_req_t fuse, fuse_ino_t ino, uint64_t count)
{
    if (ino != 1)
        ops_forget(fuse_req_userdata(fuse), ino, count);
    fuse_reply_none(fuse);
}

void ops_forget_multi(fuse_req_t fuse, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        if (forgets[i].ino != 1)
            ops_forget(fuse_req_userdata(fuse), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(fuse);
}

static void reply_attr(struct req *r, const struct msg_attr *attr, uint64_t ttl_ms, uint64_t stamp)
{
    struct stat st;
    int error = ops_stat(r->d, attr, &st);

    if (error < 0) {
        req_reply_err(r, error);
        return;
    }
    fuse_req_t fuse = req_take(r);
    if (fuse)
        fuse_reply_attr(fuse, &st, ops_ttl(r->d, ttl_ms, stamp));
}

static void getattr_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_getattr_rep rep;

    if (msg_unpack_getattr_rep(reply->fields, reply->fields_len, &rep) < 0)
        req_reply_err(r, -EPROTO);
    else
        reply_attr(r, &rep.attr, rep.attr_ttl_ms, rep.stamp);
}

/* The handle's number, or 0 for one that the backend does not have any more. */
static uint64_t live_fh(struct req *r, const struct fuse_file_info *fi)
{
    r->h = fi ? handle_get(fi->fh) : NULL;
    return r->h && r->h->error == 0 ? r->h->fh : 0;
}

void ops_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct req *r = req_new(fuse, getattr_answer, NULL);
    if (!r)
        return;
    req_call(r, GETATTR, getattr, .ino = daemon_ino_in(r->d, ino), .fh = live_fh(r, fi));
}

static void setattr_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_setattr_rep rep;

    if (r->flag)
        r->h->changes++;
    if (r->mark & SETATTR_SIZE)
        handle_forget_bytes(r->ino);
    if (msg_unpack_setattr_rep(reply->fields, reply->fields_len, &rep) < 0)
        req_reply_err(r, -EPROTO);
    else
        reply_attr(r, &rep.attr, rep.attr_ttl_ms, rep.stamp);
}

static uint64_t setattr_bits(int to_set)
{
    static const struct {
        int kernel;
        uint64_t ours;
    } bits[] = {
        {FUSE_SET_ATTR_MODE, SETATTR_MODE},
        {FUSE_SET_ATTR_UID, SETATTR_UID},
        {FUSE_SET_ATTR_GID, SETATTR_GID},
        {FUSE_SET_ATTR_SIZE, SETATTR_SIZE},
        {FUSE_SET_ATTR_ATIME, SETATTR_ATIME},
        {FUSE_SET_ATTR_MTIME, SETATTR_MTIME},
        {FUSE_SET_ATTR_ATIME_NOW, SETATTR_ATIME_NOW},
        {FUSE_SET_ATTR_MTIME_NOW, SETATTR_MTIME_NOW},
    };
    uint64_t valid = 0;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        if (to_set & bits[i].kernel)
            valid |= bits[i].ours;
    return valid;
}

static int64_t ns_of(struct timespec ts)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)ts.tv_sec, (int64_t)NS_PER_S, &ns) ||
        __builtin_add_overflow(ns, (int64_t)ts.tv_nsec, &ns))
        return ts.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

void ops_setattr(fuse_req_t fuse, fuse_ino_t ino, struct stat *attr, int to_set,
                 struct fuse_file_info *fi)
{
    uint64_t valid = setattr_bits(to_set);
    if (valid == 0) { /* a time of change alone, or a kernel newer than we are */
        ops_getattr(fuse, ino, fi);
        return;
    }
    struct req *r = req_new(fuse, setattr_answer, NULL);
    if (!r)
        return;
    uint64_t fh = live_fh(r, fi);
    if (r->h && valid & SETATTR_SIZE) {
        if (r->h->error != 0) {
            req_fail(r, r->h->error);
            return;
        }
        r->flag = true; /* a change that the next FLUSH saves */
    }
    r->ino = daemon_ino_in(r->d, ino);
    r->mark = valid;
    req_call(r, SETATTR, setattr, .ino = r->ino, .fh = fh, .valid = valid,
             .mode = attr->st_mode & 07777, .uid = attr->st_uid, .gid = attr->st_gid,
             .size = valid & SETATTR_SIZE ? (uint64_t)attr->st_size : 0,
             .atime_ns = ns_of(attr->st_atim), .mtime_ns = ns_of(attr->st_mtim));
}

static void statfs_answer(struct req *r, const struct client_reply *reply)
{
    struct msg_statfs_rep rep;

    if (msg_unpack_statfs_rep(reply->fields, reply->fields_len, &rep) < 0) {
        req_reply_err(r, -EPROTO);
        return;
    }
    struct statvfs st = {
        .f_bsize = rep.block_bytes,
        .f_frsize = rep.block_bytes,
        .f_blocks = rep.blocks,
        .f_bfree = rep.free_blocks,
        .f_bavail = rep.free_blocks,
        .f_files = rep.files,
        .f_ffree = rep.free_files,
        .f_favail = rep.free_files,
        .f_namemax = rep.name_max,
    };
    fuse_req_t fuse = req_take(r);
    if (fuse)
        fuse_reply_statfs(fuse, &st);
}

void ops_statfs(fuse_req_t fuse, fuse_ino_t ino)
{
    struct req *r = req_new(fuse, statfs_answer, NULL);
    if (r)
        req_call(r, STATFS, statfs, .ino = daemon_ino_in(r->d, ino));
}
