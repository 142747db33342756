/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A listing, merged into the inodes page by page: each entry is a fact of its own (learn.c), and
 * what no page mentioned is absent when all of them were shown.
 *
 * Where an object `a` and a prefix `a/` both exist, the directory wins, and they may lie pages
 * apart: an object whose prefix could still come is held back to the end. What was removed here
 * while the listing ran is not brought back by a page that was made before. */
#include "s3proxyd/fs/dir-load.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"

#define DIR_ENTRIES_MAX (8u * 1024 * 1024) /* a directory larger than that cannot be listed */
#define REMOVED_MAX 4096u

struct item {
    const char *name;
    size_t len;
    struct inode_news news;
};

void dir_entries_free(struct store_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(entries[i].key);
        free(entries[i].etag);
    }
    free(entries);
}

bool dir_apply_was_removed(const struct dir_load *l, const char *name, size_t len)
{
    uint64_t hash = l->nremoved ? table_hash_bytes(name, len) : 0;
    for (size_t i = 0; i < l->nremoved; i++)
        if (l->removed[i].hash == hash && strlen(l->removed[i].name) == len &&
            memcmp(l->removed[i].name, name, len) == 0)
            return true;
    return false;
}

void dir_load_removed(struct inode *dir, const char *name)
{
    struct dir_load *l = dir->dir->load;
    if (!l || l->applying)
        return;
    struct removed *p =
        l->nremoved < REMOVED_MAX ? reallocarray(l->removed, l->nremoved + 1, sizeof(*p)) : NULL;
    char *copy = p ? strdup(name) : NULL;
    if (p)
        l->removed = p;
    if (copy)
        p[l->nremoved++] = (struct removed){table_hash_bytes(name, strlen(name)), copy};
    else
        l->removed_lost = true;
}

static int apply_item(struct dir_load *l, const struct item *it, size_t *ret_new)
{
    struct inode *child = inode_child(l->dir, it->name, it->len);
    if (!child && dir_apply_was_removed(l, it->name, it->len))
        return 0;
    if (!it->news.is_dir && child && child->is_dir && child->mention_ns == l->asked_ns)
        return 0; /* hidden behind the directory of the same name */
    bool seen = child && child->mention_ns == l->asked_ns;
    if (!seen && l->mentioned >= DIR_ENTRIES_MAX)
        return -ENOMEM;
    int r = inode_learn(l->dir, it->name, it->len, &it->news, &child);
    if (r < 0)
        return r;
    child->mention_ns = l->asked_ns; /* also when ours was newer */
    if (child->is_dir && child->fetched_ns < l->asked_ns && l->asked_ns > l->dir->dir->expired_ns)
        child->fetched_ns = l->asked_ns; /* of a file, the store may have another version by now */
    inode_unref(child);
    if (!seen) {
        l->mentioned++;
        *ret_new += 1;
    }
    return 0;
}

static struct inode_news news_of(const struct dir_load *l, bool is_dir, const char *etag,
                                 uint64_t size, int64_t mtime_ns)
{
    return (struct inode_news){is_dir, etag, size, mtime_ns, l->asked_ns, l->asked_change};
}

static int apply_entry(struct dir_load *l, const struct store_entry *e, const char *until,
                       size_t *ret_new)
{
    size_t prefix_len = strlen(l->key);
    struct item it = {.news = news_of(l, e->is_prefix, e->etag, e->size, e->mtime_ns)};
    if (e->key_len == prefix_len) { /* the marker of this directory itself */
        l->marker = true;
        return 0;
    }
    it.name = key_entry_name(e->key, e->key_len, prefix_len, &it.len);
    if (!it.name || (!e->is_prefix && memchr(it.name, '/', e->key_len - prefix_len))) {
        l->hidden += !until || strcmp(e->key, until) <= 0; /* each counted by one lane */
        return 0;
    }
    return apply_item(l, &it, ret_new);
}

/* May a prefix of the same name still be shown? */
static bool must_hold(const struct dir_load *l, const struct store_entry *e, const char *greatest)
{
    size_t len, prefix_len = strlen(l->key);
    if (e->key_len <= prefix_len || e->key[e->key_len - 1] == '/')
        return false;
    const char *name = key_entry_name(e->key, e->key_len, prefix_len, &len);
    const struct inode *child = name ? inode_child(l->dir, name, len) : NULL;
    if (child && child->is_dir)
        return child->mention_ns != l->asked_ns;
    int c = strncmp(greatest, e->key, e->key_len);
    return c < 0 || (c == 0 && (unsigned char)greatest[e->key_len] < '/');
}

/* *ret_new counts what is surely new: a listing that shows the same again and again must be seen
 * to. What is held has no inode yet, so only what lies behind all of it is. */
static int hold(struct dir_load *l, struct store_entry *e, size_t *ret_new)
{
    size_t prefix_len = strlen(l->key);
    const char *top = l->nheld ? l->held[l->held_top].key : NULL;
    int c = top ? strcmp(e->key, top) : 1;
    if (c == 0)
        return 0;
    if (l->nheld == l->held_cap) {
        size_t cap = l->held_cap ? l->held_cap * 2 : 16;
        struct store_entry *p =
            cap > DIR_ENTRIES_MAX ? NULL : reallocarray(l->held, cap, sizeof(*p));
        if (!p)
            return -ENOMEM;
        l->held = p;
        l->held_cap = cap;
    }
    if (c > 0) {
        l->held_top = l->nheld;
        *ret_new += !inode_child(l->dir, e->key + prefix_len, e->key_len - prefix_len);
    }
    l->held[l->nheld++] = *e;
    *e = (struct store_entry){0};
    return 0;
}

int dir_apply_entries(struct dir_load *l, struct store_entry *entries, size_t n, const char *until,
                      size_t *ret_new)
{
    const char *max = l->key;
    if (l->dir->gone)
        return -ENOENT;
    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i].key, max) > 0)
            max = entries[i].key;
    _cleanup_(freep) char *greatest = strdup(max);
    if (!greatest || (!l->first_last && !(l->first_last = strdup(greatest + strlen(l->key)))))
        return -ENOMEM;
    int r = 0;
    l->applying = true;
    for (int dirs = 1; dirs >= 0; dirs--)
        for (size_t i = 0; i < n && r == 0; i++) {
            struct store_entry *e = &entries[i];
            if (e->is_prefix != (dirs == 1))
                continue;
            r = !dirs && must_hold(l, e, greatest) ? hold(l, e, ret_new)
                                                   : apply_entry(l, e, until, ret_new);
        }
    l->applying = false;
    return r;
}

int dir_apply_saved(struct dir_load *l, const struct db_listing *listing)
{
    size_t fresh;
    int r = l->dir->gone ? -ENOENT : 0;
    l->marker = listing->marker;
    l->saved = true;
    l->applying = true;
    for (int dirs = 1; dirs >= 0; dirs--)
        for (size_t i = 0; i < listing->nentries && r == 0; i++) {
            const struct db_listing_entry *s = &listing->entries[i];
            size_t len = strlen(s->name);
            if (s->is_dir != (dirs == 1) || key_name_check(s->name, len) < 0)
                continue;
            struct item it = {
                s->name, len,
                news_of(l, s->is_dir, s->etag && *s->etag ? s->etag : NULL, s->size, s->mtime_ns)};
            r = apply_item(l, &it, &fresh);
        }
    l->applying = false;
    return r;
}

/* ---- what was not mentioned */

static void apply_absent(struct dir_load *l, const char *covered)
{
    struct dir *d = l->dir->dir;
    l->applying = true;
    for (size_t i = 0; i < d->nslots; i++) {
        _cleanup_(inode_unrefp) struct inode *c = d->slots[i] ? inode_ref(d->slots[i]) : NULL;
        /* What was confirmed since the listing was asked for is newer than its silence. */
        if (c && c->mention_ns != l->asked_ns && c->fetched_ns < l->asked_ns &&
            (!covered || dir_covers(covered, c->name, strlen(c->name))))
            inode_learn_absent(c, l->asked_change);
    }
    l->applying = false;
}

bool dir_apply_outdated(const struct dir_load *l)
{
    return l->dir->dir->expired_ns >= l->asked_ns || l->removed_lost;
}

int dir_apply_first(struct dir_load *l)
{
    struct dir *d = l->dir->dir;
    if (l->dir->gone)
        return -ENOENT;
    d->large = true;
    if (!l->first_last || l->pages.unordered || dir_apply_outdated(l))
        return 0;
    apply_absent(l, l->first_last);
    free(d->covered);
    d->covered = strdup(l->first_last);
    d->covered_ns = l->asked_ns;
    return 0;
}

static int apply_held(struct dir_load *l)
{
    size_t fresh;
    int r = 0;
    l->applying = true;
    for (size_t i = 0; i < l->nheld && r == 0; i++)
        r = apply_entry(l, &l->held[i], NULL, &fresh);
    l->applying = false;
    return r;
}

int dir_apply_end(struct dir_load *l)
{
    struct dir *d = l->dir->dir;
    if (l->dir->gone)
        return -ENOENT;
    int r = apply_held(l);
    if (r < 0)
        return r;
    if (!l->removed_lost)
        apply_absent(l, NULL);
    d->complete = true;
    d->listed_ns = dir_apply_outdated(l) ? 0 : l->asked_ns;
    d->large = l->mentioned > PAGES_KEYS;
    d->probes = 0;
    d->made_for = l->given ? DIR_FOR_WALK : DIR_FOR_NAME;
    if (l->for_reader || l->saved)
        d->made_for = DIR_FOR_READER;
    free(take(d->covered));
    d->marker = d->marker || l->marker;
    d->hidden = l->hidden;
    if (l->hidden)
        log_debug("dir", "%s: %llu keys cannot be shown as paths", log_esc(l->key),
                  (unsigned long long)l->hidden);
    return 0;
}

void dir_apply_forget(struct dir_load *l)
{
    for (size_t i = 0; i < l->nremoved; i++)
        free(l->removed[i].name);
    free(take(l->removed));
    dir_entries_free(take(l->held), l->nheld);
    dir_entries_free(take(l->given), l->ngiven);
    free(take(l->first_last));
    l->nheld = l->held_cap = l->held_top = l->nremoved = l->ngiven = l->mentioned = 0;
    l->hidden = 0;
    l->marker = l->removed_lost = false;
}

/* ---- meta.db */

/* Rows are read from the inodes, so nothing may be in them that the store does not have yet. */
static bool as_stored(const struct inode *c)
{
    return !c->spool && !c->created && !c->commit && (c->is_dir || c->etag);
}

void dir_apply_save(struct dir_load *l)
{
    struct dir *d = l->dir->dir;
    _cleanup_(freep) struct db_listing_entry *rows = NULL;
    size_t n = 0;
    if (l->dir->changed > l->asked_change || !d->listed_ns ||
        !(rows = calloc(d->live + 1, sizeof(*rows))))
        return; /* something changed meanwhile: the next listing is saved */
    for (size_t i = 0; i < d->nslots; i++) {
        const struct inode *c = d->slots[i];
        if (!c)
            continue;
        if (c->mention_ns != l->asked_ns || !as_stored(c))
            return;
        rows[n++] = (struct db_listing_entry){c->name, c->is_dir, c->size,
                                              c->is_dir ? 0 : c->store_mtime_ns, c->etag};
    }
    struct db_listing listing = {l->asked_real_ns, l->marker, rows, n};
    db_put_listing(l->dir->tree->fs->db, l->dir->tree->bucket_no, l->key, &listing);
    d->listing_saved = true;
}
