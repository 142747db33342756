/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* RENAME of a directory: list everything below it, copy it side by side, and only when every copy is there
 * delete the originals, exactly the keys that were copied. When a copy fails the copies made so far are
 * removed again and the source is as it was. */
#include "s3proxyd/op/op-rename.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"

#define RENAME_KEYS_MAX (4u * 1024 * 1024)
#define DELETE_BATCH 1000u

static int take_key(struct op_rename *rn, struct store_entry *e)
{
    if (rn->nkeys == rn->cap) {
        size_t cap = rn->cap ? rn->cap * 2 : 64;
        struct rename_key *p =
            cap > RENAME_KEYS_MAX ? NULL : reallocarray(rn->keys, cap, sizeof(*p));
        if (!p)
            return -ENOMEM;
        rn->keys = p;
        rn->cap = cap;
    }
    struct rename_key *k = &rn->keys[rn->nkeys++];
    *k = (struct rename_key){.src = take(e->key), .etag = take(e->etag), .size = e->size};
    k->dst = str_dup_printf("%s%s", rn->dst_prefix, k->src + strlen(rn->src_prefix));
    if (!k->dst)
        return -ENOMEM;
    return strlen(k->dst) > PROTO_KEY_MAX_BYTES ? -ENAMETOOLONG : 0;
}

static void list_page(struct op *op);

static void listed(struct store_req *req)
{
    struct op *op = container_of(req, struct op, store);
    struct op_rename *rn = op->priv;
    int r = req->error;
    for (size_t i = 0; r == 0 && i < req->nentries; i++)
        r = take_key(rn, &req->entries[i]);
    free(rn->token);
    rn->token = take(req->next_token);
    if (r == 0 && rn->token)
        list_page(op);
    else
        op_wake(op, r);
}

static void list_page(struct op *op)
{
    struct op_rename *rn = op->priv;
    store_req_fini(&op->store);
    op->store = (struct store_req){.op = STORE_LIST,
                                   .key = rn->src_prefix,
                                   .list = {.recursive = true, .token = rn->token},
                                   .done = listed};
    store_submit(op->session->tree->store, &op->store);
}

int rename_dir_list(struct op *op)
{
    struct op_rename *rn = op->priv;
    _cleanup_(freep) char *name = msg_str_dup(op->req.rename.new_name);
    if (!name)
        return -ENOMEM;
    int r = inode_key(op->inode, &rn->src_prefix);
    if (r == 0)
        r = inode_child_key(op->new_parent, name, true, &rn->dst_prefix);
    if (r < 0)
        return r;
    list_page(op);
    return -EINPROGRESS;
}

/* ---- copies */

static void copies_ended(struct op *op);

static void copy_next(struct op *op, struct rename_slot *slot)
{
    struct op_rename *rn = op->priv;
    slot->op = op;
    slot->key = rn->next++;
    struct rename_key *k = &rn->keys[slot->key];
    void (*done)(struct copy *) = slot->copy.done;
    slot->copy = (struct copy){.store = op->session->tree->store,
                               .src = k->src,
                               .dst = k->dst,
                               .if_match = k->etag,
                               .size = k->size,
                               .done = done};
    rn->running++;
    copy_start(&slot->copy);
}

static void one_copied(struct copy *copy)
{
    struct rename_slot *slot = container_of(copy, struct rename_slot, copy);
    struct op *op = slot->op;
    struct op_rename *rn = op->priv;
    if (copy->error == 0) {
        rn->keys[slot->key].new_etag = take(copy->etag);
        rn->keys[slot->key].mtime_ns = copy->mtime_ns;
    } else if (rn->error == 0) {
        rn->error = copy->error;
        snprintf(op->store.error_text, sizeof(op->store.error_text), "%s", copy->error_text);
        log_warn("rename", "copying %s: %s", log_esc(rn->keys[slot->key].src),
                 log_esc(copy->error_text));
    }
    void (*done)(struct copy *) = copy->done;
    copy_fini(copy);
    copy->done = done;
    rn->running--;
    if (rn->error == 0 && rn->next < rn->nkeys)
        copy_next(op, slot);
    else if (rn->running == 0)
        copies_ended(op);
}

int rename_dir_copy(struct op *op)
{
    struct op_rename *rn = op->priv;
    if (rn->nkeys == 0)
        return 0; /* a directory that only exists here, without a marker */
    for (unsigned i = 0; i < RENAME_COPIES_AT_ONCE && rn->next < rn->nkeys; i++) {
        rn->slots[i].copy.done = one_copied;
        copy_next(op, &rn->slots[i]);
    }
    return -EINPROGRESS;
}

/* ---- deletes: of the originals, or after a failure of the copies */

static void delete_batch(struct op *op);

static void batch_deleted(struct store_req *req)
{
    struct op *op = container_of(req, struct op, store);
    struct op_rename *rn = op->priv;
    int r = req->error;
    for (size_t i = 0; r == 0 && req->key_errors && i < req->nkeys; i++)
        if (req->key_errors[i] < 0 && req->key_errors[i] != -ENOENT)
            r = req->key_errors[i];
    if (rn->error < 0) { /* cleaning up: go on whatever happens, and report the first error */
        if (rn->deleted < rn->next)
            delete_batch(op);
        else
            op_wake(op, rn->error);
        return;
    }
    if (r == 0 && rn->deleted < rn->nkeys)
        delete_batch(op);
    else
        op_wake(op, r);
}

static void delete_batch(struct op *op)
{
    struct op_rename *rn = op->priv;
    size_t n = 0, limit = rn->error < 0 ? rn->next : rn->nkeys;
    for (; rn->deleted < limit && n < DELETE_BATCH; rn->deleted++) {
        /* Last first: stores that keep objects as files want a directory empty before its marker goes. */
        const struct rename_key *k = &rn->keys[limit - 1 - rn->deleted];
        if (rn->error == 0)
            rn->batch[n++] = k->src;
        else if (k->new_etag)
            rn->batch[n++] = k->dst;
    }
    if (n == 0) {
        op_wake(op, rn->error);
        return;
    }
    char text[sizeof(op->store.error_text)];
    memcpy(text, op->store.error_text, sizeof(text));
    store_req_fini(&op->store);
    op->store = (struct store_req){
        .op = STORE_DELETE_MANY, .keys = rn->batch, .nkeys = n, .done = batch_deleted};
    memcpy(op->store.error_text, text, sizeof(text));
    store_submit(op->session->tree->store, &op->store);
}

static int batch_alloc(struct op_rename *rn)
{
    if (!rn->batch)
        rn->batch = calloc(DELETE_BATCH, sizeof(*rn->batch));
    return rn->batch ? 0 : -ENOMEM;
}

static void copies_ended(struct op *op)
{
    struct op_rename *rn = op->priv;
    if (rn->error == 0 || batch_alloc(rn) < 0)
        op_wake(op, rn->error);
    else
        delete_batch(op);
}

int rename_dir_delete(struct op *op)
{
    struct op_rename *rn = op->priv;
    if (rn->nkeys == 0)
        return 0;
    if (batch_alloc(rn) < 0)
        return -ENOMEM;
    delete_batch(op);
    return -EINPROGRESS;
}

/* ---- afterwards */

static struct inode *find_below(struct inode *dir, const char *path)
{
    while (dir && *path) {
        size_t len = strcspn(path, "/");
        dir = dir->is_dir ? inode_child(dir, path, len) : NULL;
        path += len;
        if (*path == '/' && *++path == 0)
            return NULL; /* a marker */
    }
    return dir;
}

void rename_dir_versions(struct op *op)
{
    struct op_rename *rn = op->priv;
    for (size_t i = 0; i < rn->nkeys; i++) {
        struct rename_key *k = &rn->keys[i];
        struct inode *f = find_below(op->inode, k->src + strlen(rn->src_prefix));
        if (!f || f->is_dir || !k->new_etag)
            continue;
        /* The copy's LastModified is now; what people see stays the original's. */
        if (!(f->set & DB_SET_MTIME)) {
            f->set |= DB_SET_MTIME;
            f->mtime_ns = f->store_mtime_ns;
        }
        inode_set_version(f, k->new_etag, k->size, k->mtime_ns, f->fetched_ns);
        commit_retire(f);
        inode_save_row(f);
    }
}
