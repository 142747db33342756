/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One direction of a connection through the proxy, as a long line has it: bytes enter at the line's
 * rate, travel for the delay, and come out in order. They wait in a pipe and get there and away
 * with splice, so that no byte is copied; a queue of (time, bytes) says which part of the pipe has
 * arrived. Bounded: no more is taken from the sender than the line and the pipe hold. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/http-count.h"

#define FLOW_SEGMENTS 512u
#define FLOW_NEVER UINT64_MAX

struct flow_line {
    uint64_t delay_ns;
    uint64_t bytes_per_s; /* 0: no limit */
    uint64_t requests[HTTP_KINDS];
    uint64_t moved; /* bytes that went in or out, ever: how busy the line is */
};

struct flow_segment {
    uint64_t due_ns;
    size_t bytes;
};

struct flow {
    struct flow_line *line;
    int from, to, pipe[2];
    size_t limit, queued;
    uint64_t free_ns; /* when the line's entrance is free again */
    uint64_t eof_ns;  /* when the sender's end of stream comes out; FLOW_NEVER: none yet */
    bool readable, writable, ended, broken;
    bool counted; /* a stream of requests, to be looked at */
    struct http_count count;
    uint64_t delivered; /* bytes that the receiver has taken */
    unsigned head, segments;
    struct flow_segment ring[FLOW_SEGMENTS];
};

int flow_init(struct flow *f, struct flow_line *line, int from, int to);
void flow_fini(struct flow *f);
void flow_run(struct flow *f, uint64_t now_ns); /* moves what can be moved now */
uint64_t flow_next_ns(const struct flow *f);    /* when there is something to do; FLOW_NEVER */
