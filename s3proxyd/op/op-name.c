/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Names held by one op against all others: creating, removing, renaming and asking about one name take
 * turns, across all mounts. Two names are always taken in the order of (directory, name), so that two
 * renames cannot wait for each other.
 *
 * Who holds its names is *inside* their directories. A rename or removal of a directory first lets nobody
 * in any more (op_still) and then waits for those inside below it: they finish with the keys they know. They
 * wait for nothing that it holds, since it is inside further up; only a directory that goes to another
 * one could be waited for in a circle, so of these there is one at a time (tree->topology). */
#include "s3proxyd/op/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"

struct name_lock {
    struct table_node node;
    struct inode *parent; /* referenced */
    char *name;
    size_t len;
    unsigned users;
    struct op *inside; /* the holder, once it has all its names and nothing above is moving */
    struct alock lock;
};

/* One table per process: the locks of all trees. Main loop only. */
static struct table locks;
/* Ops that wait for those inside. */
static struct list outside = LIST_INIT(outside);

struct lock_key {
    const struct inode *parent;
    struct msg_str name;
};

static bool lock_eq(const struct table_node *node, const void *key)
{
    const struct name_lock *l = container_of(node, struct name_lock, node);
    const struct lock_key *k = key;
    return l->parent == k->parent && l->len == k->name.len &&
           memcmp(l->name, k->name.s, l->len) == 0;
}

static void lock_put(struct name_lock *l)
{
    if (--l->users)
        return;
    table_del(&locks, &l->node);
    inode_unref(l->parent);
    free(l->name);
    free(l);
}

static int lock_get(struct inode *parent, struct msg_str name, struct name_lock **ret)
{
    struct lock_key key = {parent, name};
    uint64_t hash = table_hash_bytes(name.s, name.len) ^ table_hash_u64(parent->ino);
    struct table_node *n = table_find(&locks, hash, lock_eq, &key);
    struct name_lock *l = n ? container_of(n, struct name_lock, node) : calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    if (!n) {
        l->name = strndup(name.s, name.len);
        if (!l->name || table_add(&locks, &l->node, hash) < 0) {
            free(l->name);
            free(l);
            return -ENOMEM;
        }
        l->len = name.len;
        l->parent = inode_ref(parent);
        alock_init(&l->lock);
    }
    l->users++;
    *ret = l;
    return 0;
}

static void granted(struct alock_wait *wait)
{
    op_wake_soon(wait->who);
}

/* 0: ours | OP_PARK: it will be ours when we are woken | -ENOMEM */
static int take_name(struct op *op, struct op_name *n, struct inode *parent, struct msg_str name)
{
    if (n->lock)
        return 0;
    int r = lock_get(parent, name, &n->lock);
    if (r < 0)
        return r;
    n->wait = (struct alock_wait){.who = op, .granted = granted};
    list_init(&n->wait.link);
    return alock_acquire(&n->lock->lock, &n->wait) ? 0 : OP_PARK;
}

/* All names are held; but while they were waited for, the directories may have moved or gone. */
static int enter(struct op *op, const struct inode *p1, const struct inode *p2)
{
    if (p1->gone || p2->gone)
        return -ENOENT;
    int r = op_wait_moving(op, p1);
    if (r == 0)
        r = op_wait_moving(op, p2);
    if (r) {
        op_restart(op);
        op->step = 0;
        return r;
    }
    for (size_t i = 0; i < ARRAY_SIZE(op->names); i++)
        if (op->names[i].lock)
            op->names[i].lock->inside = op;
    return 0;
}

int op_lock_name(struct op *op, struct inode *parent, struct msg_str name)
{
    int r = take_name(op, &op->names[0], parent, name);
    return r ? r : enter(op, parent, parent);
}

static int name_cmp(const struct inode *p1, struct msg_str n1, const struct inode *p2,
                    struct msg_str n2)
{
    if (p1->ino != p2->ino)
        return p1->ino < p2->ino ? -1 : 1;
    int c = memcmp(n1.s, n2.s, MIN(n1.len, n2.len));
    return c ? c : n1.len < n2.len ? -1 : n1.len > n2.len;
}

int op_lock_names(struct op *op, struct inode *p1, struct msg_str n1, struct inode *p2,
                  struct msg_str n2)
{
    int order = name_cmp(p1, n1, p2, n2);
    int r = order <= 0 ? take_name(op, &op->names[0], p1, n1)
                       : take_name(op, &op->names[0], p2, n2);
    if (r == 0 && order)
        r = order < 0 ? take_name(op, &op->names[1], p2, n2)
                      : take_name(op, &op->names[1], p1, n1);
    return r ? r : enter(op, p1, p2);
}

void op_unlock_names(struct op *op)
{
    for (size_t i = ARRAY_SIZE(op->names); i-- > 0;) {
        struct name_lock *l = take(op->names[i].lock);
        if (!l)
            continue;
        if (l->inside == op)
            l->inside = NULL;
        if (l->lock.holder == op)
            alock_release(&l->lock, op);
        else
            list_del(&op->names[i].wait.link);
        lock_put(l);
    }
    struct list waiters = LIST_INIT(waiters);
    list_splice_tail(&waiters, &outside);
    struct move_wait *w;
    while ((w = list_first(&waiters, struct move_wait, link))) {
        list_del(&w->link);
        op_wake_soon(w->op);
    }
}

bool op_wait_inside(struct op *self, const struct inode *dir)
{
    for (struct table_node *n = table_next(&locks, NULL); n; n = table_next(&locks, n)) {
        const struct name_lock *l = container_of(n, struct name_lock, node);
        if (!l->inside || l->inside == self || !inode_below(l->parent, dir))
            continue;
        self->move_wait.op = self;
        list_add_tail(&outside, &self->move_wait.link);
        return true;
    }
    return false;
}

int op_restart(struct op *op)
{
    struct inode **held[] = {&op->inode, &op->parent, &op->new_parent, &op->child, &op->target};
    op_unlock_names(op);
    op_unstill(op);
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        if (*held[i])
            inode_unref(take(*held[i]));
    return OP_RESTART;
}
