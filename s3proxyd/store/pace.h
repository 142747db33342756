/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* How many large GETs a store takes at once: found out by trying, as nobody says it. One more than before is
 * kept while it brings more bytes; "slow down" halves. Pure arithmetic on counts and times that the caller
 * gives; what somebody waits for is never held back, only counted. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PACE_FIRST 8u /* enough for 10 Gbit/s at 20 ms when each connection brings 100 MB/s */
#define PACE_MIN 2u
#define PACE_MAX 32u

struct pace { /* zero-initialised */
    unsigned limit;       /* 0: PACE_FIRST */
    unsigned running;
    uint64_t rate;        /* bytes a second, of the last epoch that was full; 0: unknown */
    uint64_t base;        /* the rate that the present limit was chosen at */
    uint64_t epoch_ns, epoch_bytes, ended_ns;
    unsigned epoch_ends, flat;
    bool epoch_slack;     /* fewer than the limit were wanted for a while: says nothing */
    uint64_t hold_ns, careful_ns; /* not raised before, and slowly before, that time */
};

bool pace_open(const struct pace *p); /* one more may start that nobody waits for */
void pace_start(struct pace *p, uint64_t now_ns);
void pace_bytes(struct pace *p, uint64_t bytes);
/* One has ended. wanted: more are waiting to start. throttled: the store said slow down. */
void pace_end(struct pace *p, bool wanted, bool throttled, uint64_t now_ns);

/* What one request, and what all of a reader's window, should at most be: so much as comes in about half a
 * second and in two. The most when the rate is unknown. Multiples of `unit`. */
uint64_t pace_request_bytes(const struct pace *p, uint64_t min, uint64_t max, uint64_t unit);
uint64_t pace_window_bytes(const struct pace *p, uint64_t min, uint64_t max);
