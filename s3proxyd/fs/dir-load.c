/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Loading a directory. One load at a time per directory, joined by everybody who wants it:
 *
 *     ROWS     inodes.db: numbers and attributes that outlived a restart (once per process)
 *     SAVED    meta.db: a listing that is still young enough (once per process)
 *     PAGES    the store: the first page, or all of them side by side (pages.c)
 *
 * Each page is merged as it comes (dir-apply.c). Who only wants to know a name waits for the first
 * page: most directories have no second one. */
#include "s3proxyd/fs/dir-load.h"
#include "s3proxyd/fs/walk.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define RESTARTS_MAX 2u

static void load_saved(struct dir_load *l);
static void load_pages(struct dir_load *l);
static void load_again(struct dir_load *l);

static void load_wake(struct list *waiters, enum dir_want upto, int error)
{
    struct list woken = LIST_INIT(woken);
    struct dir_wait *w, *next;
    list_for_each_safe (w, next, waiters, link)
        if (w->want <= upto) {
            list_del(&w->link);
            list_add_tail(&woken, &w->link);
        }
    while ((w = list_first(&woken, struct dir_wait, link))) {
        list_del(&w->link);
        w->done(w, error);
    }
}

static void load_end(struct dir_load *l, int error)
{
    struct list waiters = LIST_INIT(waiters);
    list_splice_tail(&waiters, &l->waiters);
    l->dir->dir->load = NULL;
    if (error < 0 && l->for_reader) /* who has read a part of it must not go on in the old one */
        l->dir->dir->complete = false;
    loop_task_cancel(&l->more);
    load_wake(&waiters, DIR_WHOLE, error);
    dir_apply_forget(l);
    pages_fini(&l->pages);
    free(l->key);
    inode_unref(l->dir);
    free(l);
}

static void load_stamp(struct dir_load *l)
{
    l->asked_ns = clock_mono_ns();
    l->asked_real_ns = clock_real_ns();
    l->asked_change = l->dir->tree->fs->change;
}

/* ---- what a walk brought */

static void load_given(struct dir_load *l)
{
    size_t fresh = 0;
    if (dir_apply_outdated(l) && !list_empty(&l->waiters)) {
        load_again(l);
        return;
    }
    int r = dir_apply_entries(l, l->given, l->ngiven, NULL, &fresh);
    if (r == 0)
        r = dir_apply_end(l);
    if (r == 0)
        dir_apply_save(l);
    load_end(l, r);
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
    for (size_t i = 0; i < read->nrows && !l->removed_lost; i++)
        if (!dir_apply_was_removed(l, read->rows[i].name, strlen(read->rows[i].name)))
            row_apply(l->dir, &read->rows[i]);
    l->dir->dir->rows_loaded = true;
    load_wake(&l->waiters, DIR_ROWS, 0);
    if (l->given)
        load_given(l);
    else if (l->want == DIR_ROWS)
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

/* ---- meta.db */

/* An old listing tells at least where to cut the directory into pieces. */
static void hints_from_saved(struct dir_load *l, const struct db_listing *listing)
{
    size_t n = 0;
    if (listing->nentries <= PAGES_KEYS)
        return;
    l->dir->dir->large = true;
    _cleanup_(freep) const char **names = calloc(listing->nentries, sizeof(*names));
    for (size_t i = 0; names && i < listing->nentries; i++)
        if (key_name_check(listing->entries[i].name, strlen(listing->entries[i].name)) == 0)
            names[n++] = listing->entries[i].name;
    if (names)
        pages_hints(l->key, names, n, &l->pages.hints, &l->pages.nhints);
}

static void saved_done(struct db_read *read)
{
    struct dir_load *l = container_of(read, struct dir_load, read);
    uint64_t now = clock_mono_ns();
    if (l->given) {
        load_given(l);
        return;
    }
    if (dir_apply_outdated(l)) {
        load_again(l);
        return;
    }
    if (read->error == 0 && read->listing) {
        int64_t age = clock_real_ns() - read->listing->fetched_ns;
        l->dir->dir->listing_saved = true;
        if (age >= 0 && (uint64_t)age < l->ttl_ms * NS_PER_MS && (uint64_t)age < now) {
            l->asked_ns = now - (uint64_t)age;
            int r = dir_apply_saved(l, read->listing);
            load_end(l, r < 0 ? r : dir_apply_end(l));
            return;
        }
        hints_from_saved(l, read->listing);
    }
    load_pages(l);
}

static void load_saved(struct dir_load *l)
{
    l->phase = LOAD_SAVED;
    if (l->dir->dir->listed_ns || l->dir->changed) { /* known better already in this process */
        load_pages(l);
        return;
    }
    l->read = (struct db_read){.kind = DB_READ_LISTING,
                               .bucket = l->dir->tree->bucket_no,
                               .name = l->key,
                               .done = saved_done};
    db_read_start(l->dir->tree->fs->db, &l->read);
}

/* ---- the store */

static void hints_from_slots(struct dir_load *l)
{
    const struct dir *d = l->dir->dir;
    size_t n = 0;
    if (l->pages.nhints || d->live <= PAGES_KEYS || !d->complete)
        return;
    _cleanup_(freep) const char **names = calloc(d->live, sizeof(*names));
    for (size_t i = 0; names && i < d->nslots && n < d->live; i++)
        if (d->slots[i])
            names[n++] = d->slots[i]->name;
    if (names)
        pages_hints(l->key, names, n, &l->pages.hints, &l->pages.nhints);
}

static void more_task(void *arg)
{
    struct dir_load *l = arg;
    load_wake(&l->waiters, DIR_MORE, 0);
}

static int page_shown(struct pages *p, struct store_entry *entries, size_t n, const char *until,
                      size_t *ret_new)
{
    struct dir_load *l = container_of(p, struct dir_load, pages);
    int r = dir_apply_entries(l, entries, n, until, ret_new);
    if (r == 0 && l->for_reader) /* later: the readers may ask for anything */
        loop_task_add(l->dir->tree->fs->loop, &l->more);
    return r;
}

/* Something was removed or changed behind the listing's back, and somebody who came later waits for
 * it. */
static bool once_more(struct dir_load *l)
{
    if (!dir_apply_outdated(l) || list_empty(&l->waiters) || l->restarts == RESTARTS_MAX)
        return false;
    load_again(l);
    return true;
}

static void load_again(struct dir_load *l)
{
    l->restarts++;
    dir_apply_forget(l);
    pages_fini(&l->pages);
    l->first_shown = false;
    load_stamp(l);
    load_pages(l);
}

static void pages_done(struct pages *p, int error)
{
    struct dir_load *l = container_of(p, struct dir_load, pages);
    if (p->unordered)
        l->dir->tree->unordered = true;
    if (error < 0)
        log_debug("dir", "listing %s: %s", log_esc(l->key), log_esc(p->error_text));
    if (error == 0 && p->truncated) {
        error = dir_apply_first(l);
        l->first_shown = true;
        if (error == 0) {
            load_wake(&l->waiters, DIR_FIRST, 0);
            if (l->want == DIR_WHOLE) {
                pages_go_on(p);
                return;
            }
        }
        load_end(l, error);
        return;
    }
    if (error == 0 && once_more(l))
        return;
    if (error == 0)
        error = dir_apply_end(l);
    if (error == 0)
        dir_apply_save(l);
    load_end(l, error);
}

static void load_pages(struct dir_load *l)
{
    struct tree *t = l->dir->tree;
    l->phase = LOAD_PARKED;
    if (walk_brings(l))
        return;
    l->phase = LOAD_PAGES;
    if (l->want == DIR_WHOLE)
        hints_from_slots(l);
    l->pages = (struct pages){.store = t->store,
                              .prefix = l->key,
                              .side_by_side = tree_is_far(t) && !t->unordered,
                              .hints = l->pages.hints,
                              .nhints = l->pages.nhints,
                              .one = !l->pages.nhints,
                              .in_flight = &t->fs->listings,
                              .page = page_shown,
                              .done = pages_done};
    int r = pages_start(&l->pages);
    if (r < 0)
        load_end(l, r);
}

void dir_load_resume(struct dir_load *l)
{
    load_pages(l);
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
    loop_task_init(&l->more, more_task, l);
    load_stamp(l);
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
        l->want = DIR_ROWS;
        load_rows(l);
    }
    wait->want = DIR_ROWS;
    list_add_tail(&d->load->waiters, &wait->link);
    return -EINPROGRESS;
}

static int load_start(struct inode *dir, uint64_t ttl_ms, enum dir_want want, struct dir_wait *wait)
{
    struct dir *d = dir->dir;
    struct dir_load *l = d->load;
    int r = l ? 0 : load_new(dir, &l);
    if (r < 0)
        return r;
    bool fresh = l->want == 0;
    l->want = MAX(l->want, want);
    l->ttl_ms = l->ttl_ms ? MIN(l->ttl_ms, ttl_ms) : ttl_ms;
    wait->want = want;
    list_add_tail(&l->waiters, &wait->link);
    if (fresh && d->rows_loaded)
        load_saved(l);
    else if (fresh)
        load_rows(l);
    return -EINPROGRESS;
}

int dir_more_start(struct inode *dir, uint64_t ttl_ms, struct dir_wait *wait)
{
    int r = load_start(dir, ttl_ms, DIR_WHOLE, wait);
    wait->want = DIR_MORE;
    if (dir->dir->load)
        dir->dir->load->for_reader = true;
    return r;
}

int dir_first_start(struct inode *dir, uint64_t ttl_ms, struct dir_wait *wait)
{
    if (dir->dir->load && dir->dir->load->first_shown)
        return 0;
    return load_start(dir, ttl_ms, DIR_FIRST, wait);
}

void dir_give(struct inode *dir, struct dir_given *g)
{
    struct dir_load *l = dir->dir->load;
    bool late = dir->dir->listed_ns >= g->asked_ns || (l && (l->phase == LOAD_PAGES || l->given));
    if (late || (!l && load_new(dir, &l) < 0)) {
        dir_entries_free(take(g->entries), g->n);
        if (l && l->phase == LOAD_PARKED)
            dir_load_resume(l);
        return;
    }
    bool new = l->want == 0, parked = l->phase == LOAD_PARKED;
    l->want = DIR_WHOLE;
    l->given = take(g->entries);
    l->ngiven = g->n;
    l->asked_ns = g->asked_ns;
    l->asked_change = g->asked_change;
    l->asked_real_ns = g->asked_real_ns;
    if (parked || (new && dir->dir->rows_loaded))
        load_given(l);
    else if (new)
        load_rows(l);
}

bool dir_growing(const struct inode *dir)
{
    const struct dir_load *l = dir->dir->load;
    return l && l->for_reader;
}

size_t dir_shown(const struct inode *dir, size_t from, bool *ret_any)
{
    const struct dir *d = dir->dir;
    size_t i = from;
    *ret_any = false;
    /* Where pages have no order, a directory may come long after an object of its name was shown.
     */
    if (dir_growing(dir) && (dir->tree->unordered || d->load->pages.unordered))
        return from;
    for (; i < d->nslots; i++) {
        const struct inode *c = d->slots[i];
        if (!c)
            continue;
        /* What is not saved yet is in no listing. */
        if (dir_growing(dir) && c->mention_ns != d->load->asked_ns && !c->created && !c->spool)
            break;
        *ret_any = true;
    }
    return i;
}

bool dir_load_join(struct inode *dir, struct dir_wait *wait)
{
    if (!dir->dir->load)
        return false;
    wait->want = DIR_WHOLE;
    list_add_tail(&dir->dir->load->waiters, &wait->link);
    return true;
}
