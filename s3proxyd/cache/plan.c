/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Read-ahead as arithmetic: see plan.h. */
#include "s3proxyd/cache/plan.h"

#include <string.h>

#include "proto/base/must.h"
#include "proto/limits.h"

#define STRIDE_MAX_BYTES (64ll * 1024 * 1024) /* farther apart is chance */
#define STRIDE_AHEAD_FIRST 2u
#define STRIDE_AHEAD_MAX PLAN_RANGES
#define REQUESTS_PER_WINDOW 8u /* while it grows: many small ones arrive sooner than one large */

static uint64_t block_down(uint64_t offset)
{
    return offset - offset % BLOCK_BYTES;
}

static uint64_t block_up(uint64_t offset, uint64_t object_size)
{
    return MIN((offset + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES, object_size);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static void add_range(struct plan *plan, uint64_t offset, uint64_t end)
{
    if (plan->n < PLAN_RANGES && offset < end)
        plan->ranges[plan->n++] = (struct plan_range){offset, end - offset};
}

static uint64_t request_for(uint64_t window, const struct plan_limits *limits)
{
    uint64_t bytes = block_down(window / REQUESTS_PER_WINDOW);
    uint64_t most = MIN(limits->request_bytes, (uint64_t)PLAN_REQUEST_MAX_BYTES);

    bytes = MIN(bytes, most);
    return MAX(bytes, (uint64_t)PLAN_REQUEST_MIN_BYTES);
}

static uint64_t window_max(const struct plan_limits *limits)
{
    return MIN(limits->window_bytes, (uint64_t)PLAN_WINDOW_MAX_BYTES);
}

/* len: of a read; the window holds some of them. */
static void grow(struct plan_stream *s, uint64_t len, const struct plan_limits *limits)
{
    s->window = s->window ? s->window * 2 : MAX(2 * block_down(len), (uint64_t)PLAN_FIRST_BYTES);
    s->window = MIN(s->window, window_max(limits));
}

/* ---- forward */

/* Moves what is asked for on, if the reader has used enough of it; `from` is the first offset that
 * may be absent: after a miss that is right behind the read, whatever was asked for before. */
static void forward(struct plan_stream *s, uint64_t from, uint64_t len,
                    const struct plan_limits *limits, struct plan *ret)
{
    uint64_t size = limits->object_size, ahead = s->until > s->end ? s->until - s->end : 0;
    bool full = s->window >= window_max(limits);

    ret->request_bytes = request_for(s->window, limits);
    if (s->window == 0 ||
        (full ? ahead + ret->request_bytes <= s->window : ahead <= s->window / 2)) {
        grow(s, len, limits);
        ret->request_bytes = request_for(s->window, limits);
        uint64_t until = s->end + MIN(s->window, size - s->end);
        if (until < size && s->window >= 2 * ret->request_bytes)
            until -= until % ret->request_bytes; /* whole requests */
        s->until = MAX(s->until, block_up(until, size));
    }
    add_range(ret, from, s->until);
    if (s->until >= size)
        return; /* all of it is asked for */
    /* Where this function will find enough used. */
    uint64_t left = s->window / 2;
    if (s->window >= window_max(limits))
        left = s->window > ret->request_bytes ? s->window - ret->request_bytes : 0;
    ret->tell_at = s->until > left + s->end ? s->until - left : s->end + 1;
}

/* What is heard next of a stream is, as a rule, the first block that was not asked for. Reads in
 * flight overtake each other: it may also be a little late, or early. */
static bool goes_forward(const struct plan_stream *s, uint64_t offset)
{
    uint64_t slack = s->way == PLAN_FORWARD ? PLAN_LATE_BYTES : 0;

    if (offset < s->end)
        return s->way == PLAN_FORWARD && s->end - offset <= slack;
    return offset <= s->until || offset - s->until <= slack;
}

/* ---- backward */

static bool goes_backward(const struct plan_stream *s, uint64_t offset, uint64_t end)
{
    if (s->way == PLAN_ONE) /* next to it, but for the rest of a block that is there */
        return end <= s->start && s->start - end < BLOCK_BYTES && offset < block_down(s->start);
    uint64_t low = MIN(s->start, s->until);
    return end <= s->start + PLAN_LATE_BYTES && (end >= low || low - end < PLAN_LATE_BYTES);
}

static void backward(struct plan_stream *s, uint64_t below, uint64_t len,
                     const struct plan_limits *limits, struct plan *ret)
{
    uint64_t ahead = s->start > s->until ? s->start - s->until : 0;

    if (s->window == 0 || ahead <= s->window / 2) {
        grow(s, len, limits);
        uint64_t low = s->start > s->window ? block_down(s->start - s->window) : 0;
        s->until = MIN(s->until, low);
    }
    ret->request_bytes = request_for(s->window, limits);
    for (uint64_t to = below; to > s->until && ret->n < PLAN_RANGES;) { /* the nearest first */
        uint64_t from = to - MIN(to - s->until, ret->request_bytes);
        if (ret->n == PLAN_RANGES - 1)
            from = s->until;
        add_range(ret, from, to);
        to = from;
    }
}

/* ---- stride */

static void stride(struct plan_stream *s, uint64_t len, const struct plan_limits *limits,
                   struct plan *ret)
{
    s->window = s->window ? MIN(s->window * 2, (uint64_t)STRIDE_AHEAD_MAX) : STRIDE_AHEAD_FIRST;
    s->until = s->start;
    for (uint64_t i = 0; i < s->window; i++) {
        uint64_t next = s->until + (uint64_t)s->stride; /* wraps when it goes down */
        if (s->stride < 0 ? next > s->until : next < s->until || next >= limits->object_size)
            break;
        s->until = next;
        if ((i + 2) * len <= window_max(limits))
            add_range(ret, next, next + MIN(len, limits->object_size - next));
    }
    s->until += (uint64_t)s->stride;
    ret->request_bytes = MIN(limits->request_bytes, (uint64_t)PLAN_REQUEST_MAX_BYTES);
}

/* Three reads at one distance, which is more than what lies between them is worth. */
static bool is_stride(const struct plan_history *h, uint64_t offset, uint64_t len)
{
    int64_t step = (int64_t)(offset - h->last[0]);
    uint64_t apart = distance(offset, h->last[0]);

    return h->last_len && h->last[0] != h->last[1] && step == (int64_t)(h->last[0] - h->last[1]) &&
           apart <= STRIDE_MAX_BYTES && apart > len;
}

/* ---- which stream */

static struct plan_stream *stream_of(struct plan_history *h, uint64_t offset, uint64_t end,
                                     enum plan_way *ret_way)
{
    struct plan_stream *best = NULL;

    for (unsigned i = 0; i < PLAN_STREAMS; i++) {
        struct plan_stream *s = &h->streams[i];
        enum plan_way way = PLAN_NONE;
        if ((s->way == PLAN_ONE || s->way == PLAN_FORWARD) && goes_forward(s, offset))
            way = PLAN_FORWARD;
        else if ((s->way == PLAN_ONE || s->way == PLAN_BACKWARD) && goes_backward(s, offset, end))
            way = PLAN_BACKWARD;
        else if (s->way == PLAN_STRIDE && distance(offset, s->until) < BLOCK_BYTES)
            way = PLAN_STRIDE;
        if (way == PLAN_NONE || (best && (int)(best->used - s->used) > 0))
            continue;
        best = s;
        *ret_way = way;
    }
    return best;
}

static struct plan_stream *oldest(struct plan_history *h)
{
    struct plan_stream *s = &h->streams[0];

    for (unsigned i = 1; i < PLAN_STREAMS; i++)
        if ((int)(s->used - h->streams[i].used) > 0)
            s = &h->streams[i];
    return s;
}

/* Nobody's stream so far, but a file is often read from its start to its end. */
static struct plan_stream *begin(struct plan_history *h, uint64_t offset, uint64_t end,
                                 const struct plan_limits *limits, enum plan_way *ret_way)
{
    struct plan_stream *s = oldest(h);
    uint64_t len = end - offset;

    *ret_way = offset == 0 ? PLAN_FORWARD : PLAN_ONE;
    bool strides = is_stride(h, offset, len);
    *s = (struct plan_stream){
        .start = offset, .end = end, .until = block_up(end, limits->object_size)};
    if (strides) {
        *ret_way = PLAN_STRIDE;
        s->stride = (int64_t)(offset - h->last[0]);
    }
    h->last[1] = h->last[0];
    h->last[0] = offset;
    h->last_len = len;
    return s;
}

/* A handle may go on with another version, which is smaller: streams that reach beyond it are over. */
static void forget_beyond(struct plan_history *h, uint64_t size)
{
    for (unsigned i = 0; i < PLAN_STREAMS; i++) {
        struct plan_stream *s = &h->streams[i];
        if (s->start > size || s->end > size || (s->way != PLAN_STRIDE && s->until > size))
            *s = (struct plan_stream){0};
    }
}

void plan_read(struct plan_history *h, uint64_t offset, uint64_t len,
               const struct plan_limits *limits, struct plan *ret)
{
    uint64_t end = offset + MIN(len, limits->object_size - offset);
    enum plan_way way = PLAN_ONE;

    forget_beyond(h, limits->object_size);
    *ret = (struct plan){.request_bytes =
                             MIN(limits->request_bytes, (uint64_t)PLAN_REQUEST_MAX_BYTES)};
    struct plan_stream *s = stream_of(h, offset, end, &way);
    if (!s)
        s = begin(h, offset, end, limits, &way);
    if (s->way != way && way == PLAN_BACKWARD)
        s->until = block_down(s->start);
    s->way = way;
    s->used = ++h->clock;
    if (way == PLAN_FORWARD) {
        s->end = MAX(s->end, end);
        forward(s, end, end - offset, limits, ret);
    } else if (way == PLAN_BACKWARD) {
        s->start = MIN(s->start, offset);
        backward(s, offset, end - offset, limits, ret);
    } else if (way == PLAN_STRIDE) {
        s->start = offset;
        stride(s, end - offset, limits, ret);
    }
}

void plan_told(struct plan_history *h, uint64_t offset, const struct plan_limits *limits,
               struct plan *ret)
{
    *ret = (struct plan){.request_bytes = PLAN_REQUEST_MAX_BYTES};
    forget_beyond(h, limits->object_size);
    for (unsigned i = 0; i < PLAN_STREAMS; i++) {
        struct plan_stream *s = &h->streams[i];
        if (s->way != PLAN_FORWARD || offset > s->until ||
            s->until - offset > PLAN_WINDOW_MAX_BYTES)
            continue;
        if (offset + PLAN_LATE_BYTES < s->end)
            continue; /* another stream's */
        uint64_t from = s->until;
        s->end = MAX(s->end, offset);
        s->used = ++h->clock;
        forward(s, from, 0, limits, ret);
        return;
    }
}
