/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* SETATTR. Mode, owner and times are remembered in inodes.db; a size goes to the spool. A truncation by
 * name has no close that would save it, so it is saved before the reply. */
#include "s3proxyd/op/ops.h"

#include <errno.h>

#include "proto/base/clock.h"

static int setattr_find(struct op *op)
{
    const struct msg_setattr_req *m = &op->req.setattr;
    if (m->fh && m->valid & SETATTR_SIZE) {
        int r = op_handle(op, m->fh);
        return r < 0 ? r : op->handle->writes ? 0 : -EINVAL;
    }
    int r = op_resolve(op, m->ino, &op->inode);
    return r ? r : m->valid & SETATTR_SIZE && op->inode->is_dir ? -EISDIR : 0;
}

static int setattr_ask(struct op *op)
{
    return op->handle ? 0 : op_freshen(op, op->inode, false);
}

static void truncated(struct spool_io *io)
{
    op_wake(container_of(io, struct op, io), io->error);
}

static int setattr_size(struct op *op)
{
    if (!(op->req.setattr.valid & SETATTR_SIZE))
        return 0;
    int r = op_wait_moving(op, op->inode);
    if (r == 0)
        r = commit_spool(op->inode, op->req.setattr.size == 0);
    if (r)
        return r;
    op->io = (struct spool_io){.size = op->req.setattr.size, .done = truncated};
    return spool_truncate_start(op->inode->spool, &op->io);
}

static int setattr_sized(struct op *op)
{
    if (!(op->req.setattr.valid & SETATTR_SIZE))
        return 0;
    op->inode->untouched = false;
    commit_mark_dirty(op->inode);
    return op->handle || op->inode->writers ? 0 : op_commit(op, op->inode);
}

static void apply_times(struct inode *i, const struct msg_setattr_req *m)
{
    int64_t now = clock_real_ns();
    if (m->valid & (SETATTR_ATIME | SETATTR_ATIME_NOW)) {
        i->atime_ns = m->valid & SETATTR_ATIME_NOW ? now : m->atime_ns;
        i->set |= DB_SET_ATIME;
    }
    if (m->valid & (SETATTR_MTIME | SETATTR_MTIME_NOW)) {
        i->mtime_ns = m->valid & SETATTR_MTIME_NOW ? now : m->mtime_ns;
        i->set |= DB_SET_MTIME;
    }
}

static int setattr_apply(struct op *op)
{
    const struct msg_setattr_req *m = &op->req.setattr;
    struct inode *i = op->inode;
    if (m->valid & SETATTR_MODE) {
        i->mode = (uint32_t)m->mode;
        i->set |= DB_SET_MODE;
    }
    if (m->valid & SETATTR_UID) {
        i->uid = (uint32_t)m->uid;
        i->set |= DB_SET_UID;
    }
    if (m->valid & SETATTR_GID) {
        i->gid = (uint32_t)m->gid;
        i->set |= DB_SET_GID;
    }
    apply_times(i, m);
    inode_changed(i);
    if (!i->created)
        inode_save_row(i);
    push_attr(i, op->session, m->valid & SETATTR_SIZE);
    return 0;
}

static int setattr_reply(struct op *op)
{
    struct msg_attr attr;
    inode_attr(op->inode, op->session, &attr);
    return OP_REPLY(op, setattr, .attr = attr, .attr_ttl_ms = op_ttl_ms(op, op->inode),
                    .stamp = op->fs->change);
}

const struct op_step setattr_steps[] = {
    {"find", setattr_find},   {"ask", setattr_ask},     {"size", setattr_size},
    {"sized", setattr_sized}, {"apply", setattr_apply}, {"keep", op_rows_kept},
    {"reply", setattr_reply}, {NULL, NULL},
};
