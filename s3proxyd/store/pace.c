/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Hill climbing in epochs: see pace.h. */
#include "s3proxyd/store/pace.h"

#include "proto/base/clock.h"
#include "proto/base/must.h"

#define EPOCH_NS (200 * NS_PER_MS) /* many round trips, and a few large replies */
#define EPOCH_ENDS 4u
#define IDLE_NS (20 * NS_PER_MS)   /* nothing ran for so long: the epoch would be a mixture */
#define HOLD_NS (3 * NS_PER_S)     /* after "slow down" */
#define CAREFUL_NS (30 * NS_PER_S) /* and then by single steps */
#define FLAT_EPOCHS 16u            /* then one more is tried: networks change */

static unsigned limit_of(const struct pace *p)
{
    return p->limit ? p->limit : PACE_FIRST;
}

static void epoch_begin(struct pace *p, uint64_t now_ns)
{
    p->epoch_ns = now_ns;
    p->epoch_bytes = 0;
    p->epoch_ends = 0;
    p->epoch_slack = false;
}

/* A full epoch is over. */
static void judge(struct pace *p, uint64_t now_ns)
{
    p->rate = p->epoch_bytes * 1000 / ((now_ns - p->epoch_ns) / NS_PER_MS);
    if (now_ns < p->hold_ns)
        return;
    if (p->base == 0 || p->rate > p->base + p->base / 12) { /* it brought more */
        p->base = p->rate;
        unsigned step = now_ns < p->careful_ns ? 1 : (limit_of(p) + 3) / 4;
        p->limit = MIN(limit_of(p) + step, PACE_MAX);
        p->flat = 0;
    } else if (p->rate < p->base / 2) { /* another network than it was */
        p->base = p->rate;
        p->limit = MAX(limit_of(p) - limit_of(p) / 4, PACE_MIN);
        p->flat = 0;
    } else if (++p->flat >= FLAT_EPOCHS) {
        p->base = 0;
        p->flat = 0;
    }
}

bool pace_open(const struct pace *p)
{
    return p->running < limit_of(p);
}

void pace_start(struct pace *p, uint64_t now_ns)
{
    if (p->running++ == 0 && now_ns - p->ended_ns > IDLE_NS)
        epoch_begin(p, now_ns);
}

void pace_bytes(struct pace *p, uint64_t bytes)
{
    p->epoch_bytes += bytes;
}

void pace_end(struct pace *p, bool wanted, bool throttled, uint64_t now_ns)
{
    must(p->running > 0);
    p->running--;
    p->ended_ns = now_ns;
    if (throttled && now_ns >= p->hold_ns) { /* once for all that were told so */
        p->limit = MAX(limit_of(p) / 2, PACE_MIN);
        p->hold_ns = now_ns + HOLD_NS;
        p->careful_ns = now_ns + CAREFUL_NS;
        p->base = 0;
        epoch_begin(p, now_ns);
        return;
    }
    p->epoch_ends++;
    if (!wanted)
        p->epoch_slack = true;
    if (p->epoch_ends < EPOCH_ENDS || now_ns - p->epoch_ns < EPOCH_NS)
        return;
    if (!p->epoch_slack)
        judge(p, now_ns);
    epoch_begin(p, now_ns);
}

static uint64_t within(uint64_t bytes, uint64_t min, uint64_t max)
{
    return bytes < min ? min : bytes > max ? max : bytes;
}

uint64_t pace_request_bytes(const struct pace *p, uint64_t min, uint64_t max, uint64_t unit)
{
    if (p->rate == 0)
        return max;
    return within(p->rate / limit_of(p) / 2 / unit * unit, min, max);
}

uint64_t pace_window_bytes(const struct pace *p, uint64_t min, uint64_t max)
{
    return p->rate == 0 ? max : within(p->rate * 2, min, max);
}
