/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Disk space: every byte is charged to an entry before it is written. Eviction takes whole versions
 * that nobody has open, least recently used first; of open or very large ones it takes runs of
 * blocks from where it stopped the last time, which for one long sequential read is oldest first.
 * What kernels read past us is left alone (promise.h). */
#include "s3proxyd/cache/space.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "proto/base/log.h"
#include "s3proxyd/cache/entry.h"
#include "s3proxyd/cache/fetch.h"
#include "s3proxyd/cache/fill.h"
#include "s3proxyd/cache/memory.h"
#include "s3proxyd/cache/promise.h"

#define EVICT_STEP_BLOCKS 64u /* fewer, larger holes: at least 1 MiB where there is so much */
#define WHOLE_MAX_BYTES                                                                        \
    (64ULL * 1024 * 1024)                   /* deleting more than this at once stalls the loop \
                                             */
#define DISK_RESERVE_BYTES (1024ULL * 1024) /* never fill the last MiB of a disk */
#define AHEAD_LEAVES_BYTES (4096ULL * 1024) /* read-ahead leaves room for what is waited for */

static uint64_t free_bytes(const struct cache *cache)
{
    struct statvfs st;

    uint64_t memory = cache->memory ? memory_available() : UINT64_MAX;

    if (fstatvfs(cache->objects_fd, &st) < 0)
        return memory; /* not known: the bound alone decides */
    uint64_t disk = (uint64_t)st.f_bavail * st.f_frsize;
    return MIN(disk, memory);
}

void space_release(struct cache *cache, struct cache_entry *entry, uint64_t bytes)
{
    must(entry->bytes >= bytes && cache->used_bytes >= bytes);
    entry->bytes -= bytes;
    cache->used_bytes -= bytes;
}

void space_recharge(struct cache *cache, struct cache_entry *entry, uint64_t bytes)
{
    space_release(cache, entry, entry->bytes);
    entry->bytes = bytes;
    cache->used_bytes += bytes;
}

void space_punch(struct cache_obj *obj, uint64_t first, uint64_t end)
{
    /* Beyond the end, too: of a page that the hole ends in the disk block stays. */
    uint64_t offset = first * BLOCK_BYTES, len = (end - first) * BLOCK_BYTES;

    if (obj->entry->promised_bytes) /* whatever the sidecar says of it now */
        return;
    if (fallocate(obj->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)len) == 0)
        return;
    if (!obj->cache->space_warned) /* its blocks are absent all the same */
        log_warn("cache", "cannot free disk blocks: %s", strerror(errno));
    obj->cache->space_warned = true;
}

/* Evicts the blocks of `mask` in word `word`. Returns what that freed. */
static uint64_t evict_mask(struct cache_obj *obj, uint64_t word, uint64_t mask)
{
    uint64_t freed = 0;

    side_clear(&obj->side, word, mask);
    for (unsigned bit = 0; bit < 64;) {
        if (!(mask >> bit & 1)) {
            bit++;
            continue;
        }
        unsigned run = bit;
        while (run < 64 && mask >> run & 1)
            freed += side_block_charge(&obj->side, word * 64 + run++);
        space_punch(obj, word * 64 + bit, word * 64 + run);
        bit = run;
    }
    space_release(obj->cache, obj->entry, freed);
    obj->cache->stats.evicted_bytes += freed;
    return freed;
}

/* Enough of the lowest blocks of mask for `bytes`, in steps. */
static uint64_t lowest(uint64_t mask, uint64_t bytes)
{
    uint64_t want = MAX((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES, (uint64_t)EVICT_STEP_BLOCKS);
    uint64_t out = 0;

    for (; mask && want; want--) {
        uint64_t bit = mask & -mask;
        out |= bit;
        mask ^= bit;
    }
    return out;
}

/* The stretch of the bitmap that `word` lies in: if it is empty now, its part of the sidecar goes as well. */
static uint64_t leave_stretch(struct cache_obj *obj, uint64_t word)
{
    uint64_t words = sidecar_bitmap_bytes(obj->side.object_size) / 8;
    uint64_t from = word - word % SIDE_STRETCH_WORDS;
    uint64_t to = MIN(from + SIDE_STRETCH_WORDS, words);
    struct obj_span span = {from * 64, MIN(to * 64, obj->side.blocks)};
    const struct fetch *f;

    list_for_each (f, &obj->fetches, link)
        if (f->first < span.end && span.first < f->end)
            return 0;
    for (uint64_t w = from; w < to; w++) {
        w += side_absent_words(&obj->side, w);
        if (w < to && side_held_word(&obj->side, w))
            return 0;
    }
    uint64_t freed = side_trim(&obj->side, span.first, span.end);
    space_release(obj->cache, obj->entry, freed);
    return freed;
}

/* Eviction goes on n words further. Returns what was freed by that. */
static uint64_t go_on(struct cache_obj *obj, uint64_t n)
{
    uint64_t words = sidecar_bitmap_bytes(obj->side.object_size) / 8, from = obj->evict_next;

    obj->evict_next += n;
    if (!obj->side.made || (obj->evict_next < words &&
                            obj->evict_next / SIDE_STRETCH_WORDS == from / SIDE_STRETCH_WORDS))
        return 0;
    return leave_stretch(obj, from);
}

static uint64_t evict_blocks(struct cache_obj *obj, uint64_t bytes, bool recent_too)
{
    uint64_t words = sidecar_bitmap_bytes(obj->side.object_size) / 8, freed = 0;

    for (uint64_t n = 0; n < words && freed < bytes; n++) {
        if (obj->evict_next >= words)
            obj->evict_next = 0;
        uint64_t absent = side_absent_words(&obj->side, obj->evict_next);
        if (absent) {
            n += absent - 1;
            freed += go_on(obj, absent);
            continue;
        }
        uint64_t held = side_held_word(&obj->side, obj->evict_next);
        if (held)
            held &= ~fill_busy_mask(obj, obj->evict_next, recent_too);
        uint64_t mask = lowest(held, bytes - freed);
        if (mask)
            freed += evict_mask(obj, obj->evict_next, mask);
        if (mask == held)
            freed += go_on(obj, 1);
    }
    return freed;
}

static uint64_t evict_whole(struct cache *cache, struct cache_entry *entry)
{
    uint64_t freed = entry->bytes;

    entry_drop(entry, cache);
    cache->stats.evicted_bytes += freed;
    return freed;
}

static uint64_t evict_entry(struct cache *cache, struct cache_entry *entry, uint64_t bytes,
                            bool recent_too)
{
    struct cache_obj *obj = entry->obj;

    if (obj)
        return evict_blocks(obj, bytes, recent_too);
    if (entry->bytes <= WHOLE_MAX_BYTES || obj_open(cache, entry, SIDE_SIZE_ANY, &obj) < 0)
        return evict_whole(cache, entry);
    uint64_t freed = evict_blocks(obj, bytes, true);
    cache_obj_unref(obj);
    return freed ? freed : evict_whole(cache, entry);
}

static bool is_promised(struct cache *cache, struct cache_entry *entry)
{
    return entry->obj ? promise_made(cache, entry) : promise_holds(cache, entry);
}

/* recent_too: also what was asked for a moment ago, and may not have been read yet. */
static uint64_t evict(struct cache *cache, uint64_t bytes, const struct cache_entry *keep,
                      bool recent_too)
{
    struct list stuck = LIST_INIT(stuck);
    struct cache_entry *entry, *next;
    uint64_t freed = 0;

    list_for_each_safe (entry, next, &cache->lru, lru) {
        if (freed >= bytes)
            break;
        if (entry == keep && !entry->obj)
            continue; /* being made right now */
        bool promised = is_promised(cache, entry), stays = entry->obj || promised;
        uint64_t n = promised ? 0 : evict_entry(cache, entry, bytes - freed, recent_too);
        freed += n;
        if (n == 0 && stays) { /* do not look at it again and again */
            list_del(&entry->lru);
            list_add_tail(&stuck, &entry->lru);
        }
    }
    list_splice_tail(&cache->lru, &stuck);
    return freed;
}

void space_evict(struct cache *cache, uint64_t bytes)
{
    evict(cache, bytes, NULL, false);
}

static uint64_t missing(uint64_t have, uint64_t want)
{
    return want > have ? want - have : 0;
}

static uint64_t disk_lack(const struct cache *cache, uint64_t bytes, uint64_t spare)
{
    /* In flight is not there yet, but promised. */
    return missing(free_bytes(cache), cache->inflight_bytes + bytes + spare);
}

int space_reserve(struct cache *cache, struct cache_entry *entry, uint64_t bytes, bool must_have)
{
    uint64_t spare =
        MAX(cache->min_free_bytes, must_have ? DISK_RESERVE_BYTES : AHEAD_LEAVES_BYTES);
    uint64_t over = missing(cache->size_bytes, cache->used_bytes + bytes);
    uint64_t lack = disk_lack(cache, bytes, spare);

    if (over || lack) {
        evict(cache, MAX(over, lack), entry, false);
        over = missing(cache->size_bytes, cache->used_bytes + bytes);
        if (!must_have && (over || (lack && disk_lack(cache, bytes, spare))))
            return -ENOSPC;
        lack = lack ? disk_lack(cache, bytes, DISK_RESERVE_BYTES) : 0;
        if (lack)
            evict(cache, lack, entry, true);
        if (lack && disk_lack(cache, bytes, DISK_RESERVE_BYTES))
            return -ENOSPC;
    }
    cache->used_bytes += bytes;
    entry->bytes += bytes;
    return 0;
}

void cache_make_room(struct cache *cache, uint64_t bytes)
{
    uint64_t lack = missing(free_bytes(cache), bytes + cache->inflight_bytes);

    if (lack)
        evict(cache, lack, NULL, true);
}

uint64_t cache_room(const struct cache *cache)
{
    uint64_t spare = MAX(cache->min_free_bytes, AHEAD_LEAVES_BYTES) + cache->inflight_bytes;
    uint64_t room = cache->size_bytes, avail = free_bytes(cache);

    if (avail < spare)
        room = MIN(room, missing(spare - avail, cache->used_bytes));
    else if (avail - spare < room)
        room = MIN(room, cache->used_bytes + (avail - spare));
    return missing(cache->promised_bytes, room);
}

uint64_t cache_charge(uint64_t size)
{
    return side_data_charge(size) + side_file_charge(size);
}
