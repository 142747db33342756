/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See series.h. Two files opened one right behind the other, or three with gaps, are a series; its window
 * grows by one with each file that is opened, which, as that one leaves it, starts two. */
#include "s3proxyd/fs/series.h"

#include "proto/base/must.h"

#define KNOWN 2u                             /* in_order, from which on it is one */
#define LEDGER_BYTES (32ULL * 1024 * 1024)   /* what was longer ago counts half, and half again */

void series_next(struct series *s, unsigned distance)
{
    unsigned gap = s->window ? SERIES_GAP_KNOWN : SERIES_GAP;

    must(distance > 0);
    if (distance > gap) { /* he jumps about in what we fetched */
        s->in_order = 0;
        s->window = s->window / 2 < SERIES_WINDOW_FIRST ? 0 : s->window / 2;
        return;
    }
    s->in_order = MIN(s->in_order + (distance == 1 ? 2 : 1), SERIES_GAP_KNOWN);
    if (s->window)
        s->window = MIN(s->window + 1, SERIES_WINDOW_MAX);
    else if (s->in_order >= KNOWN)
        s->window = SERIES_WINDOW_FIRST;
}

bool series_more(const struct series *s, const struct series_ledger *l, unsigned n, uint64_t bytes,
                 uint64_t most_bytes)
{
    uint64_t ahead = l->ahead + bytes;

    return n < s->window && ahead <= MIN(most_bytes, (uint64_t)SERIES_AHEAD_MAX_BYTES) &&
           ahead + l->wasted <= l->opened + SERIES_FREE_BYTES;
}

uint64_t series_bytes(uint64_t size)
{
    return MIN(size, (uint64_t)SERIES_FILE_MAX_BYTES);
}

void series_opened(struct series_ledger *l, uint64_t size)
{
    l->opened += series_bytes(size);
    if (l->opened > LEDGER_BYTES) {
        l->opened /= 2;
        l->wasted /= 2;
    }
}

void series_fetched(struct series_ledger *l, uint64_t bytes)
{
    l->ahead += bytes;
}

void series_done(struct series_ledger *l, uint64_t bytes, bool opened)
{
    must(l->ahead >= bytes);
    l->ahead -= bytes;
    if (!opened)
        l->wasted += bytes;
}
