/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Loading a directory. One load at a time per directory, joined by everybody who wants it:
 *
 *     ROWS     inodes.db: numbers and attributes that outlived a restart (once per process)
 *     SAVED    meta.db: a listing that is still young enough (once per process)
 *     PAGES    the store, page after page
 *     apply    prefixes, then objects, then the names that were not mentioned
 *
 * All pages are collected before any is applied: an object `a` and a prefix `a/` may lie pages apart, and
 * the directory wins. */
#include "s3proxyd/fs/dir.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define DIR_ENTRIES_MAX (8u * 1024 * 1024) /* a directory larger than that cannot be listed */

enum load_phase { LOAD_ROWS, LOAD_SAVED, LOAD_PAGES };

struct dir_load {
    struct inode *dir;
    enum load_phase phase;
    bool rows_only;
    uint64_t ttl_ms;
    struct list waiters;
    struct db_read read;
    struct store_req req;
    char *key, *token;
    struct store_entry *entries;
    size_t nentries, cap;
    uint64_t asked_ns, asked_change, hidden;
    int64_t asked_real_ns;
    bool marker;
};

static void load_rows(struct dir_load *l);
static void load_saved(struct dir_load *l);
static void load_page(struct dir_load *l);

static void entry_free(struct store_entry *e)
{
    free(e->key);
    free(e->etag);
}

static void load_end(struct dir_load *l, int error)
{
    struct list waiters = LIST_INIT(waiters);
    list_splice_tail(&waiters, &l->waiters);
    l->dir->dir->load = NULL;
    for (size_t i = 0; i < l->nentries; i++)
        entry_free(&l->entries[i]);
    free(l->entries);
    free(l->key);
    free(l->token);
    struct dir_wait *w;
    while ((w = list_first(&waiters, struct dir_wait, link))) {
        list_del(&w->link);
        w->done(w, error);
    }
    inode_unref(l->dir);
    free(l);
}

/* ---- apply */

static int apply_one(struct dir_load *l, const struct store_entry *e, bool is_dir)
{
    size_t len, prefix_len = strlen(l->key);
    if (e->key_len == prefix_len) { /* the marker of this directory itself */
        l->marker = true;
        return 0;
    }
    const char *name = key_entry_name(e->key, e->key_len, prefix_len, &len);
    if (!name || (!is_dir && memchr(name, '/', e->key_len - prefix_len))) {
        l->hidden++;
        return 0;
    }
    struct inode *child = inode_child(l->dir, name, len);
    if (!is_dir && child && child->is_dir && child->fetched_ns == l->asked_ns)
        return 0; /* hidden behind the directory of the same name */
    struct inode_news news = {is_dir, e->etag, e->size, e->mtime_ns, l->asked_ns, l->asked_change};
    int r = inode_learn(l->dir, name, len, &news, &child);
    if (r < 0)
        return r;
    child->fetched_ns = l->asked_ns; /* also when ours was newer: it was mentioned */
    inode_unref(child);
    return 0;
}

static void apply_absent(struct dir_load *l)
{
    struct dir *d = l->dir->dir;
    for (size_t i = 0; i < d->nslots; i++) {
        _cleanup_(inode_unrefp) struct inode *c = d->slots[i] ? inode_ref(d->slots[i]) : NULL;
        if (c && c->fetched_ns != l->asked_ns)
            inode_learn_absent(c, l->asked_change);
    }
}

static int apply(struct dir_load *l)
{
    if (l->dir->gone)
        return -ENOENT;
    for (int dirs = 1; dirs >= 0; dirs--)
        for (size_t i = 0; i < l->nentries; i++) {
            if (l->entries[i].is_prefix != (dirs == 1))
                continue;
            int r = apply_one(l, &l->entries[i], dirs == 1);
            if (r < 0)
                return r;
        }
    apply_absent(l);
    struct dir *d = l->dir->dir;
    d->complete = true;
    d->listed_ns = l->asked_ns;
    d->marker = d->marker || l->marker;
    d->hidden = l->hidden;
    if (l->hidden)
        log_debug("dir", "%s: %llu keys cannot be shown as paths", log_esc(l->key),
                  (unsigned long long)l->hidden);
    return 0;
}

/* ---- meta.db */

static void save(struct dir_load *l)
{
    struct dir *d = l->dir->dir;
    size_t n = 0, prefix_len = strlen(l->key);
    _cleanup_(freep) struct db_listing_entry *rows = calloc(l->nentries + 1, sizeof(*rows));
    if (!rows || l->dir->changed > l->asked_change)
        return; /* something changed meanwhile: the next listing is saved */
    for (size_t i = 0; i < l->nentries; i++) {
        struct store_entry *e = &l->entries[i];
        size_t len;
        const char *name = key_entry_name(e->key, e->key_len, prefix_len, &len);
        if (!name || (!e->is_prefix && memchr(name, '/', e->key_len - prefix_len)))
            continue;
        e->key[prefix_len + len] = 0; /* the entries end with this load */
        rows[n++] = (struct db_listing_entry){name, e->is_prefix, e->size, e->mtime_ns, e->etag};
    }
    struct db_listing listing = {l->asked_real_ns, l->marker, rows, n};
    db_put_listing(l->dir->tree->fs->db, l->dir->tree->bucket_no, l->key, &listing);
    d->listing_saved = true;
}

static int take_entry(struct dir_load *l, struct store_entry *e)
{
    if (l->nentries == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct store_entry *p =
            cap > DIR_ENTRIES_MAX ? NULL : reallocarray(l->entries, cap, sizeof(*p));
        if (!p)
            return -ENOMEM;
        l->entries = p;
        l->cap = cap;
    }
    l->entries[l->nentries++] = *e;
    *e = (struct store_entry){0};
    return 0;
}

static int take_saved(struct dir_load *l, const struct db_listing *listing)
{
    l->marker = listing->marker;
    for (size_t i = 0; i < listing->nentries; i++) {
        const struct db_listing_entry *s = &listing->entries[i];
        struct store_entry e = {.is_prefix = s->is_dir, .size = s->size, .mtime_ns = s->mtime_ns};
        e.key = str_dup_printf("%s%s%s", l->key, s->name, s->is_dir ? "/" : "");
        e.etag = s->etag && *s->etag ? strdup(s->etag) : NULL;
        e.key_len = e.key ? strlen(e.key) : 0;
        if (!e.key || take_entry(l, &e) < 0) {
            entry_free(&e);
            return -ENOMEM;
        }
    }
    return 0;
}

static void saved_done(struct db_read *read)
{
    struct dir_load *l = container_of(read, struct dir_load, read);
    uint64_t now = clock_mono_ns();
    if (read->error == 0 && read->listing) {
        int64_t age = clock_real_ns() - read->listing->fetched_ns;
        l->dir->dir->listing_saved = true;
        if (age >= 0 && (uint64_t)age < l->ttl_ms * NS_PER_MS && (uint64_t)age < now &&
            take_saved(l, read->listing) == 0) {
            l->asked_ns = now - (uint64_t)age;
            load_end(l, apply(l));
            return;
        }
    }
    load_page(l);
}

static void load_saved(struct dir_load *l)
{
    l->phase = LOAD_SAVED;
    if (l->dir->dir->listed_ns || l->dir->changed) { /* known better already in this process */
        load_page(l);
        return;
    }
    l->read = (struct db_read){.kind = DB_READ_LISTING,
                               .bucket = l->dir->tree->bucket_no,
                               .name = l->key,
                               .done = saved_done};
    db_read_start(l->dir->tree->fs->db, &l->read);
}

/* ---- inodes.db */

static void row_apply(struct inode *dir, const struct db_inode *row)
{
    size_t len = strlen(row->name);
    struct inode *child = inode_child(dir, row->name, len);
    if (child || inode_find(dir->tree->fs, row->ino) || key_name_check(row->name, len) < 0)
        return;
    bool is_dir = S_ISDIR(row->type);
    if (inode_new(dir->tree, dir, row->name, len, is_dir, row->ino, &child) < 0)
        return;
    child->set = row->set;
    child->mode = row->mode;
    child->uid = row->uid;
    child->gid = row->gid;
    child->atime_ns = row->atime_ns;
    child->mtime_ns = row->mtime_ns;
    child->ctime_ns = row->ctime_ns;
    child->etag = row->etag && *row->etag ? strdup(row->etag) : NULL;
    child->row_saved = true;
    if (dir_add(child) < 0)
        inode_detach(child);
    inode_unref(child);
}

static void rows_done(struct db_read *read)
{
    struct dir_load *l = container_of(read, struct dir_load, read);
    if (read->error < 0 && read->error != -ENOENT) {
        load_end(l, read->error);
        return;
    }
    for (size_t i = 0; i < read->nrows; i++)
        row_apply(l->dir, &read->rows[i]);
    l->dir->dir->rows_loaded = true;
    if (l->rows_only)
        load_end(l, 0);
    else
        load_saved(l);
}

static void load_rows(struct dir_load *l)
{
    l->phase = LOAD_ROWS;
    l->read = (struct db_read){.kind = DB_READ_CHILDREN,
                               .ino = l->dir->ino,
                               .bucket = l->dir->tree->bucket_no,
                               .done = rows_done};
    db_read_start(l->dir->tree->fs->db, &l->read);
}

/* ---- the store */

static void page_done(struct store_req *req)
{
    struct dir_load *l = container_of(req, struct dir_load, req);
    int r = req->error;
    for (size_t i = 0; r == 0 && i < req->nentries; i++)
        r = take_entry(l, &req->entries[i]);
    free(l->token);
    l->token = take(req->next_token);
    if (r < 0)
        log_debug("dir", "listing %s: %s", log_esc(l->key), log_esc(req->error_text));
    store_req_fini(req);
    if (r == 0 && l->token) {
        load_page(l);
        return;
    }
    if (r == 0)
        r = apply(l);
    if (r == 0)
        save(l);
    load_end(l, r);
}

static void load_page(struct dir_load *l)
{
    l->phase = LOAD_PAGES;
    l->req = (struct store_req){
        .op = STORE_LIST, .key = l->key, .list.token = l->token, .done = page_done};
    store_submit(l->dir->tree->store, &l->req);
}

/* ---- start */

static int load_new(struct inode *dir, struct dir_load **ret)
{
    struct dir_load *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    int r = inode_key(dir, &l->key);
    if (r < 0) {
        free(l);
        return r;
    }
    l->dir = inode_ref(dir);
    list_init(&l->waiters);
    l->asked_ns = clock_mono_ns();
    l->asked_real_ns = clock_real_ns();
    l->asked_change = dir->tree->fs->change;
    dir->dir->load = l;
    *ret = l;
    return 0;
}

int dir_rows_start(struct inode *dir, struct dir_wait *wait)
{
    struct dir *d = dir->dir;
    if (d->rows_loaded)
        return 0;
    if (!d->load) {
        struct dir_load *l;
        int r = load_new(dir, &l);
        if (r < 0)
            return r;
        l->rows_only = true;
        load_rows(l);
    }
    list_add_tail(&d->load->waiters, &wait->link);
    return -EINPROGRESS;
}

int dir_load_start(struct inode *dir, uint64_t ttl_ms, struct dir_wait *wait)
{
    struct dir *d = dir->dir;
    if (!d->load) {
        struct dir_load *l;
        int r = load_new(dir, &l);
        if (r < 0)
            return r;
        l->ttl_ms = ttl_ms;
        if (d->rows_loaded)
            load_saved(l);
        else
            load_rows(l);
    } else {
        d->load->rows_only = false; /* whoever wanted the rows gets more */
        d->load->ttl_ms = MIN(d->load->ttl_ms ? d->load->ttl_ms : ttl_ms, ttl_ms);
    }
    list_add_tail(&d->load->waiters, &wait->link);
    return -EINPROGRESS;
}

bool dir_load_join(struct inode *dir, struct dir_wait *wait)
{
    if (!dir->dir->load)
        return false;
    list_add_tail(&dir->dir->load->waiters, &wait->link);
    return true;
}

void dir_wait_cancel(struct dir_wait *wait)
{
    list_del(&wait->link);
}
