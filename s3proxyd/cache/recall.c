/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The index file: one head, rows, and a CRC-32C of both; removed as soon as it was read, so that a
 * crash later is followed by a walk. */
#include "s3proxyd/cache/recall.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/cache/entry.h"
#include "s3proxyd/cache/space.h"

#define INDEX_MAGIC 0x31494443585a4648ULL

struct index_head {
    uint64_t magic, rows;
};
struct index_row {
    uint8_t hash[ENTRY_HASH_BYTES];
    uint64_t bytes;
};

static int load_rows(struct cache *cache, const struct index_head *head,
                     const struct index_row *rows)
{
    for (uint64_t i = 0; i < head->rows; i++) {
        struct cache_entry *entry;
        if (rows[i].bytes > INT64_MAX / (RECALL_ROWS_MAX + 1) || entry_find(cache, rows[i].hash))
            continue;
        int r = entry_add(cache, rows[i].hash, &entry);
        if (r < 0)
            return r;
        space_recharge(cache, entry, rows[i].bytes);
    }
    return 0;
}

int recall_load(struct cache *cache)
{
    _cleanup_(closep) int fd = openat(cache->dir_fd, "index", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct index_head head;
    struct stat st;
    uint32_t crc;
    size_t got;

    if (fd < 0)
        return errno == ELOOP ? -EBADMSG : -errno;
    if (unlinkat(cache->dir_fd, "index", 0) < 0 || fstat(fd, &st) < 0)
        return -errno;
    int r = fd_read_full(fd, &head, sizeof(head), &got);
    if (r < 0)
        return r;
    if (got < sizeof(head) || head.magic != INDEX_MAGIC || head.rows > RECALL_ROWS_MAX ||
        (uint64_t)st.st_size != sizeof(head) + head.rows * sizeof(struct index_row) + sizeof(crc))
        return -EBADMSG;
    size_t len = head.rows * sizeof(struct index_row);
    _cleanup_(freep) uint8_t *body = malloc(len + sizeof(crc));
    if (!body)
        return -ENOMEM;
    r = fd_read_full(fd, body, len + sizeof(crc), &got);
    if (r < 0)
        return r;
    if (got < len + sizeof(crc))
        return -EBADMSG;
    memcpy(&crc, body + len, sizeof(crc));
    if (digest_crc32c(digest_crc32c(0, &head, sizeof(head)), body, len) != crc)
        return -EBADMSG;
    return load_rows(cache, &head, (const struct index_row *)body);
}

static void fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

static bool put(FILE *f, const void *data, size_t len, uint32_t *crc)
{
    *crc = digest_crc32c(*crc, data, len);
    return fwrite(data, len, 1, f) == 1;
}

static int write_index(struct cache *cache, FILE *f)
{
    struct index_head head = {INDEX_MAGIC, cache->entries.count};
    const struct cache_entry *entry;
    uint32_t crc = 0;
    bool ok = put(f, &head, sizeof(head), &crc);

    list_for_each (entry, &cache->lru, lru) {
        struct index_row row = {.bytes = entry->bytes};
        memcpy(row.hash, entry->hash, sizeof(row.hash));
        ok = ok && put(f, &row, sizeof(row), &crc);
    }
    ok = ok && fwrite(&crc, sizeof(crc), 1, f) == 1;
    return ok && fflush(f) == 0 ? 0 : -EIO;
}

int recall_save(struct cache *cache)
{
    _cleanup_(closep) int fd = openat(cache->dir_fd, "index.tmp",
                                      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -errno;
    _cleanup_(fclosep) FILE *f = fdopen(fd, "w");
    if (!f)
        return -errno;
    take_fd(&fd);
    int r = write_index(cache, f);
    if (r == 0 && renameat(cache->dir_fd, "index.tmp", cache->dir_fd, "index") < 0)
        r = -errno;
    if (r < 0)
        unlinkat(cache->dir_fd, "index.tmp", 0);
    return r;
}
