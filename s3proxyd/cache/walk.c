/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* After a crash: finds out on a pool thread what lies in the tree, then makes it known on the main
 * loop, a batch at a time. The thread deletes nothing: the loop may just be making those files. */
#include "s3proxyd/cache/recall.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/cache/entry.h"
#include "s3proxyd/cache/space.h"
#include "s3proxyd/work/pool.h"

#define BATCH_ROWS 4096u /* about a millisecond of the loop */
#define HEX_CHARS (2 * ENTRY_HASH_BYTES)

struct walk_row {
    uint8_t hash[ENTRY_HASH_BYTES];
    uint64_t bytes;
    int64_t used_ns; /* the sidecar's mtime: blocks came or went */
    bool data, side;
};
struct walk {
    struct work work;
    struct loop_task task;
    struct cache *cache; /* NULL: gone meanwhile */
    struct loop *loop;
    _Atomic bool stop;
    int objects_fd;
    struct walk_row *rows;
    size_t nrows, cap;
    int error;
};

static void walk_free(struct walk *walk)
{
    loop_task_cancel(&walk->task);
    closep(&walk->objects_fd);
    free(walk->rows);
    free(walk);
}

/* "<64 hex>.data" or ".side". */
static bool parse_name(const char *name, uint8_t hash[ENTRY_HASH_BYTES], bool *ret_side)
{
    char hex[HEX_CHARS + 1];

    if (strlen(name) != HEX_CHARS + 5)
        return false;
    for (unsigned i = 0; i < ENTRY_HASH_BYTES; i++) {
        char pair[3] = {name[2 * i], name[2 * i + 1], 0};
        uint64_t v;
        if (str_to_u64(pair, 16, &v) < 0)
            return false;
        hash[i] = (uint8_t)v;
    }
    str_hex(hash, ENTRY_HASH_BYTES, hex, sizeof(hex));
    *ret_side = str_eq(name + HEX_CHARS, ".side");
    return memcmp(hex, name, HEX_CHARS) == 0 && (*ret_side || str_eq(name + HEX_CHARS, ".data"));
}

static int note_file(struct walk *walk, const uint8_t hash[ENTRY_HASH_BYTES], bool is_side,
                     const struct stat *st)
{
    if (walk->nrows == walk->cap) {
        size_t cap = walk->cap ? walk->cap * 2 : 256;
        if (cap > 2 * (size_t)RECALL_ROWS_MAX)
            return -E2BIG;
        void *rows = realloc(walk->rows, cap * sizeof(*walk->rows));
        if (!rows)
            return -ENOMEM;
        walk->rows = rows;
        walk->cap = cap;
    }
    struct walk_row *row = &walk->rows[walk->nrows++];
    *row = (struct walk_row){
        .bytes = (uint64_t)st->st_blocks * 512, .data = !is_side, .side = is_side};
    if (is_side)
        row->used_ns = st->st_mtim.tv_sec * (int64_t)NS_PER_S + st->st_mtim.tv_nsec;
    memcpy(row->hash, hash, ENTRY_HASH_BYTES);
    return 0;
}

static int walk_dir(struct walk *walk, const char *name)
{
    int fd = openat(walk->objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *de;
    int r = 0;

    if (!dir) {
        closep(&fd);
        return 0; /* nothing in it */
    }
    while (r == 0 && !walk->stop && (de = readdir(dir))) {
        uint8_t hash[ENTRY_HASH_BYTES];
        struct stat st;
        bool is_side;
        if (parse_name(de->d_name, hash, &is_side) && memcmp(de->d_name, name, 2) == 0 &&
            fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            r = note_file(walk, hash, is_side, &st);
    }
    closedir(dir);
    return r;
}

static int by_hash(const void *a, const void *b)
{
    return memcmp(((const struct walk_row *)a)->hash, ((const struct walk_row *)b)->hash,
                  ENTRY_HASH_BYTES);
}

static int by_age(const void *a, const void *b)
{
    int64_t x = ((const struct walk_row *)a)->used_ns, y = ((const struct walk_row *)b)->used_ns;

    return (x > y) - (x < y);
}

/* One row for both files of a version. */
static void pair_up(struct walk *walk)
{
    size_t n = 0;

    if (walk->nrows == 0)
        return;
    qsort(walk->rows, walk->nrows, sizeof(*walk->rows), by_hash);
    for (size_t i = 1; i < walk->nrows; i++) {
        struct walk_row *into = &walk->rows[n], *row = &walk->rows[i];
        if (by_hash(into, row) != 0) {
            walk->rows[++n] = *row;
            continue;
        }
        into->bytes += row->bytes;
        into->data |= row->data;
        into->side |= row->side;
        into->used_ns = MAX(into->used_ns, row->used_ns);
    }
    walk->nrows = n + 1;
    qsort(walk->rows, walk->nrows, sizeof(*walk->rows), by_age);
}

static void walk_run(struct work *work)
{
    struct walk *walk = container_of(work, struct walk, work);

    for (unsigned i = 0; i < 256 && walk->error == 0 && !walk->stop; i++) {
        char name[3];
        snprintf(name, sizeof(name), "%02x", i);
        walk->error = walk_dir(walk, name);
    }
    if (!walk->stop)
        pair_up(walk);
}

static void make_known(struct cache *cache, const struct walk_row *row)
{
    struct cache_entry *entry;
    char path[ENTRY_PATH_SIZE];

    if (entry_find(cache, row->hash))
        return; /* opened meanwhile */
    entry_path(row->hash, ".side", path);
    if (row->side && faccessat(cache->objects_fd, path, F_OK, 0) < 0)
        return; /* removed meanwhile */
    if (!row->data || !row->side) {
        entry_unlink(cache, row->hash); /* half of a version */
        return;
    }
    if (entry_add(cache, row->hash, &entry) < 0) {
        entry_unlink(cache, row->hash); /* what cannot be counted must not stay */
        return;
    }
    space_recharge(cache, entry, row->bytes);
    list_del(&entry->lru);
    list_add_head(&cache->lru, &entry->lru); /* older than all opened since */
}

/* From the newest row to the oldest, each before the one before. */
static void merge_batch(void *arg)
{
    struct walk *walk = arg;
    struct cache *cache = walk->cache;

    for (unsigned i = 0; i < BATCH_ROWS && walk->nrows > 0; i++)
        make_known(cache, &walk->rows[--walk->nrows]);
    if (walk->nrows > 0) {
        loop_task_add(walk->loop, &walk->task);
        return;
    }
    log_debug("cache", "walked the tree: %zu versions, %" PRIu64 " bytes", cache->entries.count,
              cache->used_bytes);
    cache->walk = NULL;
    walk_free(walk);
    if (cache->used_bytes > cache->size_bytes)
        space_evict(cache, cache->used_bytes - cache->size_bytes);
}

static void walk_done(struct work *work)
{
    struct walk *walk = container_of(work, struct walk, work);

    if (!walk->cache) {
        walk_free(walk);
        return;
    }
    if (walk->error < 0)
        log_warn("cache", "walk through the tree incomplete, old versions are not counted: %s",
                 strerror(-walk->error));
    walk->work.run = NULL; /* the pool is done with it */
    loop_task_add(walk->loop, &walk->task);
}

int walk_start(struct cache *cache)
{
    struct walk *walk = calloc(1, sizeof(*walk));

    if (!walk)
        return -ENOMEM;
    loop_task_init(&walk->task, merge_batch, walk);
    walk->cache = cache;
    walk->loop = cache->loop;
    walk->work = (struct work){.run = walk_run, .done = walk_done};
    walk->objects_fd = fcntl(cache->objects_fd, F_DUPFD_CLOEXEC, 3);
    if (walk->objects_fd < 0) {
        walk_free(walk);
        return -errno;
    }
    cache->walk = walk;
    pool_submit(cache->pool, &walk->work);
    return 0;
}

void walk_stop(struct cache *cache)
{
    struct walk *walk = take(cache->walk);

    if (!walk)
        return;
    if (!walk->work.run) {
        walk_free(walk);
        return;
    }
    walk->cache = NULL;
    walk->stop = true;
}
