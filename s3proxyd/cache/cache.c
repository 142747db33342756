/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The cache as a whole: its directory, its lock, what the file system must be able to do, its
 * counters. The tree:  <dir>/lock   <dir>/index (while not running)   <dir>/objects/xx/<hash>.data
 * and .side */
#include "s3proxyd/cache/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/cache/entry.h"
#include "s3proxyd/cache/fetch.h"
#include "s3proxyd/cache/fill.h"
#include "s3proxyd/cache/obj.h"
#include "s3proxyd/cache/promise.h"
#include "s3proxyd/cache/recall.h"
#include "s3proxyd/cache/space.h"

#define FUSE_MAGIC 0x65735546 /* FUSE_SUPER_MAGIC; linux/magic.h lacks it */
#define PROBE_BYTES (256u * 1024)

/* Whoever can write here can change what everybody reads. */
static int check_owner(int dir_fd, const char **ret_why)
{
    struct stat st;

    if (fstat(dir_fd, &st) < 0)
        return -errno;
    if (st.st_uid == geteuid() && (st.st_mode & 0022) == 0)
        return 0;
    *ret_why = "the cache directory belongs to somebody else or others may write to it";
    return -EPERM;
}

static int take_lock(struct cache *cache, const char **ret_why)
{
    cache->lock_fd = openat(cache->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (cache->lock_fd < 0)
        return -errno;
    if (flock(cache->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return -errno;
    *ret_why = "another s3proxyd uses this cache directory";
    return -EBUSY;
}

/* Evicting means punching holes; a FUSE file system below could be one of our own mounts. */
static int probe(struct cache *cache, const char **ret_why)
{
    static const char zeros[4096];
    struct statfs fs;
    int r = 0;

    if (fstatfs(cache->dir_fd, &fs) < 0)
        return -errno;
    if ((uint32_t)fs.f_type == FUSE_MAGIC) {
        *ret_why = "the cache directory is on a FUSE file system";
        return -EOPNOTSUPP;
    }
    _cleanup_(closep) int fd =
        openat(cache->dir_fd, "probe", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    unlinkat(cache->dir_fd, "probe", 0);
    for (uint64_t at = 0; r == 0 && at < PROBE_BYTES; at += sizeof(zeros))
        r = fd_pwrite_full(fd, zeros, sizeof(zeros), at);
    if (r < 0) {
        *ret_why = "nothing can be written to the cache directory";
        return r;
    }
    cache->can_promise = promise_possible(fd);
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PROBE_BYTES) == 0)
        return 0;
    *ret_why = "the cache directory's file system cannot punch holes";
    return errno == EOPNOTSUPP || errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

static int open_objects(struct cache *cache)
{
    if (mkdirat(cache->dir_fd, "objects", 0700) < 0 && errno != EEXIST)
        return -errno;
    cache->objects_fd =
        openat(cache->dir_fd, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return cache->objects_fd < 0 ? -errno : 0;
}

static int open_dirs(struct cache *cache, const char **ret_why)
{
    *ret_why = "the cache directory cannot be made or opened";
    int r = fd_mkdir_p(cache->dir, 0700);
    if (r < 0)
        return r;
    cache->dir_fd = open(cache->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cache->dir_fd < 0)
        return -errno;
    r = check_owner(cache->dir_fd, ret_why);
    if (r == 0)
        r = take_lock(cache, ret_why);
    if (r == 0)
        r = probe(cache, ret_why);
    return r < 0 ? r : open_objects(cache);
}

static bool is_gone(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

static void forget_closed(struct cache *cache, const struct cache_entry *keep)
{
    struct cache_entry *entry, *next;

    list_for_each_safe (entry, next, &cache->lru, lru)
        if (!entry->obj && entry != keep)
            entry_forget(entry, cache);
}

int cache_renew(struct cache *cache, const struct cache_entry *keep)
{
    struct cache fresh = {.dir = cache->dir, .dir_fd = -1, .objects_fd = -1, .lock_fd = -1};
    const char *why = "its subdirectory cannot be made";
    bool whole = is_gone(cache->dir_fd);
    int r;

    if (!whole && !is_gone(cache->objects_fd))
        return -ENOENT;
    if (whole) {
        r = open_dirs(&fresh, &why);
    } else {
        fresh.dir_fd = cache->dir_fd;
        r = open_objects(&fresh);
    }
    if (r < 0) {
        log_error("cache", "the cache directory %s was deleted and cannot be made anew: %s: %s",
                  log_esc(cache->dir), why, strerror(-r));
        if (whole)
            closep(&fresh.dir_fd);
        closep(&fresh.lock_fd);
        return r;
    }
    log_warn("cache", "the cache directory %s was deleted: made anew", log_esc(cache->dir));
    if (whole) {
        closep(&cache->dir_fd);
        closep(&cache->lock_fd);
        cache->lock_fd = fresh.lock_fd;
    }
    closep(&cache->objects_fd);
    cache->dir_fd = fresh.dir_fd;
    cache->objects_fd = fresh.objects_fd;
    forget_closed(cache, keep);
    return 0;
}

static void release(struct cache *cache)
{
    struct table_node *node, *next;

    for (node = table_next(&cache->entries, NULL); node; node = next) {
        next = table_next(&cache->entries, node);
        free(container_of(node, struct cache_entry, node));
    }
    table_fini(&cache->entries);
    if (cache->hedge_timer)
        loop_timer_free(cache->hedge_timer);
    closep(&cache->objects_fd);
    closep(&cache->dir_fd);
    closep(&cache->lock_fd); /* last: gives the directory up */
    free(cache->dir);
    free(cache);
}
DEFINE_CLEANUP(struct cache *, release)

int cache_new(struct loop *loop, struct pool *pool, const struct cache_config *config,
              struct cache **ret_cache, const char **ret_why)
{
    _cleanup_(releasep) struct cache *cache = calloc(1, sizeof(*cache));
    int r;

    *ret_why = "out of memory";
    if (!cache)
        return -ENOMEM;
    *cache = (struct cache){.loop = loop,
                            .pool = pool,
                            .dir_fd = -1,
                            .objects_fd = -1,
                            .lock_fd = -1,
                            .size_bytes = config->size_bytes,
                            .min_free_bytes = config->min_free_bytes,
                            .memory = config->memory};
    list_init(&cache->lru);
    list_init(&cache->promised);
    list_init(&cache->queue);
    list_init(&cache->behind);
    list_init(&cache->running);
    cache->dir = strdup(config->dir);
    if (!cache->dir)
        return -ENOMEM;
    r = hedge_init(cache);
    if (r == 0)
        r = open_dirs(cache, ret_why);
    if (r < 0)
        return r;
    *ret_why = "the boot cannot be told (/proc/sys/kernel/random/boot_id)";
    r = side_boot_now(&cache->boot);
    if (r < 0)
        return r;
    *ret_why = "the cache's index cannot be read";
    r = recall_load(cache);
    if (r == -ENOENT || r == -EBADMSG)
        r = walk_start(cache); /* nothing may fail from here on: it knows the cache */
    if (r < 0)
        return r;
    *ret_cache = take(cache);
    *ret_why = NULL;
    return 0;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    must(cache->nopen == 0 && cache->nfetches == 0);
    if (cache->walk) { /* its entries are not known yet: an index without them would hide them */
        walk_stop(cache);
    } else {
        int r = recall_save(cache);
        if (r < 0)
            log_warn("cache", "index not written, the next start walks the tree: %s", strerror(-r));
    }
    release(cache);
}

bool cache_idle(const struct cache *cache)
{
    return cache->nfetches == 0;
}

void cache_stats(const struct cache *cache, struct cache_stats *ret)
{
    *ret = cache->stats;
    ret->size_bytes = cache->size_bytes;
    ret->used_bytes = cache->used_bytes;
    ret->promised_bytes = cache->promised_bytes;
    ret->objects = cache->entries.count;
    ret->open_objects = cache->nopen;
}
