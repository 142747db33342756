/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Entries: from a key to a hash, from a hash to the names of two files; whole files come in
 * (uploads) and go (deletions) here without being opened as objects. */
#include "s3proxyd/cache/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/cache/promise.h"
#include "s3proxyd/cache/space.h"

static int add_bytes(struct str *b, const void *data, uint64_t len)
{
    int r = str_addn(b, &len, sizeof(len));

    return r < 0 ? r : str_addn(b, data, len);
}

/* Every part behind its length: no two keys run together to the same bytes. */
int entry_hash(const struct cache_key *key, uint8_t ret_hash[ENTRY_HASH_BYTES])
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    const char *parts[] = {key->endpoint, key->bucket, key->key, key->etag};
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        const char *part = parts[i] ? parts[i] : "";
        r = add_bytes(&b, part, strlen(part));
    }
    if (r == 0)
        r = add_bytes(&b, &key->scope, sizeof(key->scope));
    if (r == 0)
        r = add_bytes(&b, &key->size, sizeof(key->size));
    return r < 0 ? r : digest_sha256(b.s, b.len, ret_hash);
}

void entry_path(const uint8_t hash[ENTRY_HASH_BYTES], const char *suffix, char out[ENTRY_PATH_SIZE])
{
    char hex[2 * ENTRY_HASH_BYTES + 1];

    digest_hex(hash, ENTRY_HASH_BYTES, hex);
    snprintf(out, ENTRY_PATH_SIZE, "%.2s/%s%s", hex, hex, suffix);
}

static uint64_t table_key(const uint8_t hash[ENTRY_HASH_BYTES])
{
    uint64_t v;

    memcpy(&v, hash, sizeof(v)); /* SHA-256: as good as any table hash */
    return v;
}

static bool entry_eq(const struct table_node *node, const void *key)
{
    return memcmp(container_of(node, struct cache_entry, node)->hash, key, ENTRY_HASH_BYTES) == 0;
}

struct cache_entry *entry_find(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES])
{
    struct table_node *node = table_find(&cache->entries, table_key(hash), entry_eq, hash);

    return node ? container_of(node, struct cache_entry, node) : NULL;
}

int entry_add(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES],
              struct cache_entry **ret_entry)
{
    _cleanup_(freep) struct cache_entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return -ENOMEM;
    memcpy(entry->hash, hash, ENTRY_HASH_BYTES);
    list_init(&entry->promise);
    int r = table_add(&cache->entries, &entry->node, table_key(hash));
    if (r < 0)
        return r;
    list_add_tail(&cache->lru, &entry->lru);
    *ret_entry = take(entry);
    return 0;
}

void entry_forget(struct cache_entry *entry, struct cache *cache)
{
    space_recharge(cache, entry, 0);
    promise_forget(cache, entry);
    table_del(&cache->entries, &entry->node);
    list_del(&entry->lru);
    free(entry);
}

void entry_unlink(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES])
{
    char path[ENTRY_PATH_SIZE];

    entry_path(hash, ".side", path);
    unlinkat(cache->objects_fd, path, 0);
    entry_path(hash, ".data", path);
    unlinkat(cache->objects_fd, path, 0);
}

void entry_drop(struct cache_entry *entry, struct cache *cache)
{
    must(!entry->obj);
    entry_unlink(cache, entry->hash);
    entry_forget(entry, cache);
}

void entry_retire(struct cache_entry *entry, struct cache *cache)
{
    if (!promise_holds(cache, entry)) {
        entry_drop(entry, cache);
        return;
    }
    list_del(&entry->lru);
    list_add_head(&cache->lru, &entry->lru);
}

int entry_make_parent(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES])
{
    char path[ENTRY_PATH_SIZE];

    entry_path(hash, "", path);
    path[2] = 0;
    return mkdirat(cache->objects_fd, path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* A finished upload under its new name: data first, the sidecar makes it valid. */
static int adopt_files(struct cache *cache, const struct cache_entry *entry, uint64_t size,
                       const char *path)
{
    _cleanup_(side_fini) struct side side = SIDE_NULL;
    char data[ENTRY_PATH_SIZE], side_path[ENTRY_PATH_SIZE];
    struct stat st;

    if (lstat(path, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        return -EINVAL;
    int r = entry_make_parent(cache, entry->hash);
    if (r < 0)
        return r;
    entry_path(entry->hash, ".data", data);
    entry_path(entry->hash, ".side", side_path);
    if (renameat(AT_FDCWD, path, cache->objects_fd, data) < 0)
        return -errno;
    r = side_create(cache->objects_fd, side_path, size, &cache->boot, true, &side);
    if (r == 0)
        side_seal(&side, &st);
    return r;
}

static int adopt(struct cache *cache, const struct cache_key *key, const char *path)
{
    uint8_t hash[ENTRY_HASH_BYTES];
    struct cache_entry *entry;
    int r = range_ok(0, key->size) ? entry_hash(key, hash) : -EFBIG;

    if (r < 0)
        return r;
    entry = entry_find(cache, hash);
    if (entry && (entry->obj || promise_holds(cache, entry)))
        return -EEXIST; /* already open, perhaps being fetched: the same bytes */
    if (entry)
        entry_drop(entry, cache);
    else
        entry_unlink(cache, hash);
    r = entry_add(cache, hash, &entry);
    if (r < 0)
        return r;
    uint64_t data = (key->size + 4095) / 4096 * 4096;
    r = space_reserve(cache, entry, data + side_file_charge(key->size), false);
    if (r == 0)
        r = adopt_files(cache, entry, key->size, path);
    if (r < 0)
        entry_drop(entry, cache);
    return r;
}

int cache_adopt(struct cache *cache, const struct cache_key *key, const char *path)
{
    int r = adopt(cache, key, path);

    if (r < 0)
        unlink(path);
    return r == -EEXIST ? 0 : r;
}

static int move_files(struct cache *cache, const uint8_t from[ENTRY_HASH_BYTES],
                      const uint8_t to[ENTRY_HASH_BYTES])
{
    static const char *const suffixes[] = {".data", ".side"};
    char old[ENTRY_PATH_SIZE], new[ENTRY_PATH_SIZE];
    int r = entry_make_parent(cache, to);

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(suffixes); i++) {
        entry_path(from, suffixes[i], old);
        entry_path(to, suffixes[i], new);
        if (renameat(cache->objects_fd, old, cache->objects_fd, new) < 0)
            r = -errno;
    }
    return r;
}

/* Takes the entry's place in the table, and the names of who has it open. */
static int rename_entry(struct cache *cache, struct cache_entry *entry,
                        const uint8_t hash[ENTRY_HASH_BYTES], const struct cache_key *to)
{
    _cleanup_(freep) char *key = strdup(to->key), *etag = strdup(to->etag ? to->etag : "");
    uint8_t old[ENTRY_HASH_BYTES];

    if (!key || !etag)
        return -ENOMEM;
    memcpy(old, entry->hash, sizeof(old));
    table_del(&cache->entries, &entry->node);
    memcpy(entry->hash, hash, sizeof(entry->hash));
    must(table_add(&cache->entries, &entry->node, table_key(hash)) == 0); /* one was just taken out */
    if (entry->obj) {
        free(entry->obj->key);
        free(entry->obj->etag);
        entry->obj->key = take(key);
        entry->obj->etag = take(etag);
    }
    return move_files(cache, old, hash);
}

void cache_rename(struct cache *cache, const struct cache_key *from, const struct cache_key *to)
{
    uint8_t old[ENTRY_HASH_BYTES], new[ENTRY_HASH_BYTES];

    if (entry_hash(from, old) < 0 || entry_hash(to, new) < 0 || memcmp(old, new, sizeof(old)) == 0)
        return;
    struct cache_entry *entry = entry_find(cache, old), *there = entry_find(cache, new);
    if (!entry || (entry->obj && (!list_empty(&entry->obj->fetches) || entry->obj->doomed ||
                                  atomic_load(&entry->obj->side.head->revoked))))
        return;
    if (there && (there->obj || promise_holds(cache, there)))
        return; /* the same bytes, and in use */
    if (there)
        entry_drop(there, cache);
    int r = rename_entry(cache, entry, new, to);
    if (r < 0) /* its files are found under neither name in the next run: only space is lost */
        log_warn("cache", "the files of %s do not follow its new name: %s", log_esc(to->key),
                 strerror(-r));
}

void cache_forget(struct cache *cache, const struct cache_key *key)
{
    uint8_t hash[ENTRY_HASH_BYTES];

    if (entry_hash(key, hash) < 0)
        return; /* out of memory: it will be evicted some day */
    struct cache_entry *entry = entry_find(cache, hash);
    if (!entry)
        entry_unlink(cache, hash); /* the walk at start may not have met it yet */
    else if (entry->obj)
        entry->obj->doomed = true;
    else
        entry_retire(entry, cache);
}
