/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* LOOKUP, GETATTR, FORGET: names to inodes, inodes to attributes. */
#include "s3proxyd/op/ops.h"

#include <errno.h>
#include <string.h>

/* Holds the inode for the kernel and answers with its attributes, for all replies that make an entry. */
int op_entry(struct op *op, struct inode *inode, struct op_entry *ret)
{
    if (!op->replied) { /* a cancelled call's answer reaches nobody, so nothing is held */
        int r = session_hold(op->session, inode);
        if (r < 0)
            return r;
    }
    inode_attr(inode, op->session, &ret->attr);
    ret->ttl_ms = op_ttl_ms(op, inode);
    ret->stamp = op->fs->change;
    return 0;
}

static int lookup_parent(struct op *op)
{
    const struct msg_lookup_req *m = &op->req.lookup;
    int r = op_resolve_dir(op, m->parent, &op->parent);
    return r ? r : key_name_check(m->name.s, m->name.len);
}

static int lookup_lock(struct op *op)
{
    return op_lock_name(op, op->parent, op->req.lookup.name);
}

static int lookup_child(struct op *op)
{
    return op_child(op, op->parent, op->req.lookup.name, false);
}

static int lookup_reply(struct op *op)
{
    struct op_entry e;
    if (!op->child)
        return OP_REPLY(op, lookup, .entry_ttl_ms = NEGATIVE_TTL_MS, .stamp = op->fs->change);
    int r = op_entry(op, op->child, &e);
    if (r < 0)
        return r;
    return OP_REPLY(op, lookup, .attr = e.attr, .attr_ttl_ms = e.ttl_ms, .entry_ttl_ms = e.ttl_ms,
                    .stamp = e.stamp);
}

const struct op_step lookup_steps[] = {
    {"parent", lookup_parent}, {"lock", lookup_lock}, {"ask", lookup_child},
    {"reply", lookup_reply},   {NULL, NULL},
};

static int getattr_find(struct op *op)
{
    const struct msg_getattr_req *m = &op->req.getattr;
    if (m->fh && handle_find(op->session, m->fh))
        return op_handle(op, m->fh);
    return op_resolve(op, m->ino, &op->inode);
}

static int getattr_ask(struct op *op)
{
    if (op->handle)
        return 0; /* what is open does not change under its handle */
    return op_freshen(op, op->inode, false);
}

static int getattr_reply(struct op *op)
{
    struct msg_attr attr;
    inode_attr(op->inode, op->session, &attr);
    return OP_REPLY(op, getattr, .attr = attr, .attr_ttl_ms = op_ttl_ms(op, op->inode),
                    .stamp = op->fs->change);
}

const struct op_step getattr_steps[] = {
    {"find", getattr_find}, {"ask", getattr_ask}, {"reply", getattr_reply}, {NULL, NULL}};

static int forget_apply(struct op *op)
{
    const uint8_t *p = frame_payload(&op->frame);
    for (uint64_t i = 0; i < op->req.forget.count && (i + 1) * 16 <= op->frame.payload_len; i++) {
        uint64_t pair[2];
        memcpy(pair, p + i * 16, 16);
        session_forget(op->session, le64toh(pair[0]), le64toh(pair[1]));
    }
    return OP_DONE;
}

const struct op_step forget_steps[] = {{"apply", forget_apply}, {NULL, NULL}};

static int statfs_reply(struct op *op)
{
    /* A bucket has no size; df shows 1 PiB of which nothing is used, as programs check for free space. */
    const uint64_t block = 4096, blocks = (1ULL << 50) / block;
    return OP_REPLY(op, statfs, .block_bytes = block, .blocks = blocks, .free_blocks = blocks,
                    .files = UINT32_MAX, .free_files = UINT32_MAX,
                    .name_max = PROTO_NAME_MAX_BYTES);
}

const struct op_step statfs_steps[] = {{"reply", statfs_reply}, {NULL, NULL}};
