/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What an open object shows to its holders: descriptors, facts, and its present bytes. */
#include "s3proxyd/cache/cache.h"

#include <errno.h>
#include <stdatomic.h>

#include "proto/base/str.h"
#include "s3proxyd/cache/obj.h"

#define PREAD_TRIES 4 /* evictions elsewhere in the file also raise seq */

void cache_obj_fds(const struct cache_obj *obj, int *ret_data_fd, int *ret_side_fd)
{
    *ret_data_fd = obj->data_ro;
    *ret_side_fd = obj->side_ro;
}

uint64_t cache_obj_size(const struct cache_obj *obj)
{
    return obj->side.object_size;
}

const char *cache_obj_etag(const struct cache_obj *obj)
{
    return obj->etag;
}

const char *cache_obj_key(const struct cache_obj *obj)
{
    return obj->key;
}

struct store *cache_obj_store(const struct cache_obj *obj)
{
    return obj->store;
}

void cache_obj_revoke(struct cache_obj *obj)
{
    atomic_store(&obj->side.head->revoked, 1);
}

void cache_obj_unrevoke(struct cache_obj *obj)
{
    atomic_store(&obj->side.head->revoked, 0);
}

bool cache_obj_present(const struct cache_obj *obj, uint64_t offset, uint64_t len)
{
    uint64_t size = obj->side.object_size;

    if (offset >= size || len == 0)
        return true;
    uint64_t end = offset + MIN(len, size - offset);
    return side_all_present(&obj->side, offset / BLOCK_BYTES, (end - 1) / BLOCK_BYTES + 1);
}

int cache_obj_pread(const struct cache_obj *obj, void *buf, uint64_t offset, size_t len,
                    size_t *ret_got)
{
    const struct side *side = &obj->side;

    if (offset >= side->object_size || len == 0) {
        *ret_got = 0;
        return 0;
    }
    if (len > side->object_size - offset)
        len = side->object_size - offset;
    for (int tries = 0; tries < PREAD_TRIES; tries++) {
        uint64_t seq = atomic_load(&side->head->seq);
        size_t got;
        if (!cache_obj_present(obj, offset, len))
            return -EAGAIN;
        int r = fd_pread_full(obj->data_ro, buf, len, offset, &got);
        if (r < 0)
            return r;
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load(&side->head->seq) != seq)
            continue;
        if (got < len)
            return -EIO; /* somebody shortened the file */
        *ret_got = got;
        return 0;
    }
    return -EAGAIN;
}
