/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* READDIR: a page of a directory's slots, loaded when it is read from the start and out of date. */
#include "s3proxyd/op/ops.h"

#include <errno.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"

static int readdir_find(struct op *op)
{
    return op_resolve_dir(op, op->req.readdir.ino, &op->inode);
}

static void loaded(struct dir_wait *wait, int error)
{
    op_wake(container_of(wait, struct op, dir_wait), error);
}

/* A directory that is being listed is answered from as it grows: names that the listing has shown. */
static int readdir_load(struct op *op)
{
    uint64_t ttl = op->session->attr_ttl_ms;
    bool any, growing = dir_growing(op->inode);
    dir_used(op->inode);
    if (growing) {
        dir_shown(op->inode, dir_slot_behind(op->inode, op->req.readdir.cookie), &any);
        if (any)
            return 0;
    } else if (op->tries || dir_readable(op->inode, ttl) ||
               (op->req.readdir.cookie > 0 && op->inode->dir->complete)) {
        return 0;
    }
    op->tries++;
    op->dir_wait = (struct dir_wait){.done = loaded};
    int r = dir_more_start(op->inode, ttl, &op->dir_wait);
    return r == -EINPROGRESS ? OP_PARK : r;
}

static int add_entry(struct op *op, struct inode *child, size_t slot, struct str *out)
{
    struct msg_dirent e = {.cookie = dir_cookie(op->inode, slot), .name = msg_str_of(child->name)};
    inode_attr(child, op->session, &e.attr);
    int r = msg_dirent_pack(out, &e);
    if (r == 0 && op->req.readdir.plus && !op->replied)
        r = session_hold(op->session, child);
    return r;
}

static int readdir_reply(struct op *op)
{
    const struct msg_readdir_req *m = &op->req.readdir;
    struct dir *d = op->inode->dir;
    _cleanup_(str_fini) struct str payload = STR_NULL, head = STR_NULL;
    uint64_t room = m->max_bytes, count = 0, ttl = op->session->attr_ttl_ms;
    bool any;
    size_t begin = dir_slot_behind(op->inode, m->cookie), end = dir_shown(op->inode, begin, &any);
    d->read_ns = clock_mono_ns();
    d->made_for = DIR_FOR_READER;
    for (size_t i = begin; i < end; i++) {
        struct inode *child = d->slots[i];
        if (!child)
            continue;
        size_t len = child->name ? __builtin_strlen(child->name) : 0;
        uint64_t need = m->plus ? MSG_DIRENTPLUS_BYTES(len) : MSG_DIRENT_BYTES(len);
        if (need > room || payload.len + 512 > PROTO_PAYLOAD_MAX_BYTES)
            break;
        room -= need;
        int r = add_entry(op, child, i, &payload);
        if (r < 0)
            return r;
        count++;
        ttl = MIN(ttl, op_ttl_ms(op, child));
    }
    int r = op_reply_begin(op, &head);
    struct msg_readdir_rep rep = {count, ttl, ttl, op->fs->change};
    if (r == 0)
        r = msg_pack_readdir_rep(&head, &rep);
    return r < 0 ? r : op_reply_end(op, &head, payload.s, payload.len, NULL, 0);
}

const struct op_step readdir_steps[] = {
    {"find", readdir_find}, {"load", readdir_load}, {"reply", readdir_reply}, {NULL, NULL}};
