/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A present block costs no call: look at the sequence, at the bits, copy, look at the sequence
 * again. The backend raises the sequence before it clears a bit and clears the bit before it
 * punches the hole, so a copy that began and ended under one sequence saw no hole. Hence pread into
 * private memory: what splice or mmap would hand to the kernel could still be punched on the way.
 * The size of the map is checked once; if the file is cut afterwards, the view serves nothing any
 * more and the backend is asked. */
#include "fused/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/guard.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "proto/sidecar.h"

struct view {
    _Atomic unsigned refs;
    int fd;
    struct sidecar_head *head; /* NULL: the bytes are here */
    struct guard *guard;
    size_t map_bytes;
    uint64_t size;
    char bytes[];
};

static bool head_ok(const struct sidecar_head *h, uint64_t size)
{
    return h->magic == SIDECAR_MAGIC && h->version == SIDECAR_VERSION &&
           h->block_bytes == BLOCK_BYTES && h->object_size == size;
}

int view_new(int cache_fd, int sidecar_fd, uint64_t size, struct view **ret)
{
    _cleanup_(closep) int cache = cache_fd, sidecar = sidecar_fd;
    struct stat cache_st, st;

    if (size > INT64_MAX || fstat(cache, &cache_st) < 0 || fstat(sidecar, &st) < 0 ||
        !S_ISREG(cache_st.st_mode) || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size < sidecar_client_bytes(size))
        return -EPROTO;
    struct view *v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    v->map_bytes = (size_t)sidecar_client_bytes(size);
    v->head = mmap(NULL, v->map_bytes, PROT_READ, MAP_SHARED, sidecar, 0);
    int r = 0;
    if (v->head == MAP_FAILED) {
        r = -errno;
        free(v);
        return r;
    }
    v->refs = 1;
    v->size = size;
    v->fd = take_fd(&cache);
    r = guard_new(v->head, v->map_bytes, sidecar_break, &v->guard);
    if (r < 0) {
        view_unref(v);
        return r;
    }
    if (!head_ok(v->head, size)) {
        view_unref(v);
        return -EPROTO;
    }
    *ret = v;
    return 0;
}

int view_new_bytes(const void *bytes, size_t len, struct view **ret)
{
    struct view *v = calloc(1, sizeof(*v) + len);

    if (!v)
        return -ENOMEM;
    v->refs = 1;
    v->fd = -1;
    v->size = len;
    if (len > 0)
        memcpy(v->bytes, bytes, len);
    *ret = v;
    return 0;
}

struct view *view_ref(struct view *v)
{
    if (v)
        v->refs++;
    return v;
}

void view_unref(struct view *v)
{
    if (!v || --v->refs > 0)
        return;
    if (v->head) {
        guard_free(v->guard);
        munmap(v->head, v->map_bytes);
        close(v->fd);
    }
    free(v);
}

static int read_blocks(const struct view *v, uint64_t offset, size_t len, void *buf)
{
    uint64_t seq = atomic_load(&v->head->seq);
    size_t got = 0;

    if (atomic_load(&v->head->revoked))
        return -EAGAIN;
    for (uint64_t at = offset; at < offset + len; at += BLOCK_BYTES - at % BLOCK_BYTES)
        if (!sidecar_test(v->head, at / BLOCK_BYTES))
            return -EAGAIN;
    if (len > 0 && (fd_pread_full(v->fd, buf, len, offset, &got) < 0 || got != len))
        return -EAGAIN;
    atomic_thread_fence(memory_order_acquire);
    return atomic_load(&v->head->seq) != seq || atomic_load(&v->head->revoked) ? -EAGAIN : 0;
}

int view_fd(const struct view *v)
{
    return v->fd;
}

uint64_t view_size(const struct view *v)
{
    return v->size;
}

int view_read(const struct view *v, uint64_t offset, size_t size, void *buf, size_t *ret_got)
{
    size_t len = offset >= v->size ? 0 : (size_t)MIN(v->size - offset, (uint64_t)size);
    int r = 0;

    if (v->head)
        r = read_blocks(v, offset, len, buf);
    else if (len > 0)
        memcpy(buf, v->bytes + offset, len);
    if (r == 0)
        *ret_got = len;
    return r;
}
