/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Trees: a bucket seen through one identity. Mounts with the same credentials share one. */
#include "s3proxyd/fs/fs.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/fs/dir.h"

static bool secret_same(const struct secret *a, const struct secret *b)
{
    size_t la, lb;
    if (!a || !b)
        return a == b;
    const char *pa = secret_bytes(a, &la), *pb = secret_bytes(b, &lb);
    return la == lb && memcmp(pa, pb, la) == 0;
}

static bool cred_same(const struct cred *a, const struct cred *b)
{
    if (!a || !b)
        return a == b;
    return str_eq(a->access_key, b->access_key) && secret_same(a->secret_key, b->secret_key) &&
           secret_same(a->session_token, b->session_token);
}

static bool same_bucket(const struct tree *t, const char *endpoint, const char *bucket)
{
    return str_eq(t->store->endpoint, endpoint) && str_eq(t->store->bucket, bucket);
}

struct tree *tree_find(struct fs *fs, const char *endpoint, const char *bucket,
                       const struct cred *cred)
{
    struct tree *t;
    list_for_each(t, &fs->trees, link)
        if (same_bucket(t, endpoint, bucket) && cred_same(t->cred, cred))
            return t;
    return NULL;
}

/* Names the identity in inodes.db: two secrets behind one access key (a wrong one, a session's token) must
 * not share inode numbers. Eight bytes of a digest reveal nothing of the key. */
static uint64_t identity(const struct cred *cred)
{
    struct str all = STR_NULL;
    uint64_t id = 0;
    if (!cred || !cred->access_key)
        return 0;
    const struct secret *parts[] = {cred->secret_key, cred->session_token};
    int r = str_addf(&all, "hafiz-tree %s", cred->access_key);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        size_t len = 0;
        const char *p = parts[i] ? secret_bytes(parts[i], &len) : "";
        r = str_addn(&all, "\n", 1);
        if (r == 0)
            r = str_addn(&all, p, len);
    }
    uint8_t digest[32];
    if (r == 0 && digest_sha256(all.s, all.len, digest) == 0)
        memcpy(&id, digest, sizeof(id));
    if (all.s)
        secret_wipe(all.s, all.cap);
    str_fini(&all);
    return id;
}

int tree_new(struct fs *fs, struct store *store, struct cred *cred, struct tree **ret_tree)
{
    struct tree *t = calloc(1, sizeof(*t));
    uint64_t root_ino = 0;
    if (!t)
        return -ENOMEM;
    t->fs = fs;
    t->store = store;
    t->cred = cred;
    t->scope = cred ? cred_scope(cred) : 0;
    alock_init(&t->topology);
    int r = db_bucket(fs->db, store->endpoint ? store->endpoint : "", store->bucket,
                      identity(cred), &t->bucket_no);
    if (r == 0)
        r = db_root_ino(fs->db, t->bucket_no, &root_ino);
    if (r == 0)
        r = inode_new(t, NULL, "", 0, true, root_ino, &t->root);
    if (r < 0) {
        free(t);
        return r;
    }
    inode_save_row(t->root);
    list_add_tail(&fs->trees, &t->link);
    *ret_tree = t;
    return 0;
}

void tree_release(struct tree *tree)
{
    must(tree->sessions > 0);
    tree->sessions--;
    /* The tree and its store stay: unsaved data may need them, and the next mount finds them warm. */
}

bool tree_is_far(const struct tree *tree)
{
    return !str_eq(tree->store->impl->name, "file");
}

void tree_echo(struct tree *tree, struct inode *parent, const char *name)
{
    struct tree *t;
    _cleanup_(freep) char *key = NULL;
    list_for_each(t, &tree->fs->trees, link) {
        if (t == tree || !same_bucket(t, tree->store->endpoint, tree->store->bucket))
            continue;
        if (!key && inode_key(parent, &key) < 0)
            return;
        struct inode *dir = t->root;
        const char *p = key;
        while (dir && *p) {
            size_t len = strcspn(p, "/");
            struct inode *next = inode_child(dir, p, len);
            dir_expire(dir);
            dir = next && next->is_dir ? next : NULL;
            p += len + (p[len] == '/');
        }
        if (!dir)
            continue;
        dir_expire(dir);
        struct inode *child = inode_child(dir, name, strlen(name));
        tree->fs->change++;
        if (child) /* a directory may have been removed, and another one renamed to its place */
            dir_forget(child);
        push_entry(dir, name, NULL);
        if (child)
            push_attr(child, NULL, true);
        push_attr(dir, NULL, false);
    }
}
