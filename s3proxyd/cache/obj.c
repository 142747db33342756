/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Object versions that are in use: their two files found or made, mapped, and let go. */
#include "s3proxyd/cache/obj.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/cache/entry.h"
#include "s3proxyd/cache/promise.h"
#include "s3proxyd/cache/space.h"

#define SLACK_BYTES (64u * 1024) /* what a file system may allocate beside our blocks */

static void obj_free(struct cache_obj *obj)
{
    side_fini(&obj->side);
    closep(&obj->data_fd);
    closep(&obj->data_ro);
    closep(&obj->side_ro);
    free(obj->key);
    free(obj->etag);
    free(obj);
}
DEFINE_CLEANUP(struct cache_obj *, obj_free)

static struct cache_obj *obj_alloc(struct cache *cache, struct cache_entry *entry)
{
    struct cache_obj *obj = calloc(1, sizeof(*obj));

    if (!obj)
        return NULL;
    *obj = (struct cache_obj){.cache = cache,
                              .entry = entry,
                              .refs = 1,
                              .data_fd = -1,
                              .data_ro = -1,
                              .side_ro = -1,
                              .side = SIDE_NULL};
    list_init(&obj->waits);
    list_init(&obj->fetches);
    return obj;
}

static int open_data(struct cache_obj *obj, int flags)
{
    char path[ENTRY_PATH_SIZE];

    entry_path(obj->entry->hash, ".data", path);
    obj->data_fd =
        openat(obj->cache->objects_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (obj->data_fd < 0)
        return -errno;
    obj->data_ro = openat(obj->cache->objects_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return obj->data_ro < 0 ? -errno : 0;
}

static int open_side_ro(struct cache_obj *obj)
{
    char path[ENTRY_PATH_SIZE];

    entry_path(obj->entry->hash, ".side", path);
    obj->side_ro = openat(obj->cache->objects_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return obj->side_ro < 0 ? -errno : 0;
}

static void seal(struct cache_obj *obj)
{
    struct stat st;

    if (fstat(obj->data_fd, &st) == 0)
        side_seal(&obj->side, &st);
}

/* Bytes of fetches that a crash cut short lie in blocks nobody counts. */
static void punch_absent(struct cache_obj *obj)
{
    uint64_t run = 0, b = 0;

    for (; b < obj->side.blocks; b++) {
        if (b % 64 == 0)
            b += side_absent_words(&obj->side, b / 64) * 64; /* the run goes on */
        if (b >= obj->side.blocks)
            break;
        uint64_t held = side_held_word(&obj->side, b / 64);
        if (b % 64 == 0 && held == 0 && b + 64 <= obj->side.blocks) {
            b += 63; /* a whole word of absent blocks: the run goes on */
            continue;
        }
        if (!(held >> (b % 64) & 1))
            continue;
        if (run < b)
            space_punch(obj, run, b);
        run = b + 1;
    }
    if (run < obj->side.blocks)
        space_punch(obj, run, obj->side.blocks);
}

int obj_open(struct cache *cache, struct cache_entry *entry, uint64_t object_size,
             struct cache_obj **ret_obj)
{
    _cleanup_(obj_freep) struct cache_obj *obj = obj_alloc(cache, entry);
    char path[ENTRY_PATH_SIZE];
    struct stat st;
    int r;

    if (!obj)
        return -ENOMEM;
    entry_path(entry->hash, ".side", path);
    r = side_open(cache->objects_fd, path, object_size, &cache->boot, &obj->side);
    if (r == 0)
        r = open_data(obj, 0);
    if (r == 0)
        r = open_side_ro(obj);
    if (r < 0)
        return r == -ELOOP ? -EBADMSG : r;
    if (fstat(obj->data_fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != obj->side.object_size)
        return -EBADMSG;
    side_check_seal(&obj->side, &st);
    promise_learn(cache, entry, &obj->side);
    uint64_t held = side_held_charge(&obj->side);
    if ((uint64_t)st.st_blocks * 512 > held + SLACK_BYTES)
        punch_absent(obj);
    space_recharge(cache, entry, side_own_charge(&obj->side) + held);
    entry->obj = obj;
    cache->nopen++;
    *ret_obj = take(obj);
    return 0;
}

static int make_files(struct cache_obj *obj, uint64_t object_size)
{
    struct cache *cache = obj->cache;
    char path[ENTRY_PATH_SIZE];

    int r = entry_make_parent(cache, obj->entry->hash);
    if (r == 0)
        r = open_data(obj, O_CREAT | O_EXCL);
    if (r < 0)
        return r;
    if (ftruncate(obj->data_fd, (off_t)object_size) < 0)
        return -errno;
    entry_path(obj->entry->hash, ".side", path);
    r = side_create(cache->objects_fd, path, object_size, &cache->boot, false, &obj->side);
    return r < 0 ? r : open_side_ro(obj);
}

static int obj_create(struct cache *cache, struct cache_entry *entry, uint64_t object_size,
                      struct cache_obj **ret_obj)
{
    _cleanup_(obj_freep) struct cache_obj *obj = obj_alloc(cache, entry);
    int r;

    if (!obj)
        return -ENOMEM;
    if (!range_ok(0, object_size))
        return -EFBIG;
    entry_unlink(cache, entry->hash);
    space_recharge(cache, entry, 0);
    r = space_reserve(cache, entry, side_new_charge(object_size), true);
    if (r == 0)
        r = make_files(obj, object_size);
    if (r == -ENOENT && cache_renew(cache, entry) == 0)
        r = make_files(obj, object_size);
    if (r < 0) {
        entry_unlink(cache, entry->hash);
        space_recharge(cache, entry, 0);
        return r;
    }
    promise_learn(cache, entry, &obj->side);
    entry->obj = obj;
    cache->nopen++;
    *ret_obj = take(obj);
    return 0;
}

static int obj_name(struct cache_obj *obj, const struct cache_key *key)
{
    _cleanup_(freep) char *name = strdup(key->key), *etag = strdup(key->etag ? key->etag : "");

    if (!name || !etag)
        return -ENOMEM;
    obj->key = take(name);
    obj->etag = take(etag);
    return 0;
}

static int obj_find_or_make(struct cache *cache, struct cache_entry *entry,
                            const struct cache_key *key)
{
    struct cache_obj *obj;
    int r = obj_open(cache, entry, key->size, &obj);

    if (r == -ENOENT || r == -EBADMSG) {
        if (r == -EBADMSG)
            log_info("cache", "unusable files of %s made anew", log_esc(key->key));
        r = obj_create(cache, entry, key->size, &obj);
    }
    if (r < 0)
        return r;
    r = obj_name(obj, key);
    if (r < 0)
        cache_obj_unref(obj);
    return r;
}

int cache_obj_get(struct cache *cache, struct store *store, const struct cache_key *key,
                  struct cache_obj **ret_obj)
{
    uint8_t hash[ENTRY_HASH_BYTES];
    struct cache_entry *entry;
    int r = entry_hash(key, hash);

    if (r < 0)
        return r;
    entry = entry_find(cache, hash);
    if (entry && entry->obj) {
        cache_obj_ref(entry->obj);
    } else {
        bool known = entry;
        if (!known)
            r = entry_add(cache, hash, &entry);
        if (r < 0)
            return r;
        r = obj_find_or_make(cache, entry, key);
        if (r < 0) {
            if (!known && entry->bytes == 0) /* nothing of it is on disk */
                entry_forget(entry, cache);
            return r;
        }
    }
    struct cache_obj *obj = entry->obj;
    obj->store = store;
    obj->doomed = false;
    obj_touch(obj);
    *ret_obj = obj;
    return 0;
}

struct cache_obj *cache_obj_ref(struct cache_obj *obj)
{
    must(obj->refs > 0);
    obj->refs++;
    return obj;
}

void cache_obj_unref(struct cache_obj *obj)
{
    if (!obj)
        return;
    must(obj->refs > 0);
    if (--obj->refs > 0)
        return;
    must(list_empty(&obj->waits) && list_empty(&obj->fetches));
    struct cache *cache = obj->cache;
    struct cache_entry *entry = obj->entry;
    seal(obj);
    bool drop = obj->doomed || atomic_load(&obj->side.head->revoked);

    if (guard_broken(obj->side.guard))
        log_warn("cache", "files of %s were cut or cannot be read: they are made anew",
                 log_esc(obj->key ? obj->key : "?"));
    entry->obj = NULL;
    cache->nopen--;
    obj_free(obj);
    if (drop)
        entry_retire(entry, cache);
}

void obj_touch(struct cache_obj *obj)
{
    list_del(&obj->entry->lru);
    list_add_tail(&obj->cache->lru, &obj->entry->lru);
}

void obj_note_recent(struct cache_obj *obj, struct obj_span span)
{
    unsigned i = obj->recent_next++ % OBJ_RECENT;

    obj->recent[i].span = span;
    obj->recent[i].at_ns = clock_mono_ns();
}
