/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One handler for SIGBUS and the list of what it may mend. The list has a spin lock, because a
 * signal handler can take no other: nobody who holds it touches a guarded mapping, so no thread
 * waits for itself. */
#include "proto/base/guard.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/list.h"

struct guard {
    struct list link;
    void *map;
    size_t bytes;
    void (*prepare)(void *fresh);
    _Atomic bool broken;
};

static struct list guards = LIST_INIT(guards);
static atomic_flag locked = ATOMIC_FLAG_INIT;

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&locked, memory_order_acquire))
        sched_yield();
}

static void unlock(void)
{
    atomic_flag_clear_explicit(&locked, memory_order_release);
}

/* No thread ever sees it half made. */
static bool replace(struct guard *g)
{
    void *fresh = mmap(NULL, g->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (fresh == MAP_FAILED)
        return false;
    g->prepare(fresh);
    if (mremap(fresh, g->bytes, g->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, g->map) == MAP_FAILED) {
        munmap(fresh, g->bytes);
        return false;
    }
    g->broken = true;
    return true;
}

static bool mend(const void *at)
{
    struct guard *g;
    bool mended = false;

    lock();
    list_for_each (g, &guards, link) {
        uintptr_t from = (uintptr_t)g->map, a = (uintptr_t)at;
        if (a < from || a - from >= g->bytes)
            continue;
        mended = g->broken || replace(g); /* another thread was here first */
        break;
    }
    unlock();
    return mended;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    int saved = errno;

    (void)context;
    if (info->si_code <= 0 || !mend(info->si_addr)) {
        signal(sig, SIG_DFL); /* the access is tried again, and ends the process */
        if (info->si_code <= 0)
            raise(sig);
    }
    errno = saved;
}

static void listen_to_it(void)
{
    struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

    sigaction(SIGBUS, &sa, NULL);
}

int guard_new(void *map, size_t bytes, void (*prepare)(void *fresh), struct guard **ret_guard)
{
    struct guard *g = calloc(1, sizeof(*g));

    if (!g)
        return -ENOMEM;
    g->map = map;
    g->bytes = bytes;
    g->prepare = prepare;
    lock();
    if (list_empty(&guards))
        listen_to_it();
    list_add_tail(&guards, &g->link);
    unlock();
    *ret_guard = g;
    return 0;
}

bool guard_broken(const struct guard *guard)
{
    return guard && guard->broken;
}

void guard_free(struct guard *guard)
{
    if (!guard)
        return;
    lock();
    list_del(&guard->link);
    unlock();
    free(guard);
}
