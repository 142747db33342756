/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
#include "s3proxyd/cache/promise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/cache/entry.h"

#define PASS_MIN_BYTES (256u * 1024) /* smaller ones are read sooner than registered */
#define PASS_CACHE_SHARE 2u          /* of the cache: the rest must be there to evict from */
#define WITHDRAW_MAX 64u             /* probes at one opening */

/* 0: nobody else has it open. The lease is given back at once. */
static int probe(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
        return -errno;
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    return 0;
}

bool promise_possible(int fd)
{
    /* Who opens the file just now waits until the lease is given back, and we would be told so. */
    signal(SIGIO, SIG_IGN);
    return probe(fd) == 0;
}

static void keep_in_mind(struct cache *cache, struct cache_entry *entry, uint64_t bytes)
{
    promise_forget(cache, entry);
    entry->promise_known = true;
    entry->promised_bytes = bytes;
    cache->promised_bytes += bytes;
    if (bytes)
        list_add_tail(&cache->promised, &entry->promise);
}

void promise_forget(struct cache *cache, struct cache_entry *entry)
{
    must(cache->promised_bytes >= entry->promised_bytes);
    cache->promised_bytes -= entry->promised_bytes;
    entry->promised_bytes = 0;
    list_del(&entry->promise);
    list_init(&entry->promise);
}

static uint64_t cost(uint64_t object_size)
{
    return MAX(object_size, (uint64_t)1) + side_file_charge(object_size);
}

void promise_learn(struct cache *cache, struct cache_entry *entry, const struct side *side)
{
    bool made = atomic_load(&side->head->promised);

    keep_in_mind(cache, entry, made ? cost(side->object_size) : 0);
}

/* Reads the head without mapping it. ret_fd may be NULL. */
static int read_head(struct cache *cache, const struct cache_entry *entry, int flags,
                     struct sidecar_head *ret_head, int *ret_fd)
{
    char path[ENTRY_PATH_SIZE];
    size_t got;

    entry_path(entry->hash, ".side", path);
    _cleanup_(closep) int fd = openat(cache->objects_fd, path, flags | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    int r = fd_pread_full(fd, ret_head, sizeof(*ret_head), 0, &got);
    if (r < 0)
        return r;
    if (got < sizeof(*ret_head) || ret_head->magic != SIDECAR_MAGIC)
        return -EBADMSG;
    if (ret_fd)
        *ret_fd = take_fd(&fd);
    return 0;
}

/* Nobody has a mapping of an earlier boot. */
static bool of_this_boot(const struct cache *cache, const struct sidecar_head *head)
{
    return memcmp(head->boot_id, cache->boot.id, sizeof(head->boot_id)) == 0;
}

bool promise_made(struct cache *cache, struct cache_entry *entry)
{
    struct sidecar_head head;

    if (!entry->promise_known) {
        int r = read_head(cache, entry, O_RDONLY, &head, NULL);
        bool made = r == 0 && head.promised && of_this_boot(cache, &head) &&
                    range_ok(0, head.object_size);
        keep_in_mind(cache, entry, made ? cost(head.object_size) : 0);
    }
    return entry->promised_bytes != 0;
}

/* Any doubt means that it is in use, but for a file that is not there. */
static bool in_use(struct cache *cache, const struct cache_entry *entry)
{
    char path[ENTRY_PATH_SIZE];

    entry_path(entry->hash, ".data", path);
    _cleanup_(closep) int fd = openat(cache->objects_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno != ENOENT && errno != ELOOP;
    return probe(fd) < 0;
}

/* From now on blocks of it may go again. false: the word could not be changed */
static bool withdraw(struct cache *cache, struct cache_entry *entry)
{
    const uint64_t no = 0;
    struct sidecar_head head;
    _cleanup_(closep) int fd = -1;
    int r = read_head(cache, entry, O_RDWR, &head, &fd);

    if (r == 0)
        r = fd_pwrite_full(fd, &no, sizeof(no), offsetof(struct sidecar_head, promised));
    if (r < 0 && r != -ENOENT && r != -EBADMSG)
        return false;
    keep_in_mind(cache, entry, 0);
    return true;
}

bool promise_holds(struct cache *cache, struct cache_entry *entry)
{
    must(!entry->obj);
    if (!promise_made(cache, entry))
        return false;
    return in_use(cache, entry) || !withdraw(cache, entry);
}

/* Room for one more among the promised: of those nobody has open any more. */
static bool make_share(struct cache *cache, uint64_t bytes)
{
    uint64_t limit = cache->size_bytes / PASS_CACHE_SHARE;

    for (unsigned i = 0; i < WITHDRAW_MAX && cache->promised_bytes + bytes > limit; i++) {
        struct cache_entry *entry = list_first(&cache->promised, struct cache_entry, promise);
        if (!entry)
            break;
        if (!entry->obj && !promise_holds(cache, entry))
            continue;
        list_del(&entry->promise); /* not the next one to be asked */
        list_add_tail(&cache->promised, &entry->promise);
    }
    return cache->promised_bytes + bytes <= limit;
}

bool cache_obj_promise(struct cache_obj *obj)
{
    struct cache *cache = obj->cache;
    struct side *side = &obj->side;
    uint64_t bytes = cost(side->object_size);

    if (!cache->can_promise || obj->doomed || atomic_load(&side->head->revoked))
        return false;
    if (obj->entry->promised_bytes) /* blocks that must be verified anew are not present */
        return side_all_present(side, 0, side->blocks);
    if (side->object_size <= PASS_MIN_BYTES || bytes > cache->size_bytes / PASS_CACHE_SHARE ||
        !side_all_present(side, 0, side->blocks) || !make_share(cache, bytes))
        return false;
    atomic_store(&side->head->promised, 1);
    keep_in_mind(cache, obj->entry, bytes);
    log_debug("cache", "%s stays whole from now on", log_esc(obj->key ? obj->key : "?"));
    return true;
}
