/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The inode table: numbers, names, references, attributes. */
#include "s3proxyd/fs/fs.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/fs/commit.h"
#include "s3proxyd/fs/dir.h"

struct name_key {
    const struct inode *parent;
    const char *name;
    size_t len;
};

static uint64_t name_hash(const struct inode *parent, const char *name, size_t len)
{
    return table_hash_bytes(name, len) ^ table_hash_u64(parent->ino);
}

static bool ino_eq(const struct table_node *node, const void *key)
{
    return container_of(node, struct inode, by_ino)->ino == *(const uint64_t *)key;
}

static bool name_eq(const struct table_node *node, const void *key)
{
    const struct inode *i = container_of(node, struct inode, by_name);
    const struct name_key *k = key;
    return i->parent == k->parent && strlen(i->name) == k->len &&
           memcmp(i->name, k->name, k->len) == 0;
}

struct inode *inode_find(struct fs *fs, uint64_t ino)
{
    struct table_node *n = table_find(&fs->inodes, table_hash_u64(ino), ino_eq, &ino);
    return n ? container_of(n, struct inode, by_ino) : NULL;
}

struct inode *inode_child(const struct inode *parent, const char *name, size_t len)
{
    struct name_key key = {parent, name, len};
    struct table_node *n =
        table_find(&parent->tree->fs->names, name_hash(parent, name, len), name_eq, &key);
    return n ? container_of(n, struct inode, by_name) : NULL;
}

static void inode_free(struct inode *inode)
{
    struct fs *fs = inode->tree->fs;
    must(!inode->commit && !inode->handles && !inode->sessions && !inode->listed);
    list_del(&inode->dirty_link);
    table_del(&fs->inodes, &inode->by_ino);
    if (inode->parent) {
        table_del(&fs->names, &inode->by_name);
        if (inode->set && inode->parent->dir) /* its row knows more than the store: look again */
            inode->parent->dir->rows_loaded = false;
        inode_unref(take(inode->parent));
    }
    if (inode->spool && inode->gone)
        spool_free(inode->spool);
    else if (inode->spool)
        spool_set_aside(inode->spool);
    inode_drop_obj(inode);
    dir_free(inode);
    free(inode->etag);
    free(inode->name);
    free(inode);
}

int inode_new(struct tree *tree, struct inode *parent, const char *name, size_t len, bool is_dir,
              uint64_t ino, struct inode **ret_inode)
{
    struct fs *fs = tree->fs;
    struct inode *i = calloc(1, sizeof(*i));
    if (!i)
        return -ENOMEM;
    i->tree = tree;
    i->is_dir = is_dir;
    i->refs = 1;
    i->ino = ino ? ino : db_next_ino(fs->db);
    i->mtime_ns = i->ctime_ns = i->store_mtime_ns = clock_real_ns();
    list_init(&i->dirty_link);
    list_init(&i->move_waiters);
    alock_init(&i->append);
    i->name = strndup(name, len);
    if (!i->name || (is_dir && dir_alloc(i) < 0))
        goto nomem;
    if (i->dir)
        i->dir->rows_loaded = ino == 0; /* a new number has no rows below it */
    if (table_add(&fs->inodes, &i->by_ino, table_hash_u64(i->ino)) < 0)
        goto nomem;
    if (parent) {
        if (table_add(&fs->names, &i->by_name, name_hash(parent, name, len)) < 0) {
            table_del(&fs->inodes, &i->by_ino);
            goto nomem;
        }
        i->parent = inode_ref(parent);
    }
    *ret_inode = i;
    return 0;
nomem:
    dir_free(i);
    free(i->name);
    free(i);
    return -ENOMEM;
}

struct inode *inode_ref(struct inode *inode)
{
    inode->refs++;
    return inode;
}

void inode_unref(struct inode *inode)
{
    must(inode->refs > 0);
    if (--inode->refs == 0)
        inode_free(inode);
}

bool inode_below(const struct inode *inode, const struct inode *root)
{
    for (const struct inode *i = inode; i; i = i->parent)
        if (i == root)
            return true;
    return false;
}

bool inode_busy_moving(const struct inode *inode, struct inode **ret_moving)
{
    for (const struct inode *i = inode; i; i = i->parent)
        if (i->moving) {
            *ret_moving = (struct inode *)i;
            return true;
        }
    return false;
}

bool inode_dirty(const struct inode *inode)
{
    return !inode->is_dir && (inode->created || inode->untouched || inode->commit ||
                              (inode->spool && spool_dirty(inode->spool)));
}

bool inode_unstored(const struct inode *inode)
{
    return inode->created && !inode->failed_ns;
}

uint64_t inode_size(const struct inode *inode)
{
    return inode->spool ? spool_size(inode->spool) : inode->size;
}

bool inode_fresh(const struct inode *inode, uint64_t ttl_ms)
{
    if (inode->gone || !inode->parent || inode->spool || inode->created || inode->commit)
        return true;
    return inode->fetched_ns && clock_mono_ns() - inode->fetched_ns < ttl_ms * NS_PER_MS;
}

void inode_attr(const struct inode *inode, const struct session *s, struct msg_attr *ret)
{
    uint32_t usual = inode->is_dir ? s->dir_mode : s->file_mode;
    uint32_t perm = inode->set & DB_SET_MODE ? inode->mode : usual;
    uint64_t size = inode->is_dir ? 4096 : inode_size(inode);
    int64_t mtime = inode->set & DB_SET_MTIME ? inode->mtime_ns : inode->store_mtime_ns;
    *ret = (struct msg_attr){
        .ino = inode->ino,
        .generation = 1,
        .mode = (inode->is_dir ? S_IFDIR : S_IFREG) | (perm & 07777),
        .nlink = inode->gone ? 0 : inode->is_dir ? 2 : 1,
        .uid = inode->set & DB_SET_UID ? inode->uid : s->uid,
        .gid = inode->set & DB_SET_GID ? inode->gid : s->gid,
        .size = size,
        .blocks = size / 512 + (size % 512 != 0),
        .atime_ns = inode->set & DB_SET_ATIME ? inode->atime_ns : mtime,
        .mtime_ns = mtime,
        .ctime_ns = MAX(inode->ctime_ns, inode->store_mtime_ns),
    };
}

void inode_keep_last(struct inode *inode)
{
    struct cache_obj *last;
    if (inode->handles && !inode->spool && inode->etag && inode_obj(inode, &last) < 0)
        log_debug("inode", "the last version of %s cannot be kept", log_esc(inode->name));
}

void inode_detach(struct inode *inode)
{
    if (!inode->parent)
        return;
    struct fs *fs = inode->tree->fs;
    inode_ref(inode);
    inode_keep_last(inode);
    dir_load_removed(inode->parent, inode->name);
    dir_remove(inode);
    table_del(&fs->names, &inode->by_name);
    inode->gone = true;
    if (inode->row_saved) {
        db_del_inode(fs->db, inode->ino);
        inode->row_saved = false;
    }
    inode_unref(take(inode->parent));
    inode_unref(inode);
}

int inode_move(struct inode *inode, struct inode *new_parent, const char *name, size_t len)
{
    struct fs *fs = inode->tree->fs;
    char *copy = strndup(name, len);
    if (!copy)
        return -ENOMEM;
    must(!inode_child(new_parent, name, len) && inode->parent);
    struct inode *old = inode->parent;
    inode_ref(inode);
    dir_load_removed(old, inode->name);
    dir_remove(inode);
    table_del(&fs->names, &inode->by_name);
    free(inode->name);
    inode->name = copy;
    inode->parent = inode_ref(new_parent);
    /* The table has just lost a member, so adding one needs no memory. */
    must(table_add(&fs->names, &inode->by_name, name_hash(new_parent, name, len)) == 0);
    inode_unref(old);
    if (dir_add(inode) < 0)
        log_debug("inode", "out of memory: %s is looked up again", log_esc(inode->name));
    if (inode->row_saved)
        inode_save_row(inode);
    inode_unref(inode);
    return 0;
}

void inode_save_row(struct inode *inode)
{
    if (inode->gone)
        return;
    struct db_inode row = {
        .ino = inode->ino,
        .bucket = inode->tree->bucket_no,
        .parent = inode->parent ? inode->parent->ino : 0,
        .name = inode->parent ? inode->name : "",
        .generation = 1,
        .type = inode->is_dir ? S_IFDIR : S_IFREG,
        .set = inode->set,
        .mode = inode->mode,
        .uid = inode->uid,
        .gid = inode->gid,
        .atime_ns = inode->atime_ns,
        .mtime_ns = inode->mtime_ns,
        .ctime_ns = inode->ctime_ns,
        .etag = inode->etag ? inode->etag : "",
    };
    db_put_inode(inode->tree->fs->db, &row);
    inode->row_saved = true;
    inode->row_ns = clock_mono_ns();
    /* What is remembered of a file is found again only through its directories' rows. */
    if (inode->set && inode->parent && !inode->parent->set) {
        inode->parent->set |= DB_SET_KEEP;
        inode_save_row(inode->parent);
    }
}

void inode_changed(struct inode *inode)
{
    inode->changed = ++inode->tree->fs->change;
    inode->ctime_ns = clock_real_ns();
}

void inode_touch_dir(struct inode *dir)
{
    dir->set |= DB_SET_MTIME;
    dir->mtime_ns = clock_real_ns();
    inode_changed(dir);
    dir_unsave_listing(dir);
}

void inode_set_version(struct inode *inode, const char *etag, uint64_t size, int64_t mtime_ns,
                       uint64_t fetched_ns)
{
    char *copy = etag ? strdup(etag) : NULL;
    inode_drop_obj(inode);
    free(inode->etag);
    inode->etag = copy;
    inode->size = size;
    if (mtime_ns)
        inode->store_mtime_ns = mtime_ns;
    inode->fetched_ns = etag && !copy ? 0 : fetched_ns; /* no memory: ask again */
}

void inode_forget_cached(struct inode *inode)
{
    _cleanup_(freep) char *key = NULL;
    if (inode->is_dir || !inode->etag || inode_key(inode, &key) < 0)
        return;
    struct cache_key ck = {inode->tree->store->endpoint, inode->tree->store->bucket, key,
                           inode->etag, inode->tree->scope, inode->size};
    cache_forget(inode->tree->fs->cache, &ck);
}

void inode_drop_obj(struct inode *inode)
{
    if (inode->obj)
        cache_obj_unref(take(inode->obj));
}

int inode_obj(struct inode *inode, struct cache_obj **ret_obj)
{
    if (!inode->obj) {
        _cleanup_(freep) char *key = NULL;
        if (!inode->etag)
            return -ESTALE;
        int r = inode_key(inode, &key);
        if (r < 0)
            return r;
        struct cache_key ck = {inode->tree->store->endpoint, inode->tree->store->bucket, key,
                               inode->etag, inode->tree->scope, inode->size};
        r = cache_obj_get(inode->tree->fs->cache, inode->tree->store, &ck, &inode->obj);
        if (r < 0)
            return r;
        /* The same bytes saved again keep their ETag: a revocation of then is over now. */
        if (!inode->spool)
            cache_obj_unrevoke(inode->obj);
    }
    *ret_obj = inode->obj;
    return 0;
}
