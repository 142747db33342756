/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Commits. One at a time per inode; who comes while one runs waits for it and, when it wrote later, for the
 * next one. A failed commit keeps the data and its error: fsync and close report it, and while nobody
 * has the file open it is tried again with growing pauses until it succeeds or the file is removed. */
#include "s3proxyd/fs/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/fs/dir.h"

#define RETRY_FIRST_NS (2 * NS_PER_S)
#define RETRY_MAX_NS (60 * NS_PER_S)

struct commit {
    struct spool_commit sc;
    struct inode *inode;
    struct list waiters;
};

static void commit_run(struct commit *c);

int commit_spool(struct inode *inode, bool truncate)
{
    if (inode->spool)
        return 0;
    struct cache_obj *base = NULL;
    _cleanup_(freep) char *key = NULL;
    int r = inode->gone ? 0 : inode_key(inode, &key);
    if (r < 0)
        return r;
    if (!truncate && inode->etag && inode->size > 0) {
        r = inode_obj(inode, &base);
        if (r < 0)
            return r;
    }
    r = spool_new(inode->tree->fs->spools, key ? key : inode->name, base, base ? inode->size : 0,
                  &inode->spool);
    if (r < 0)
        return r;
    /* From here on every mount asks for every read of this file. */
    if (inode->obj || (inode->etag && inode_obj(inode, &base) == 0))
        cache_obj_revoke(inode->obj);
    return 0;
}

void commit_mark_dirty(struct inode *inode)
{
    inode->mtime_ns = clock_real_ns();
    inode->set |= DB_SET_MTIME;
    inode_changed(inode);
    if (list_empty(&inode->dirty_link))
        list_add_tail(&inode->tree->fs->dirty, &inode->dirty_link);
}

/* Somebody else has the name by now, so ours can never be saved under it: the data is kept with the orphans,
 * and the next lookup shows what the store has. */
static void commit_lost(struct inode *inode)
{
    log_error("commit", "%s was changed by somebody else meanwhile: what was written here is kept "
              "aside in the spool's orphans", log_esc(inode->name));
    if (inode->spool)
        spool_set_aside(take(inode->spool));
    inode->created = inode->excl = inode->untouched = false;
    inode->commit_error = 0;
    list_del(&inode->dirty_link);
    inode->tree->fs->change++;
    push_entry(inode->parent, inode->name, NULL);
    push_attr(inode, NULL, true);
    dir_expire(inode->parent);
    inode_detach(inode);
}

void commit_settle(struct inode *inode)
{
    if (inode->commit || inode->writers)
        return;
    if (inode->gone) {
        commit_discard(inode);
        return;
    }
    if (inode_dirty(inode) &&
        (inode->commit_error == -ESTALE || inode->commit_error == -EEXIST)) {
        commit_lost(inode);
        return;
    }
    if (inode_dirty(inode)) {
        commit_start(inode, NULL);
        return;
    }
    list_del(&inode->dirty_link); /* a write that failed marked it, too */
    commit_retire(inode);
}

void commit_retire(struct inode *inode)
{
    _cleanup_(freep) char *key = NULL;
    if (!inode->spool || inode_dirty(inode))
        return;
    if (inode->etag && inode_key(inode, &key) == 0) {
        struct cache_key ck = {inode->tree->store->endpoint, inode->tree->store->bucket, key,
                               inode->etag, inode->tree->scope, inode->size};
        spool_retire(take(inode->spool), inode->tree->fs->cache, &ck);
    } else {
        spool_free(take(inode->spool));
    }
    inode_drop_obj(inode); /* opened anew, and no longer revoked, by the next reader */
}

bool commit_dirty_below(const struct inode *dir)
{
    struct inode *i;
    if (dir->is_dir)
        list_for_each(i, &dir->tree->fs->dirty, dirty_link)
            if (i->tree == dir->tree && !i->gone && inode_below(i, dir))
                return true;
    return false;
}

void commit_discard(struct inode *inode)
{
    if (inode->commit || inode->handles)
        return;
    if (inode->spool)
        spool_free(take(inode->spool));
    inode->created = inode->untouched = false;
    list_del(&inode->dirty_link);
}

/* ---- the end of a commit */

static void saved(struct inode *inode, struct commit *c)
{
    struct fs *fs = inode->tree->fs;
    int64_t mtime = c->sc.meta.mtime_ns ? c->sc.meta.mtime_ns : clock_real_ns();
    if (!str_eq(inode->etag, c->sc.meta.etag)) /* the same bytes may have the same ETag */
        inode_forget_cached(inode);
    inode_set_version(inode, c->sc.meta.etag, spool_size(inode->spool), mtime, clock_mono_ns());
    inode->created = inode->excl = inode->untouched = false;
    inode->commit_error = 0;
    inode->commit_text[0] = 0;
    inode->failed_ns = inode->retry_ns = inode->retries = 0;
    inode->changed = ++fs->change;
    if (!spool_dirty(inode->spool))
        list_del(&inode->dirty_link);
    if (!inode->gone) {
        inode_save_row(inode); /* our mtime is newer than the store's LastModified */
        dir_unsave_listing(inode->parent);
        tree_echo(inode->tree, inode->parent, inode->name);
    }
}

static void failed(struct inode *inode, struct commit *c)
{
    uint64_t doublings = MIN(inode->retries, 5u);
    uint64_t pause = MIN(RETRY_FIRST_NS << doublings, RETRY_MAX_NS);
    inode->commit_error = c->sc.error;
    snprintf(inode->commit_text, sizeof(inode->commit_text), "%s", c->sc.error_text);
    if (!inode->failed_ns)
        inode->failed_ns = clock_mono_ns();
    inode->retry_ns = clock_mono_ns() + pause;
    inode->retries++;
    inode->tree->fs->commit_failures++;
    log_error("commit", "%s is not saved and kept in the spool: %s (%s)", log_esc(c->sc.key),
              strerror(-c->sc.error), log_esc(c->sc.error_text));
}

static void commit_done(struct spool_commit *sc)
{
    struct commit *c = container_of(sc, struct commit, sc);
    struct inode *inode = c->inode;
    int error = sc->error;
    if (error == -EOPNOTSUPP && sc->if_none_match) { /* the store knows no conditions */
        inode->excl = false;
        spool_commit_fini(sc);
        c->sc = (struct spool_commit){0};
        commit_run(c);
        return;
    }
    if (error == 0)
        saved(inode, c);
    else
        failed(inode, c);
    uint64_t generation = sc->generation;
    struct list waiters = LIST_INIT(waiters);
    list_splice_tail(&waiters, &c->waiters);
    inode->commit = NULL;
    spool_commit_fini(sc);
    free(c);
    struct commit_wait *w;
    while ((w = list_first(&waiters, struct commit_wait, link))) {
        list_del(&w->link);
        int r = error;
        if (error == 0 && generation < w->generation)
            r = commit_start(inode, w);
        if (r != -EINPROGRESS)
            w->done(w, r);
    }
    if (!inode->commit && error == 0)
        commit_settle(inode);
    inode_unref(inode);
}

static void commit_run(struct commit *c)
{
    struct inode *inode = c->inode;
    c->sc.spool = inode->spool;
    c->sc.store = inode->tree->store;
    c->sc.if_none_match = inode->excl && inode->created;
    c->sc.done = commit_done;
    int r = inode_key(inode, &c->sc.key);
    if (r == 0)
        r = spool_commit_start(inode->spool, &c->sc);
    if (r == 0 || r == -EINPROGRESS)
        return;
    c->sc.error = r;
    commit_done(&c->sc);
}

int commit_start(struct inode *inode, struct commit_wait *wait)
{
    if (!inode_dirty(inode))
        return 0;
    if (inode->gone)
        return 0; /* nothing to save it as */
    if (wait)
        wait->generation = spool_generation(inode->spool);
    if (inode->commit) {
        if (wait)
            list_add_tail(&inode->commit->waiters, &wait->link);
        return -EINPROGRESS;
    }
    struct inode *moving;
    if (!wait && inode_busy_moving(inode, &moving)) { /* its key is changing: the retry timer comes back */
        inode->retry_ns = clock_mono_ns() + RETRY_FIRST_NS / 10;
        return -EBUSY;
    }
    struct commit *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->inode = inode_ref(inode);
    list_init(&c->waiters);
    if (wait)
        list_add_tail(&c->waiters, &wait->link);
    inode->commit = c;
    commit_run(c);
    return -EINPROGRESS;
}

int commit_wait_end(struct inode *inode, struct commit_wait *wait)
{
    if (!inode->commit)
        return 0;
    wait->generation = 0;
    list_add_tail(&inode->commit->waiters, &wait->link);
    return -EINPROGRESS;
}
