/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the store says, merged into what is known. Three rules:
 *   - what was changed here after the question was asked is newer than the answer;
 *   - unsaved data and files being saved are the truth of their name, whatever the store has;
 *   - one inode never shows two versions to an open handle: replaced by somebody else while it is open, the
 *     new version gets a new number and the old inode loses its name. */
#include "s3proxyd/fs/fs.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/fs/commit.h"
#include "s3proxyd/fs/dir.h"

/* ETags with and without quotes or a weak mark are the same version. */
static bool etag_same(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    if (str_starts(a, "W/"))
        a += 2;
    if (str_starts(b, "W/"))
        b += 2;
    size_t la = strlen(a), lb = strlen(b);
    if (la >= 2 && a[0] == '"') {
        a++;
        la -= 2;
    }
    if (lb >= 2 && b[0] == '"') {
        b++;
        lb -= 2;
    }
    return la == lb && memcmp(a, b, la) == 0;
}

static bool ours_is_newer(const struct inode *child, uint64_t asked_change)
{
    struct inode *moving;
    return child->changed > asked_change || child->spool || child->created || child->commit ||
           inode_busy_moving(child, &moving) || commit_dirty_below(child);
}

static int learn_new(struct inode *parent, const char *name, size_t len,
                     const struct inode_news *news, struct inode **ret_child)
{
    struct inode *child;
    int r = inode_new(parent->tree, parent, name, len, news->is_dir, 0, &child);
    if (r < 0)
        return r;
    r = dir_add(child);
    if (r < 0) {
        inode_detach(child);
        inode_unref(child);
        return r;
    }
    /* Asked before the directory was declared out of date: there it is, but as what? */
    bool old = parent->dir->expired_ns >= news->asked_ns;
    inode_set_version(child, news->etag, news->size, news->mtime_ns, old ? 0 : news->asked_ns);
    *ret_child = child;
    return 0;
}

/* The store has another version of a file we know. */
static int learn_version(struct inode *child, const struct inode_news *news, bool *ret_replaced)
{
    *ret_replaced = false;
    if (etag_same(child->etag, news->etag)) {
        child->fetched_ns = news->asked_ns;
        child->size = news->size; /* a row loaded after a restart does not have it */
        if (news->mtime_ns)
            child->store_mtime_ns = news->mtime_ns;
        return 0;
    }
    bool known = child->etag != NULL;
    if (child->handles && known) {
        *ret_replaced = true;
        return 0;
    }
    if (known && child->set & (DB_SET_ATIME | DB_SET_MTIME)) {
        child->set &= ~(DB_SET_ATIME | DB_SET_MTIME); /* they were the old version's */
        if (child->row_saved)
            inode_save_row(child);
    }
    inode_set_version(child, news->etag, news->size, news->mtime_ns, news->asked_ns);
    if (known) {
        child->tree->fs->change++;
        push_attr(child, NULL, true);
    }
    return 0;
}

int inode_learn(struct inode *parent, const char *name, size_t len, const struct inode_news *news,
                struct inode **ret_child)
{
    struct inode *child = inode_child(parent, name, len);
    if (!child)
        return learn_new(parent, name, len, news, ret_child);
    if (ours_is_newer(child, news->asked_change)) {
        *ret_child = inode_ref(child);
        return 0;
    }
    if (child->fetched_ns > news->asked_ns) { /* a later question was answered first */
        if (dir_add(child) < 0)
            return -ENOMEM;
        *ret_child = inode_ref(child);
        return 0;
    }
    bool replaced = child->is_dir != news->is_dir;
    if (!replaced && child->is_dir) {
        child->fetched_ns = news->asked_ns;
        if (news->mtime_ns)
            child->store_mtime_ns = news->mtime_ns;
    } else if (!replaced) {
        /* A row that was loaded after a restart knows times but perhaps another version. */
        int r = learn_version(child, news, &replaced);
        if (r < 0)
            return r;
    }
    if (replaced) {
        parent->tree->fs->change++;
        push_entry(parent, child->name, NULL);
        inode_detach(child);
        return learn_new(parent, name, len, news, ret_child);
    }
    if (dir_add(child) < 0)
        return -ENOMEM;
    *ret_child = inode_ref(child);
    return 0;
}

void inode_learn_absent(struct inode *inode, uint64_t asked_change)
{
    if (inode->gone || ours_is_newer(inode, asked_change))
        return;
    inode->tree->fs->change++;
    push_entry(inode->parent, inode->name, NULL);
    if (inode->is_dir && inode->dir)
        dir_drop_children(inode);
    inode_detach(inode);
}
