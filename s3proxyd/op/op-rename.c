/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* RENAME. S3 has no rename: copy, check, delete. Unsaved data below the source is saved first (a file that
 * was never saved only changes its name); from then until the end everything that needs the old or the
 * new keys waits. At any moment the source or the target, or both, are complete in the store. */
#include "s3proxyd/op/op-rename.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"

static int rename_parent(struct op *op)
{
    const struct msg_rename_req *m = &op->req.rename;
    int r = op_resolve_dir(op, m->parent, &op->parent);
    if (r == 0)
        r = key_name_check(m->name.s, m->name.len);
    return r ? r : key_name_check(m->new_name.s, m->new_name.len);
}

static int rename_new_parent(struct op *op)
{
    return op_resolve_dir(op, op->req.rename.new_parent, &op->new_parent);
}

static int rename_lock(struct op *op)
{
    const struct msg_rename_req *m = &op->req.rename;
    return op_lock_names(op, op->parent, m->name, op->new_parent, m->new_name);
}

static int rename_ask_source(struct op *op)
{
    return op_child(op, op->parent, op->req.rename.name, false);
}

static int rename_ask_target(struct op *op)
{
    if (op->child)
        op->inode = take(op->child);
    if (!op->inode)
        return -ENOENT;
    return op_child(op, op->new_parent, op->req.rename.new_name, false);
}

static int rename_check(struct op *op)
{
    struct inode *src = op->inode;
    op->target = take(op->child);
    struct inode *dst = op->target;
    if (dst == src)
        return OP_REPLY(op, rename, );
    if (dst && op->req.rename.noreplace)
        return -EEXIST;
    if (src->is_dir && inode_below(op->new_parent, src))
        return -EINVAL;
    if (dst && dst->is_dir && inode_below(op->parent, dst))
        return -ENOTEMPTY;
    if (dst && src->is_dir && !dst->is_dir)
        return -ENOTDIR;
    if (dst && !src->is_dir && dst->is_dir)
        return -EISDIR;
    return 0;
}

static void topology_granted(struct alock_wait *wait)
{
    struct op *op = wait->who;
    op->topology = &op->session->tree->topology;
    op_wake_soon(op);
}

/* Two directories that go into each other would leave the tree. */
static int rename_topology(struct op *op)
{
    if (!op->inode->is_dir || op->parent == op->new_parent || op->topology)
        return 0;
    op_restart(op); /* the lock comes before the names */
    op->alock_wait = (struct alock_wait){.who = op, .granted = topology_granted};
    list_init(&op->alock_wait.link);
    if (alock_acquire(&op->session->tree->topology, &op->alock_wait)) {
        op->topology = &op->session->tree->topology;
        return OP_RESTART;
    }
    op->step = 0;
    return OP_PARK;
}

static int rename_still(struct op *op)
{
    int r = op_still(op, op->inode);
    return r || !op->target ? r : op_still(op, op->target);
}

/* A directory in the way must be empty. */
static int rename_list_target(struct op *op)
{
    return op->target && op->target->is_dir ? op_list_below(op, op->target) : 0;
}

static int rename_target_empty(struct op *op)
{
    return op->target && op->target->is_dir ? op_nothing_below(op, op->target) : 0;
}

static int park(int r)
{
    return r == -EINPROGRESS ? OP_PARK : r;
}

/* Saves what is unsaved, one file after the other, until nothing is: nobody writes any more. */
static int rename_settle(struct op *op)
{
    struct op_rename *rn = op->priv;
    struct inode *src = op->inode, *i;
    if (!src->is_dir) {
        rn->in_memory = src->created && !src->commit;
        if (inode_dirty(src) && !rn->in_memory) {
            int r = op_commit(op, src);
            if (r)
                return park(r);
        }
    } else {
        list_for_each(i, &op->fs->dirty, dirty_link) {
            if (i->gone || !inode_dirty(i) || !inode_below(i, src))
                continue;
            int r = op_commit(op, i);
            if (r)
                return park(r);
        }
    }
    return 0;
}

static int rename_keep_parent(struct op *op)
{
    return op_keep_dir(op);
}

/* ---- a file */

static void file_copied(struct copy *copy)
{
    struct op *op = copy->arg;
    snprintf(op->store.error_text, sizeof(op->store.error_text), "%s", copy->error_text);
    op_wake(op, copy->error);
}

static int rename_copy(struct op *op)
{
    struct op_rename *rn = op->priv;
    if (op->inode->is_dir) {
        rn->begun = true;
        return rename_dir_list(op);
    }
    if (rn->in_memory)
        return 0;
    _cleanup_(freep) char *name = msg_str_dup(op->req.rename.new_name);
    if (!name)
        return -ENOMEM;
    free(take(op->key));
    free(take(op->key2));
    int r = inode_key(op->inode, &op->key);
    if (r == 0)
        r = inode_child_key(op->new_parent, name, false, &op->key2);
    if (r < 0)
        return r;
    rn->begun = true;
    rn->copy = (struct copy){.store = op->session->tree->store,
                             .src = op->key,
                             .dst = op->key2,
                             .if_match = op->inode->etag,
                             .size = op->inode->size,
                             .if_absent = op->req.rename.noreplace,
                             .done = file_copied,
                             .arg = op};
    copy_start(&rn->copy);
    return -EINPROGRESS;
}

static int rename_copy_below(struct op *op)
{
    return op->inode->is_dir ? rename_dir_copy(op) : 0;
}

static int rename_delete(struct op *op)
{
    struct op_rename *rn = op->priv;
    if (op->inode->is_dir)
        return rename_dir_delete(op);
    if (rn->in_memory && inode_unstored(op->inode))
        return 0;
    free(take(op->key));
    int r = inode_key(op->inode, &op->key);
    if (r < 0)
        return r;
    store_req_fini(&op->store);
    op->store = (struct store_req){.op = STORE_DELETE, .key = op->key};
    return op_store(op);
}

/* ---- the new name */

static void tell(struct op *op, struct inode *dir, struct msg_str name)
{
    _cleanup_(freep) char *s = msg_str_dup(name);
    if (!s)
        return;
    inode_touch_dir(dir);
    push_entry(dir, s, op->session);
    push_attr(dir, op->session, false);
    tree_echo(dir->tree, dir, s);
}

static void new_version(struct op *op)
{
    struct op_rename *rn = op->priv;
    struct inode *src = op->inode;
    if (src->is_dir || rn->in_memory)
        return;
    if (!(src->set & DB_SET_MTIME)) { /* the copy's LastModified is now; people see the original's */
        src->set |= DB_SET_MTIME;
        src->mtime_ns = src->store_mtime_ns;
    }
    uint64_t size = src->size;
    const struct store *store = src->tree->store;
    struct cache_key from = {
        store->endpoint, store->bucket, op->key, src->etag, src->tree->scope, size};
    struct cache_key to = from;
    to.key = op->key2;
    to.etag = rn->copy.etag;
    if (src->etag && to.etag)
        cache_rename(op->fs->cache, &from, &to);
    inode_set_version(src, rn->copy.etag, size, rn->copy.mtime_ns, clock_mono_ns());
    commit_retire(src); /* what its spool is based on has gone */
}

static int rename_move(struct op *op)
{
    const struct msg_rename_req *m = &op->req.rename;
    struct op_rename *rn = op->priv;
    struct inode *src = op->inode, *dst = op->target;
    if (dst) {
        if (dst->is_dir)
            dir_drop_children(dst);
        inode_changed(dst);
        inode_keep_last(dst);
        inode_forget_cached(dst);
        inode_detach(dst);
        if (!dst->is_dir)
            commit_discard(dst);
    }
    struct inode *other = inode_child(op->new_parent, m->new_name.s, m->new_name.len);
    if (other) /* a listing saw our copy before us */
        inode_detach(other);
    int r = inode_move(src, op->new_parent, m->new_name.s, m->new_name.len);
    if (r < 0) {
        dir_expire(op->parent);
        dir_expire(op->new_parent);
        return r;
    }
    rn->renamed = true;
    src->excl = false; /* something may be at the new name, and may be replaced */
    if (dst && rn->in_memory)
        src->created = false; /* the store still has what was there: an unlink must remove it */
    new_version(op);
    if (src->is_dir) {
        db_del_listings_below(op->fs->db, src->tree->bucket_no, rn->src_prefix);
        db_del_listings_below(op->fs->db, src->tree->bucket_no, rn->dst_prefix);
        rename_dir_versions(op);
    }
    inode_changed(src);
    inode_save_row(src);
    dir_note_absent(op->parent, m->name.s, m->name.len, clock_mono_ns());
    tell(op, op->parent, m->name);
    tell(op, op->new_parent, m->new_name);
    return 0;
}

static int rename_reply(struct op *op)
{
    return OP_REPLY(op, rename, );
}

void rename_fini(struct op *op)
{
    struct op_rename *rn = op->priv;
    copy_fini(&rn->copy);
    for (size_t i = 0; i < rn->nkeys; i++) {
        free(rn->keys[i].src);
        free(rn->keys[i].dst);
        free(rn->keys[i].etag);
        free(rn->keys[i].new_etag);
    }
    free(rn->keys);
    free(rn->batch);
    free(rn->src_prefix);
    free(rn->dst_prefix);
    free(rn->token);
    if (rn->begun && !rn->renamed) { /* it failed in the middle: ask the store what is where */
        dir_expire(op->parent);
        dir_expire(op->new_parent);
        op->fs->change++;
        dir_forget(op->inode);
        if (op->target)
            dir_forget(op->target);
    }
}

const struct op_step rename_steps[] = {
    {"parent", rename_parent},          {"new parent", rename_new_parent},
    {"lock", rename_lock},              {"source", rename_ask_source},
    {"target", rename_ask_target},      {"check", rename_check},
    {"topology", rename_topology},      {"still", rename_still},
    {"list target", rename_list_target}, {"target empty", rename_target_empty},
    {"settle", rename_settle},          {"keep", rename_keep_parent},
    {"copy", rename_copy},              {"copy below", rename_copy_below},
    {"delete", rename_delete},          {"move", rename_move},
    {"keep", op_rows_kept},             {"reply", rename_reply},
    {NULL, NULL},
};
