/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A GET that stalls or crawls while others run gets a second try beside it, once: connections die
 * silently, and of a thousand servers one is slow. What is asked for twice is the part that has not
 * come. */
#include <errno.h>
#include <stdatomic.h>

#include "proto/base/log.h"
#include "s3proxyd/cache/fetch.h"

#define LOOK_MS 250u
#define SILENT_NS (1500 * NS_PER_MS) /* far above the time to the first byte of a healthy store */
#define SLOW_PART 8u   /* crawling: below this part of what a connection brings elsewhere, */
#define SLOW_LEFT_S 2u /* and more than so long to go */
#define AT_ONCE_MIN 8u  /* second legs; where more than these are wanted, and more than … */
#define AT_ONCE_PART 4u /* … this part of all, not some connections are slow, but everything */

static bool crawls(const struct fetch *f, uint64_t now_ns)
{
    uint64_t age_ms = (now_ns - f->began_ns) / NS_PER_MS;
    uint64_t done = MAX(f->seen, (f->set - f->first) * BLOCK_BYTES);
    uint64_t all = (f->end - f->first) * BLOCK_BYTES, left = all > done ? all - done : 0;
    const struct pace *p = &f->store->pace;

    if (age_ms < 1000 || p->rate == 0 || p->running == 0)
        return false;
    uint64_t rate = done * 1000 / age_ms, usual = p->rate / p->running;
    return rate < usual / SLOW_PART && left > rate * SLOW_LEFT_S;
}

/* true: it is asked for again. */
static bool look_at(struct fetch *f, uint64_t now_ns, bool may)
{
    if (!fetch_leg_running(f, 0) || f->legs[1] || f->error || f->set == f->end)
        return false;
    uint64_t seen = atomic_load_explicit(&f->legs[0]->req.arriving, memory_order_relaxed);
    if (seen != f->seen) { /* a slow line brings less than a piece worth writing in that time */
        f->seen = seen;
        f->moved_ns = now_ns;
    }
    bool silent = now_ns - f->moved_ns >= SILENT_NS;
    if ((!silent && !crawls(f, now_ns)) || !may || fetch_leg(f, 1) < 0)
        return false;
    f->obj->cache->stats.hedged++;
    log_debug("cache", "blocks %llu-%llu of %s come %s: asked for again",
              (unsigned long long)f->set, (unsigned long long)f->end, log_esc(f->obj->key),
              silent ? "no more" : "slowly");
    return true;
}

static void look(void *arg)
{
    struct cache *cache = arg;
    uint64_t now = clock_mono_ns();
    unsigned all = 0, second = 0;
    struct fetch *f;

    cache->hedge_armed = false;
    list_for_each (f, &cache->running, gets) {
        all++;
        second += fetch_leg_running(f, 1);
    }
    list_for_each (f, &cache->running, gets)
        second += look_at(f, now, second < MAX(AT_ONCE_MIN, all / AT_ONCE_PART));
    if (!list_empty(&cache->running))
        hedge_watch(cache);
}

void hedge_watch(struct cache *cache)
{
    if (cache->hedge_armed)
        return;
    cache->hedge_armed = true;
    loop_timer_set_ms(cache->hedge_timer, LOOK_MS);
}

int hedge_init(struct cache *cache)
{
    return loop_timer_new(cache->loop, look, cache, &cache->hedge_timer);
}
