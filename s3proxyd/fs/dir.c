/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A directory's slots. A slot's number is the readdir cookie of its entry, so an entry never changes its
 * slot while it lives; see dir_pack() for when the holes of removed entries are closed. */
#include "s3proxyd/fs/dir.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "s3proxyd/fs/walk.h"

#define DIR_SLOTS_MAX (16u * 1024 * 1024)
#define LISTING_TTL_MS 1000u /* what is out of date at once is not worth a whole page */
#define SMALL_DIR 64u
#define DIR_PACK_QUIET_NS (60 * NS_PER_S) /* a reader that paused longer may see an entry twice */
#define DIR_HOLES_MAX 65536u              /* so may others, once in so many removals */

int dir_alloc(struct inode *dir)
{
    dir->dir = calloc(1, sizeof(*dir->dir));
    if (!dir->dir)
        return -ENOMEM;
    dir->dir->listing_saved = true; /* perhaps: until we looked or removed it */
    return 0;
}

void dir_free(struct inode *dir)
{
    if (!dir->dir)
        return;
    must(dir->dir->live == 0 && !dir->dir->load);
    free(dir->dir->slots);
    free(dir->dir->covered);
    free(take(dir->dir));
}

uint64_t dir_cookie(const struct inode *dir, size_t slot)
{
    return dir->dir->base + slot + 1;
}

size_t dir_slot_behind(const struct inode *dir, uint64_t cookie)
{
    return cookie > dir->dir->base ? cookie - dir->dir->base : 0;
}

static void dir_pack(struct dir *d)
{
    bool quiet = clock_mono_ns() - d->read_ns >= DIR_PACK_QUIET_NS;
    if (d->nslots < 64 || d->live * 2 > d->nslots)
        return;
    if (!quiet && (d->nslots < DIR_HOLES_MAX || d->live * 8 > d->nslots))
        return;
    size_t to = 0;
    d->base += d->nslots;
    for (size_t from = 0; from < d->nslots; from++)
        if (d->slots[from]) {
            d->slots[to] = d->slots[from];
            d->slots[to]->slot = to;
            to++;
        }
    d->nslots = to;
}

/* A name is missing from the slots: nothing may be concluded from that. */
static void dir_incomplete(struct dir *d)
{
    d->complete = false;
    free(take(d->covered));
}

int dir_add(struct inode *inode)
{
    if (inode->listed || !inode->parent)
        return 0;
    struct dir *d = inode->parent->dir;
    if (d->nslots == d->cap)
        dir_pack(d);
    if (d->nslots == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 8;
        struct inode **slots =
            cap > DIR_SLOTS_MAX ? NULL : reallocarray(d->slots, cap, sizeof(*slots));
        if (!slots) {
            dir_incomplete(d);
            return -ENOMEM;
        }
        d->slots = slots;
        d->cap = cap;
    }
    inode->slot = d->nslots++;
    d->slots[inode->slot] = inode_ref(inode);
    d->live++;
    inode->listed = true;
    return 0;
}

void dir_remove(struct inode *inode)
{
    if (!inode->listed)
        return;
    struct dir *d = inode->parent->dir;
    must(d->slots[inode->slot] == inode);
    d->slots[inode->slot] = NULL;
    d->live--;
    inode->listed = false;
    inode_unref(inode); /* the caller holds another one */
}

bool dir_fresh(const struct inode *dir, uint64_t ttl_ms)
{
    const struct dir *d = dir->dir;
    return d->complete && d->listed_ns && clock_mono_ns() - d->listed_ns < ttl_ms * NS_PER_MS;
}

bool dir_readable(const struct inode *dir, uint64_t ttl_ms)
{
    return dir_fresh(dir, ttl_ms) && dir->dir->made_for != DIR_FOR_NAME;
}

void dir_expire(struct inode *dir)
{
    dir->dir->listed_ns = 0;
    dir->dir->expired_ns = clock_mono_ns();
    free(take(dir->dir->covered));
    dir_unsave_listing(dir);
}

uint64_t dir_forget(struct inode *i)
{
    uint64_t n = 1;
    i->fetched_ns = 0;
    i->changed = i->tree->fs->change; /* an answer that is on its way is of before */
    if (!i->is_dir)
        return n;
    dir_expire(i);
    for (size_t k = 0; k < i->dir->nslots; k++)
        if (i->dir->slots[k])
            n += dir_forget(i->dir->slots[k]);
    return n;
}

void dir_unsave_listing(struct inode *dir)
{
    _cleanup_(freep) char *key = NULL;
    if (!dir->dir->listing_saved || inode_key(dir, &key) < 0)
        return;
    db_del_listing(dir->tree->fs->db, dir->tree->bucket_no, key);
    dir->dir->listing_saved = false;
}

void dir_drop_children(struct inode *dir)
{
    struct dir *d = dir->dir;
    for (size_t i = 0; i < d->nslots; i++) {
        _cleanup_(inode_unrefp) struct inode *child = d->slots[i] ? inode_ref(d->slots[i]) : NULL;
        if (!child || inode_dirty(child))
            continue;
        if (child->is_dir)
            dir_drop_children(child);
        inode_detach(child);
    }
    dir_incomplete(d);
    d->listed_ns = 0;
}

void dir_trim(struct inode *dir)
{
    struct dir *d = dir->dir;
    if (d->load)
        return;
    for (size_t i = 0; i < d->nslots; i++) {
        struct inode *child = d->slots[i];
        if (!child || child->refs > 1 || child->spool || child->created)
            continue;
        inode_ref(child);
        dir_remove(child);
        inode_unref(child);
    }
    dir_incomplete(d);
    if (d->live == 0) {
        d->base += d->nslots;
        d->nslots = 0;
    }
}

bool dir_covers(const char *covered, const char *name, size_t len)
{
    size_t end = strlen(covered);
    int c = strncmp(covered, name, len);
    if (c != 0)
        return c > 0 && !(end && covered[end - 1] == '/' && len >= end &&
                          memcmp(covered, name, end - 1) == 0);
    /* Some servers sort "a/" as "a": then "a-b" comes behind it. */
    return (unsigned char)covered[len] >= '/';
}

bool dir_lacks(struct inode *dir, const char *name, size_t len, uint64_t ttl_ms, uint64_t since_ns)
{
    const struct dir *d = dir->dir;
    bool fresh = dir_fresh(dir, ttl_ms);
    if ((fresh && d->made_for == DIR_FOR_READER) || dir_known_absent(dir, name, len))
        return true;
    if (fresh && d->listed_ns >= since_ns)
        dir_note_absent(dir, name, len, d->listed_ns);
    else if (d->covered && d->covered_ns >= since_ns && dir_covers(d->covered, name, len))
        dir_note_absent(dir, name, len, d->covered_ns);
    else
        return false;
    return true;
}

void dir_used(struct inode *dir)
{
    if (dir->dir->ahead)
        walk_used(dir);
}

bool dir_worth_listing(const struct inode *dir, bool known, uint64_t ttl_ms)
{
    const struct dir *d = dir->dir;
    if (!tree_is_far(dir->tree) || ttl_ms < LISTING_TTL_MS || d->large || d->live > PAGES_KEYS)
        return false;
    if (dir_fresh(dir, ttl_ms)) /* again, for a name that may have come since: cheaper than HEAD and LIST */
        return d->live <= SMALL_DIR;
    /* One name asked for again and again is not a reason to list its hundred neighbours each time. */
    return !known || d->live <= SMALL_DIR || d->probes > 0;
}

uint64_t dir_names_known(const struct inode *dir)
{
    return dir->dir->live;
}

void dir_note_absent(struct inode *dir, const char *name, size_t len, uint64_t asked_ns)
{
    struct dir *d = dir->dir;
    d->absent[d->absent_next++ % DIR_ABSENT] =
        (struct dir_absent){table_hash_bytes(name, len), asked_ns};
}

bool dir_known_absent(const struct inode *dir, const char *name, size_t len)
{
    uint64_t hash = table_hash_bytes(name, len), now = clock_mono_ns();
    for (unsigned i = 0; i < DIR_ABSENT; i++) {
        const struct dir_absent *a = &dir->dir->absent[i];
        if (a->hash == hash && a->asked_ns > dir->dir->expired_ns &&
            now - a->asked_ns < NEGATIVE_TTL_MS * NS_PER_MS)
            return true;
    }
    return false;
}
