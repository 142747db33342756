/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Standing still. An op that takes an object's key away or gives it to another one must not be overtaken:
 * a save that began before ends before, one that comes later waits and then finds the new key or none,
 * and so do ops and listings below a directory. */
#include "s3proxyd/op/ops.h"

#include <errno.h>

#include "proto/base/cleanup.h"

/* A failed save is no reason not to rename over a file or to remove it. */
static void commit_ended(struct commit_wait *wait, int error)
{
    (void)error;
    op_wake(container_of(wait, struct op, commit_wait), 0);
}

static void listing_ended(struct dir_wait *wait, int error)
{
    (void)error;
    op_wake(container_of(wait, struct op, dir_wait), 0);
}

/* A listing under way would be applied after the keys it lists have changed. */
static bool wait_listing(struct op *op, struct inode *dir)
{
    op->dir_wait = (struct dir_wait){.done = listing_ended};
    if (dir_load_join(dir, &op->dir_wait))
        return true;
    for (size_t i = 0; i < dir->dir->nslots; i++) {
        struct inode *child = dir->dir->slots[i];
        if (child && child->is_dir && wait_listing(op, child))
            return true;
    }
    return false;
}

static int claim(struct op *op, struct inode *inode)
{
    for (size_t i = 0; i < ARRAY_SIZE(op->still); i++)
        if (op->still[i] == inode)
            return 0;
    if (inode->moving) /* by somebody who holds another name of it: not while we hold this one */
        return op_wait_moving(op, inode);
    for (size_t i = 0; i < ARRAY_SIZE(op->still); i++)
        if (!op->still[i]) {
            op->still[i] = inode_ref(inode);
            inode->moving = true;
            return 0;
        }
    return -EINVAL;
}

int op_still(struct op *op, struct inode *inode)
{
    int r = inode->gone ? op_restart(op) : claim(op, inode);
    if (r)
        return r;
    if (!inode->is_dir) {
        op->commit_wait = (struct commit_wait){.done = commit_ended};
        list_init(&op->commit_wait.link);
        return commit_wait_end(inode, &op->commit_wait) ? OP_PARK : 0;
    }
    return op_wait_inside(op, inode) || wait_listing(op, inode) ? OP_PARK : 0;
}

static void moved(struct inode *inode)
{
    struct list waiters = LIST_INIT(waiters);
    inode->moving = false;
    list_splice_tail(&waiters, &inode->move_waiters);
    struct move_wait *w;
    while ((w = list_first(&waiters, struct move_wait, link))) {
        list_del(&w->link);
        op_wake_soon(w->op);
    }
}

void op_unstill(struct op *op)
{
    for (size_t i = 0; i < ARRAY_SIZE(op->still); i++) {
        struct inode *inode = take(op->still[i]);
        if (!inode)
            continue;
        moved(inode);
        inode_unref(inode);
    }
}
