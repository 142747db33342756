/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Keys live in pages of their own: locked (never in swap), left out of core dumps, with a guard
 * page on both sides so that running past a neighbouring buffer faults instead of reading them.
 * Secrets are few and short, so they share arenas of four pages in units of 64 bytes.
 * The pages are private: hafiz-mount forks after it has read keys, and what one process wipes
 * the other must keep (a memfd_secret mapping would be shared by both). A child inherits no
 * locks, so it locks again. Failure to lock is tolerated: RLIMIT_MEMLOCK may be 0 in a
 * container. */
#include "s3proxyd/cred/secret.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/list.h"

#define UNIT_BYTES 64u
#define ARENA_BYTES (16u * 1024)

struct arena {
    struct list link;
    unsigned char *base; /* first byte behind the lower guard page */
    size_t bytes, guard_bytes;
    size_t nunits, nused;
    bool used[];
};

struct secret { /* stands in the arena itself */
    _Atomic unsigned refs;
    size_t len, nunits;
    struct arena *arena;
    char bytes[];
};

static pthread_mutex_t arenas_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list arenas = LIST_INIT(arenas);
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_mutex_lock(&arenas_lock);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&arenas_lock);
}

static void after_fork_child(void)
{
    struct arena *a;

    list_for_each(a, &arenas, link)
        (void)mlock(a->base, a->bytes);
    pthread_mutex_unlock(&arenas_lock);
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static struct arena *arena_new(size_t want_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (MAX(want_bytes, (size_t)ARENA_BYTES) + page - 1) / page * page;
    size_t nunits = bytes / UNIT_BYTES;
    struct arena *a = calloc(1, sizeof(*a) + nunits * sizeof(a->used[0]));
    unsigned char *map;

    if (!a)
        return NULL;
    map = mmap(NULL, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        free(a);
        return NULL;
    }
    if (mprotect(map + page, bytes, PROT_READ | PROT_WRITE) < 0) {
        munmap(map, bytes + 2 * page);
        free(a);
        return NULL;
    }
    (void)madvise(map + page, bytes, MADV_DONTDUMP);
    (void)mlock(map + page, bytes);
    a->base = map + page;
    a->bytes = bytes;
    a->guard_bytes = page;
    a->nunits = nunits;
    list_add_tail(&arenas, &a->link);
    return a;
}

static void arena_free(struct arena *a)
{
    list_del(&a->link);
    munmap(a->base - a->guard_bytes, a->bytes + 2 * a->guard_bytes);
    free(a);
}

/* First fit; NULL when there is no run of n free units. */
static struct secret *arena_alloc(struct arena *a, size_t n)
{
    size_t run = 0;

    for (size_t i = 0; i < a->nunits; i++) {
        run = a->used[i] ? 0 : run + 1;
        if (run < n)
            continue;
        for (size_t k = i + 1 - n; k <= i; k++)
            a->used[k] = true;
        a->nused += n;
        return (struct secret *)(void *)(a->base + (i + 1 - n) * UNIT_BYTES);
    }
    return NULL;
}

static struct secret *alloc_units(size_t n)
{
    struct secret *s = NULL;
    struct arena *a;

    pthread_mutex_lock(&arenas_lock);
    list_for_each(a, &arenas, link) {
        s = arena_alloc(a, n);
        if (s)
            break;
    }
    if (!s) {
        a = arena_new(n * UNIT_BYTES);
        s = a ? arena_alloc(a, n) : NULL;
    }
    if (s) {
        s->arena = a;
        s->nunits = n;
    }
    pthread_mutex_unlock(&arenas_lock);
    return s;
}

int secret_new(const void *data, size_t len, struct secret **ret_secret)
{
    struct secret *s;

    if (len > SECRET_MAX_BYTES)
        return -ENOMEM;
    pthread_once(&fork_once, watch_forks);
    s = alloc_units((sizeof(*s) + len + 1 + UNIT_BYTES - 1) / UNIT_BYTES);
    if (!s)
        return -ENOMEM;
    s->refs = 1;
    s->len = len;
    if (len > 0)
        memcpy(s->bytes, data, len);
    s->bytes[len] = '\0';
    *ret_secret = s;
    return 0;
}

struct secret *secret_ref(struct secret *s)
{
    if (s)
        s->refs++;
    return s;
}

void secret_unref(struct secret *s)
{
    struct arena *a;
    size_t first, n;

    if (!s || --s->refs > 0)
        return;
    a = s->arena;
    n = s->nunits;
    first = (size_t)((unsigned char *)s - a->base) / UNIT_BYTES;
    explicit_bzero(s, n * UNIT_BYTES);
    pthread_mutex_lock(&arenas_lock);
    for (size_t k = first; k < first + n; k++)
        a->used[k] = false;
    a->nused -= n;
    if (a->nused == 0)
        arena_free(a);
    pthread_mutex_unlock(&arenas_lock);
}

const char *secret_bytes(const struct secret *s, size_t *ret_len)
{
    if (ret_len)
        *ret_len = s->len;
    return s->bytes;
}

void secret_wipe(void *data, size_t len)
{
    if (data)
        explicit_bzero(data, len);
}
