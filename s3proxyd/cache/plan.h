/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The fetch plan: what to bring in beside what was asked for. A pure function of one handle's reads and of
 * sizes; nothing here waits, allocates or knows a clock.
 *
 * A handle may carry several streams (threads that share a descriptor); each is one of
 *   forward   the window before the reader doubles while he goes on, from half a MiB to what the cache and
 *             the store's speed allow, and slides then, one request at a time
 *   backward  the same the other way round
 *   stride    reads of one size at one distance: the next ones, each by itself
 * and everything else is random and costs the blocks it asks for.
 *
 * Reads of present blocks are not heard of: the client makes them by itself. So a plan for a forward stream
 * says where it wants to be told (tell_at) that the reader has come; without that, what is heard next of a
 * stream is the first block that was not asked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PLAN_STREAMS 4u
#define PLAN_RANGES 16u
#define PLAN_FIRST_BYTES (512u * 1024)            /* the first window; a multiple of BLOCK_BYTES */
#define PLAN_REQUEST_MIN_BYTES (512u * 1024)      /* of a window cut into parallel requests */
#define PLAN_REQUEST_MAX_BYTES (8u * 1024 * 1024) /* one ranged GET; a multiple of BLOCK_BYTES */
#define PLAN_WINDOW_MIN_BYTES (4u * 1024 * 1024)  /* however slow the store is */
#define PLAN_WINDOW_MAX_BYTES (16ull * PLAN_REQUEST_MAX_BYTES)
#define PLAN_LATE_BYTES (1024u * 1024)            /* reads in flight may overtake each other by this */

enum plan_way { PLAN_NONE, PLAN_ONE, PLAN_FORWARD, PLAN_BACKWARD, PLAN_STRIDE };

struct plan_stream {
    enum plan_way way;     /* PLAN_ONE: one read, nobody's stream so far */
    uint64_t start, end;   /* forward: read up to end; backward: down to start; else the last read */
    uint64_t until;        /* forward: asked for up to here; backward: down to here; stride: next offset */
    uint64_t window;       /* bytes; stride: how many reads ahead */
    int64_t stride;
    unsigned used;         /* of plan_history.clock: who was quiet longest gives way */
};

struct plan_history { /* one per open handle; zero-initialised */
    struct plan_stream streams[PLAN_STREAMS];
    uint64_t last[2], last_len; /* starts of the two random reads before */
    unsigned clock;
};

struct plan_limits {
    uint64_t object_size;
    uint64_t window_bytes;  /* at most so far ahead: a small cache must not be flushed by one reader */
    uint64_t request_bytes; /* at most so large a request; a multiple of BLOCK_BYTES */
};

struct plan_range {
    uint64_t offset, len;
};

struct plan {
    struct plan_range ranges[PLAN_RANGES]; /* beside the read itself, most urgent first */
    unsigned n;
    uint64_t request_bytes; /* cut them into requests of this size */
    uint64_t tell_at;       /* the reader coming here is news; 0: need not be told */
};

/* A read of [offset, offset+len) was heard of: len > 0, within the object. */
void plan_read(struct plan_history *h, uint64_t offset, uint64_t len,
               const struct plan_limits *limits, struct plan *ret);
/* The reader has come to `offset`, reading what was there. */
void plan_told(struct plan_history *h, uint64_t offset, const struct plan_limits *limits,
               struct plan *ret);
