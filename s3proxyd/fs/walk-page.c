/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See walk-page.h. */
#include "s3proxyd/fs/walk-page.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"

#define KEPT_MAX 4096u /* entries of directories that are not complete yet */

static void level_clear(struct walk_page *page, struct walk_level *level)
{
    dir_entries_free(level->entries, level->n);
    page->kept -= level->n;
    level->entries = NULL;
    level->n = level->cap = 0;
}

static void keep_nothing(struct walk_page *page)
{
    for (size_t i = 0; i < page->depth; i++) {
        level_clear(page, &page->levels[i]);
        page->levels[i].whole = false;
    }
}

/* Takes the entry's strings. */
static void keep(struct walk_page *page, struct walk_level *level, struct store_entry *e)
{
    if (level->whole && level->n == level->cap) {
        size_t cap = level->cap ? level->cap * 2 : 16;
        struct store_entry *p = reallocarray(level->entries, cap, sizeof(*p));
        level->whole = p != NULL;
        if (p) {
            level->entries = p;
            level->cap = cap;
        }
    }
    if (!level->whole || !e->key) {
        level->whole = false;
        free(e->key);
        free(e->etag);
    } else {
        level->entries[level->n++] = *e;
        if (++page->kept > KEPT_MAX)
            keep_nothing(page);
    }
    *e = (struct store_entry){0};
}

/* ---- from a prefix to its inode */

/* What was changed here since the page was asked for is newer than the page, and so is what was
 * removed: a directory with such a change on the way to it is not touched. */
static struct inode *step_down(struct inode *parent, const char *name, size_t len,
                               const struct walk_stamp *asked)
{
    struct inode *child = inode_child(parent, name, len);
    if (!child && parent->changed > asked->change)
        return NULL;
    struct inode_news news = {.is_dir = true, .asked_ns = asked->ns, .asked_change = asked->change};
    if (inode_learn(parent, name, len, &news, &child) < 0)
        return NULL;
    bool usable = child->is_dir && !child->moving && child->changed <= asked->change &&
                  child->listed; /* so its directory keeps it */
    inode_unref(child);
    return usable ? child : NULL;
}

static struct inode *find(const struct walk_page *page, const char *path, size_t len,
                          const struct walk_stamp *asked)
{
    struct inode *dir = page->root;
    size_t at = strlen(page->prefix);
    while (dir && at < len) {
        size_t n = strcspn(path + at, "/");
        dir = key_name_check(path + at, n) < 0 ? NULL : step_down(dir, path + at, n, asked);
        at += n + 1;
    }
    return dir;
}

/* ---- levels */

static void close_level(struct walk_page *page, struct walk_found *found)
{
    struct walk_level *level = &page->levels[--page->depth];
    struct inode *dir =
        level->whole && page->depth ? find(page, page->pos, level->end, &level->asked) : NULL;
    found->completed += level->whole && page->depth;
    found->branches += page->depth == 1;
    if (!dir) {
        level_clear(page, level);
        return;
    }
    struct dir_given given = {level->entries, level->n, level->asked.ns, level->asked.change,
                              level->asked.real_ns};
    page->kept -= level->n;
    level->entries = NULL;
    level->n = level->cap = 0;
    inode_ref(dir);
    page->bring(page, dir, &given);
    inode_unref(dir);
}

static int open_level(struct walk_page *page, const char *key, size_t end)
{
    if (page->depth == page->cap) {
        size_t cap = page->cap ? page->cap * 2 : 8;
        struct walk_level *p = reallocarray(page->levels, cap, sizeof(*p));
        if (!p)
            return -ENOMEM;
        page->levels = p;
        page->cap = cap;
    }
    if (page->depth) {
        struct store_entry e = {.key = strndup(key, end), .key_len = end, .is_prefix = true};
        keep(page, &page->levels[page->depth - 1], &e);
    }
    /* Did the walk begin before its first key? The root's own contents are of no interest. */
    bool whole = page->depth && (!page->start || strncmp(key, page->start, end) > 0);
    page->levels[page->depth++] =
        (struct walk_level){.end = end, .whole = whole, .asked = page->asked};
    return 0;
}

static int take_key(struct walk_page *page, struct store_entry *e, struct walk_found *found)
{
    const char *after = page->pos ? page->pos : page->start;
    if (e->is_prefix || !str_starts(e->key, page->prefix) || strlen(e->key) != e->key_len ||
        (after && strcmp(e->key, after) <= 0))
        return -EBADMSG;
    while (page->depth > 1 && strncmp(e->key, page->pos, page->levels[page->depth - 1].end) != 0)
        close_level(page, found);
    char *pos = strdup(e->key);
    if (!pos)
        return -ENOMEM;
    free(page->pos);
    page->pos = pos;
    const char *slash;
    while ((slash = strchr(pos + page->levels[page->depth - 1].end, '/'))) {
        int r = open_level(page, pos, (size_t)(slash - pos) + 1);
        if (r < 0)
            return r;
    }
    keep(page, &page->levels[page->depth - 1], e);
    return 0;
}

static bool root_is_there(const struct walk_page *page)
{
    _cleanup_(freep) char *key = NULL;
    struct inode *moving;
    return !inode_busy_moving(page->root, &moving) && inode_key(page->root, &key) == 0 &&
           strcmp(key, page->prefix) == 0;
}

int walk_page_take(struct walk_page *page, struct store_entry *entries, size_t n,
                   struct walk_found *found)
{
    if (!root_is_there(page))
        return -ESTALE;
    int r = page->depth ? 0 : open_level(page, page->prefix, strlen(page->prefix));
    for (size_t i = 0; i < n && r == 0; i++)
        r = take_key(page, &entries[i], found);
    return r;
}

void walk_page_end(struct walk_page *page, struct walk_found *found)
{
    while (page->depth > 1)
        close_level(page, found);
}

void walk_page_fini(struct walk_page *page)
{
    keep_nothing(page);
    free(page->levels);
    free(page->pos);
}
