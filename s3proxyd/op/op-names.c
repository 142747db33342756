/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* UNLINK, MKDIR, RMDIR. A directory is its marker object `key/`; it is removed only when the store shows
 * nothing else below it, hidden keys included. */
#include "s3proxyd/op/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"

static int unlink_parent(struct op *op)
{
    int r = op_resolve_dir(op, op->req.unlink.parent, &op->parent);
    return r ? r : key_name_check(op->req.unlink.name.s, op->req.unlink.name.len);
}

static int unlink_lock(struct op *op)
{
    return op_lock_name(op, op->parent, op->req.unlink.name);
}

static int unlink_ask(struct op *op)
{
    return op_child(op, op->parent, op->req.unlink.name, false);
}

static int unlink_check(struct op *op)
{
    if (!op->child)
        return -ENOENT;
    return op->child->is_dir ? -EISDIR : 0;
}

/* A save under way, or one that comes later, would bring the object back. */
static int remove_still(struct op *op)
{
    return op_still(op, op->child);
}

static int unlink_keep_parent(struct op *op)
{
    return op_keep_dir(op);
}

static int unlink_delete(struct op *op)
{
    if (inode_unstored(op->child))
        return 0;
    int r = inode_key(op->child, &op->key);
    if (r < 0)
        return r;
    store_req_fini(&op->store);
    op->store = (struct store_req){.op = STORE_DELETE, .key = op->key};
    return op_store(op);
}

/* Takes the name away everywhere and tells every mount but the caller's. */
static void remove_name(struct op *op)
{
    struct inode *child = op->child;
    struct msg_str name = op->req.unlink.name;
    dir_note_absent(op->parent, name.s, name.len, clock_mono_ns());
    inode_touch_dir(op->parent);
    inode_changed(child);
    push_entry(op->parent, child->name, op->session);
    push_attr(op->parent, op->session, false);
    push_attr(child, op->session, false);
    tree_echo(child->tree, op->parent, child->name);
    inode_keep_last(child);
    inode_forget_cached(child);
    inode_detach(child);
    if (!child->is_dir)
        commit_discard(child);
}

static int unlink_apply(struct op *op)
{
    remove_name(op);
    return 0;
}

static int unlink_reply(struct op *op)
{
    return OP_REPLY(op, unlink, );
}

const struct op_step unlink_steps[] = {
    {"parent", unlink_parent}, {"lock", unlink_lock},        {"ask", unlink_ask},
    {"check", unlink_check},   {"still", remove_still},      {"keep", unlink_keep_parent},
    {"delete", unlink_delete}, {"apply", unlink_apply},      {"rows", op_rows_kept},
    {"reply", unlink_reply},   {NULL, NULL},
};

/* ---- RMDIR */

static int rmdir_still(struct op *op)
{
    if (!op->child)
        return -ENOENT;
    return op->child->is_dir ? op_still(op, op->child) : -ENOTDIR;
}

int op_list_below(struct op *op, const struct inode *dir)
{
    free(take(op->key));
    int r = inode_key(dir, &op->key);
    if (r < 0)
        return r;
    store_req_fini(&op->store);
    op->store = (struct store_req){
        .op = STORE_LIST, .key = op->key, .list = {.recursive = true, .max_keys = 2}};
    return op_store(op);
}

int op_nothing_below(const struct op *op, const struct inode *dir)
{
    if (op->store.next_token && op->store.nentries < 2)
        return -ENOTEMPTY; /* a short page that says there is more */
    for (size_t i = 0; i < op->store.nentries; i++)
        if (strcmp(op->store.entries[i].key, op->key) != 0)
            return -ENOTEMPTY;
    /* Made here, and the listing does not show it. */
    return commit_dirty_below(dir) ? -ENOTEMPTY : 0;
}

static int rmdir_list(struct op *op)
{
    return op_list_below(op, op->child);
}

static int rmdir_check(struct op *op)
{
    return op_nothing_below(op, op->child);
}

static int rmdir_delete(struct op *op)
{
    store_req_fini(&op->store);
    op->store = (struct store_req){.op = STORE_DELETE, .key = op->key};
    return op_store(op);
}

static int rmdir_apply(struct op *op)
{
    dir_drop_children(op->child);
    remove_name(op);
    return 0;
}

static int rmdir_reply(struct op *op)
{
    return OP_REPLY(op, rmdir, );
}

const struct op_step rmdir_steps[] = {
    {"parent", unlink_parent}, {"lock", unlink_lock},  {"ask", unlink_ask},
    {"still", rmdir_still},    {"list", rmdir_list},   {"check", rmdir_check},
    {"keep", unlink_keep_parent}, {"delete", rmdir_delete}, {"apply", rmdir_apply},
    {"rows", op_rows_kept},       {"reply", rmdir_reply},   {NULL, NULL},
};

/* ---- MKDIR */

static int mkdir_parent(struct op *op)
{
    int r = op_resolve_dir(op, op->req.mkdir.parent, &op->parent);
    return r ? r : key_name_check(op->req.mkdir.name.s, op->req.mkdir.name.len);
}

static int mkdir_lock(struct op *op)
{
    return op_lock_name(op, op->parent, op->req.mkdir.name);
}

static int mkdir_ask(struct op *op)
{
    return op_child(op, op->parent, op->req.mkdir.name, false);
}

static int mkdir_put(struct op *op)
{
    if (op->child)
        return -EEXIST;
    _cleanup_(freep) char *name = msg_str_dup(op->req.mkdir.name);
    if (!name)
        return -ENOMEM;
    int r = inode_child_key(op->parent, name, true, &op->key);
    if (r < 0)
        return r;
    op->store = (struct store_req){
        .op = STORE_PUT, .key = op->key, .body = {.fd = -1, .memory = ""}};
    return op_store(op);
}

static int mkdir_make(struct op *op)
{
    const struct msg_mkdir_req *m = &op->req.mkdir;
    struct inode *i = inode_child(op->parent, m->name.s, m->name.len);
    int r = 0;
    if (i && i->is_dir) /* a listing saw it before us */
        inode_ref(i);
    else
        r = i ? -EEXIST
              : inode_new(op->session->tree, op->parent, m->name.s, m->name.len, true, 0, &i);
    if (r < 0)
        return r;
    op->child = i;
    i->mode = (uint32_t)m->mode & 07777;
    i->uid = (uint32_t)m->uid;
    i->gid = (uint32_t)m->gid;
    i->set = DB_SET_MODE | DB_SET_UID | DB_SET_GID;
    i->fetched_ns = clock_mono_ns();
    i->dir->marker = i->dir->complete = true; /* just made: it has no entries */
    i->dir->listed_ns = i->fetched_ns;
    inode_changed(i);
    r = dir_add(i);
    if (r < 0)
        op->parent->dir->complete = false;
    inode_save_row(i);
    inode_touch_dir(op->parent);
    push_entry(op->parent, i->name, op->session);
    push_attr(op->parent, op->session, false);
    tree_echo(i->tree, op->parent, i->name);
    return 0;
}

static int mkdir_reply(struct op *op)
{
    struct op_entry e;
    int r = op_entry(op, op->child, &e);
    if (r < 0)
        return r;
    return OP_REPLY(op, mkdir, .attr = e.attr, .attr_ttl_ms = e.ttl_ms, .entry_ttl_ms = e.ttl_ms,
                    .stamp = e.stamp);
}

const struct op_step mkdir_steps[] = {
    {"parent", mkdir_parent}, {"lock", mkdir_lock},   {"ask", mkdir_ask},
    {"put", mkdir_put},       {"make", mkdir_make}, {"keep", op_rows_kept},
    {"reply", mkdir_reply},   {NULL, NULL},
};
