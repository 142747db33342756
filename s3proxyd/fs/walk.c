/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The course of a walk, and who follows it. What its pages mean is walk-page.c's. */
#include "s3proxyd/fs/walk.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/fs/walk-page.h"

#define WALKER_QUIET_NS (5 * NS_PER_S) /* who paused longer does not walk */
#define AHEAD_KEYS 1000u    /* brought and not looked at yet: more is fetched below that */
#define PARKED_PAGES_MAX 2u /* what these did not bring is asked for by itself */
#define KIDS_MANY 3u        /* directories of one parent, in any order */
#define FIRST_OF_MIN 4u     /* so many directories, and the first is listed: a walker */
#define FAILURES_MAX 6u
#define DESCENT_QUIET_NS NS_PER_S
#define DESCENT_MIN 3u  /* directories on a path, each listed for the next name */
#define FIRST_REACH 16u /* directories the first page is hoped to bring */
#define LOOK_AT_SLOTS 64u

struct walk {
    struct list link;   /* fs->walks */
    struct inode *root; /* referenced */
    struct walk_page page;
    struct store_req req;
    char *prefix, *start, *token;
    struct list parked; /* dir_load.walk_link */
    bool running, over;
    size_t unused_keys;
    size_t start_slot, per_page; /* per_page: directories of the root that a page passes */
    uint64_t used_ns;
};

static void ask(struct walk *w);

static void walk_free(struct walk *w)
{
    must(list_empty(&w->parked) && !w->running);
    list_del(&w->link);
    w->root->dir->walk = NULL;
    walk_page_fini(&w->page);
    free(w->prefix);
    free(w->start);
    free(w->token);
    inode_unref(w->root);
    free(w);
}

/* The child of `root` that a directory below it lies in. */
static struct inode *branch(const struct inode *root, struct inode *dir)
{
    while (dir->parent && dir->parent != root)
        dir = dir->parent;
    return dir->parent ? dir : NULL;
}

static struct walk *walk_above(const struct inode *dir)
{
    for (const struct inode *i = dir->parent; i; i = i->parent)
        if (i->dir->walk)
            return i->dir->walk;
    return NULL;
}

/* ---- pages */

static bool still_to_come(const struct walk *w, const struct dir_load *l)
{
    const char *pos = w->page.pos ? w->page.pos : w->start;
    return !w->over && l->parked_pages < PARKED_PAGES_MAX &&
           (!pos || strcmp(l->key, pos) > 0 || str_starts(pos, l->key));
}

static void let_go_passed(struct walk *w)
{
    struct list go = LIST_INIT(go);
    struct dir_load *l, *next;
    list_for_each_safe (l, next, &w->parked, walk_link) {
        l->parked_pages++;
        if (!still_to_come(w, l)) {
            list_del(&l->walk_link);
            list_add_tail(&go, &l->walk_link);
        }
    }
    while ((l = list_first(&go, struct dir_load, walk_link))) {
        list_del(&l->walk_link);
        dir_load_resume(l);
    }
}

static void walk_bring(struct walk_page *page, struct inode *dir, struct dir_given *given)
{
    struct walk *w = container_of(page, struct walk, page);
    struct dir_load *l = dir->dir->load;
    if (l && l->phase == LOAD_PARKED) {
        list_del(&l->walk_link);
        w->used_ns = clock_mono_ns();
    } else if (!l) {
        w->unused_keys += given->n;
        dir->dir->ahead = given->n;
    }
    dir_give(dir, given);
}

/* More of it, if somebody follows. */
static void walk_next(struct walk *w)
{
    if (w->running)
        return;
    if (w->over)
        walk_free(w);
    else if (!list_empty(&w->parked) ||
             (w->unused_keys < AHEAD_KEYS && clock_mono_ns() - w->used_ns < WALKER_QUIET_NS))
        ask(w);
}

static int page_take(struct walk *w, struct store_req *answer, struct walk_found *found)
{
    int r = answer->error;
    if (r == 0)
        r = walk_page_take(&w->page, answer->entries, answer->nentries, found);
    free(w->token);
    w->token = take(answer->next_token);
    if (r == 0 && !w->token)
        walk_page_end(&w->page, found);
    if (r == -EBADMSG)
        w->root->tree->unordered = true;
    return r;
}

static void page_done(struct store_req *req)
{
    struct walk *w = container_of(req, struct walk, req);
    struct dir *d = w->root->dir;
    struct walk_found found = {0};
    w->root->tree->fs->listings--;
    int r = w->over ? 0 : page_take(w, req, &found);
    log_debug("walk", "page of %s: %zu keys, %zu directories completed%s%s", log_esc(w->prefix),
              req->nentries, found.completed, r < 0 ? ": " : "",
              r == 0       ? ""
              : req->error ? log_esc(req->error_text)
                           : strerror(-r));
    store_req_fini(req);
    if (r < 0 || !w->token || found.completed == 0)
        w->over = true;
    if (r == 0 && found.completed == 0 && w->token)
        d->walk_failures = MIN(d->walk_failures + 1, FAILURES_MAX);
    else if (found.completed >= KIDS_MANY)
        d->walk_failures = 0;
    w->per_page = found.branches;
    let_go_passed(w);
    w->running = false;
    walk_next(w);
}

static void ask(struct walk *w)
{
    struct fs *fs = w->root->tree->fs;
    w->page.asked = (struct walk_stamp){clock_mono_ns(), fs->change, clock_real_ns()};
    w->req = (struct store_req){
        .op = STORE_LIST, .key = w->prefix, .list = {.recursive = true}, .done = page_done};
    if (w->token)
        w->req.list.token = w->token;
    else
        w->req.list.start_after = w->start;
    w->running = true;
    fs->listings++;
    store_submit(w->root->tree->store, &w->req);
}

/* ---- walkers */

/* behind NULL: all of it */
static void walk_start(struct inode *root, const struct inode *behind)
{
    struct fs *fs = root->tree->fs;
    struct walk *w = calloc(1, sizeof(*w));
    if (!w)
        return;
    list_init(&w->parked);
    /* '0' follows '/': the first key that is not below the directory */
    if (inode_key(root, &w->prefix) < 0 ||
        (behind && !(w->start = str_dup_printf("%s%s0", w->prefix, behind->name)))) {
        free(w->prefix);
        free(w);
        return;
    }
    w->root = inode_ref(root);
    w->page = (struct walk_page){
        .root = root, .prefix = w->prefix, .start = w->start, .bring = walk_bring};
    w->start_slot = behind ? behind->slot : 0;
    w->used_ns = clock_mono_ns();
    root->dir->walk = w;
    list_add_tail(&fs->walks, &w->link);
    log_debug("walk", "from %s on", log_esc(w->start ? w->start : w->prefix));
    ask(w);
}

/* Is it the first directory there, of several, and was its parent read just now? */
static bool first_of_many(const struct inode *parent, const struct inode *dir, uint64_t now)
{
    const struct dir *d = parent->dir;
    unsigned dirs = 0;
    if (!d->read_ns || now - d->read_ns > WALKER_QUIET_NS)
        return false;
    for (size_t i = 0; i < d->nslots && i < LOOK_AT_SLOTS && dirs < FIRST_OF_MIN; i++) {
        if (!d->slots[i] || !d->slots[i]->is_dir)
            continue;
        if (dirs++ == 0 && d->slots[i] != dir)
            return false;
    }
    return dirs == FIRST_OF_MIN;
}

/* A directory is listed by itself: does somebody list one after another? */
static bool notice(struct inode *parent, const struct inode *dir)
{
    struct dir *d = parent->dir;
    uint64_t now = clock_mono_ns();
    if (!d->complete || !dir->listed)
        return false;
    if (now - d->kids_ns > WALKER_QUIET_NS)
        d->kids = 0;
    if (d->kids && dir->slot == d->kid_slot)
        return false; /* the same one again */
    bool next = d->kids && dir->slot == d->kid_slot + 1;
    d->kids++;
    d->kids_ns = now;
    d->kid_slot = dir->slot;
    if (d->kids >= KIDS_MANY << d->walk_failures)
        return true;
    return d->walk_failures == 0 && (next || first_of_many(parent, dir, now));
}

/* A path is followed down through directories nobody listed. After some of them what lies below is
 * asked for at once: often it is one page, and then the rest of the path costs nothing. Else every
 * other directory. */
static bool follows_path(struct inode *dir)
{
    const struct dir *above = dir->parent ? dir->parent->dir : NULL;
    struct dir *d = dir->dir;
    uint64_t now = clock_mono_ns();
    d->descent = above && above->descent_ns && now - above->descent_ns < DESCENT_QUIET_NS
                     ? above->descent + 1
                     : 1;
    d->descent_ns = now;
    return d->descent >= DESCENT_MIN && (d->descent - DESCENT_MIN) % 2 == 0;
}

/* Is it among those the next pages will bring, going by those before? */
static bool near(const struct walk *w, struct inode *dir)
{
    const struct inode *to = branch(w->root, dir), *at = NULL;
    size_t slot = w->start_slot, reach = w->per_page ? w->per_page + 1 : FIRST_REACH;
    if (w->page.pos) {
        const char *name = w->page.pos + strlen(w->prefix);
        at = inode_child(w->root, name, strcspn(name, "/"));
        if (!at || !at->listed)
            return false;
        slot = at->slot;
    }
    return to && to->listed && to->slot >= slot && to->slot - slot <= reach;
}

bool walk_brings(struct dir_load *l)
{
    struct inode *dir = l->dir, *parent = dir->parent;
    if (l->parked_pages || l->restarts || !tree_is_far(dir->tree) || dir->tree->unordered)
        return false;
    struct walk *w = walk_above(dir);
    if (!w || !still_to_come(w, l)) {
        bool follows = l->want == DIR_FIRST && follows_path(dir);
        if (parent && !parent->dir->walk && notice(parent, dir))
            walk_start(parent, dir);
        else if (follows && !w && !dir->dir->walk)
            walk_start(dir, NULL);
        return false;
    }
    if (!near(w, dir))
        return false;
    list_add_tail(&w->parked, &l->walk_link);
    w->used_ns = clock_mono_ns();
    if (!w->running)
        ask(w);
    return true;
}

void walk_used(struct inode *dir)
{
    struct walk *w = walk_above(dir);
    size_t n = dir->dir->ahead;
    dir->dir->ahead = 0;
    if (!w)
        return;
    w->unused_keys -= MIN(n, w->unused_keys);
    w->used_ns = clock_mono_ns();
    walk_next(w);
}

void walk_sweep(struct fs *fs)
{
    struct walk *w, *next;
    uint64_t now = clock_mono_ns();
    list_for_each_safe (w, next, &fs->walks, link)
        if (!w->running && now - w->used_ns > WALKER_QUIET_NS)
            walk_free(w);
}

void walk_end_all(struct fs *fs)
{
    struct walk *w;
    while ((w = list_first(&fs->walks, struct walk, link)))
        walk_free(w);
}
