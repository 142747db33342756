/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Two locks: `busy` guards who owns which slot, `map` guards the mapping against being exchanged
 * while a payload is copied into it. A slot belongs to one call from ring_get() to ring_put(). */
#include "fused/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/limits.h"

#define SLOTS_MAX (PROTO_RING_BYTES / PROTO_RING_SLOT_BYTES)

static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t map_lock = PTHREAD_RWLOCK_INITIALIZER;
static bool used[SLOTS_MAX];
static uint32_t slots; /* fixed by the first ring */
static struct list waiters = LIST_INIT(waiters);
static char *base;

static void exchange(char *map, uint64_t bytes)
{
    pthread_rwlock_wrlock(&map_lock);
    pthread_mutex_lock(&busy_lock);
    for (uint32_t i = 0; base && i < slots; i++)
        if (used[i])
            memcpy(map + ring_offset(i), base + ring_offset(i), PROTO_RING_SLOT_BYTES);
    char *old = base;
    base = map;
    slots = (uint32_t)(bytes / PROTO_RING_SLOT_BYTES);
    pthread_mutex_unlock(&busy_lock);
    pthread_rwlock_unlock(&map_lock);
    if (old)
        munmap(old, bytes);
}

int ring_set(int ring_fd, uint64_t bytes)
{
    _cleanup_(closep) int fd = ring_fd;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (bytes == 0 || bytes > PROTO_RING_BYTES || bytes % PROTO_RING_SLOT_BYTES != 0 ||
        (slots != 0 && bytes / PROTO_RING_SLOT_BYTES != slots) || fstat(fd, &st) < 0 ||
        (uint64_t)st.st_size < bytes || seals < 0 || !(seals & F_SEAL_SHRINK))
        return -EPROTO;
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    exchange(map, bytes);
    return 0;
}

uint32_t ring_get(struct ring_waiter *w)
{
    uint32_t slot = RING_NONE;

    pthread_mutex_lock(&busy_lock);
    for (uint32_t i = 0; slot == RING_NONE && i < slots; i++)
        if (!used[i])
            slot = i;
    if (slot != RING_NONE)
        used[slot] = true;
    else if (w)
        list_add_tail(&waiters, &w->link);
    pthread_mutex_unlock(&busy_lock);
    return slot;
}

void ring_put(uint32_t slot)
{
    must(slot < SLOTS_MAX && used[slot]);
    pthread_mutex_lock(&busy_lock);
    struct ring_waiter *w = list_first(&waiters, struct ring_waiter, link);
    if (w)
        list_del(&w->link); /* the slot stays in use, by w now */
    else
        used[slot] = false;
    pthread_mutex_unlock(&busy_lock);
    if (w)
        w->ready(w, slot);
}

void ring_fill(uint32_t slot, const void *data, size_t len)
{
    must(len <= PROTO_RING_SLOT_BYTES);
    pthread_rwlock_rdlock(&map_lock);
    memcpy(base + ring_offset(slot), data, len);
    pthread_rwlock_unlock(&map_lock);
}

uint64_t ring_offset(uint32_t slot)
{
    return (uint64_t)slot * PROTO_RING_SLOT_BYTES;
}
