/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See flow.h. Nothing here waits: what cannot be moved now is left for the next call. */
#include "tests/bench/flow.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/must.h"

#define PIPE_WANTED (4u * 1024 * 1024)
#define PIPE_ALLOWED (1024u * 1024) /* to everybody, by default */
#define LIMIT_SLACK (512u * 1024)   /* beyond what the line holds, so that it never runs dry */
#define PIECE (64u * 1024)          /* bytes that share one time of arrival */
#define READ_LEAST (128u * 1024)    /* less room than this is not worth a system call */

int flow_init(struct flow *f, struct flow_line *line, int from, int to)
{
    *f =
        (struct flow){.line = line, .from = from, .to = to, .pipe = {-1, -1}, .eof_ns = FLOW_NEVER};
    if (pipe2(f->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        return -errno;
    /* The pipe's slots hold a network buffer's fragment each, full or not: hence far more than
     * needed. */
    int size = fcntl(f->pipe[1], F_SETPIPE_SZ, PIPE_WANTED);
    if (size < 0)
        size = fcntl(f->pipe[1], F_SETPIPE_SZ, PIPE_ALLOWED);
    if (size < 0)
        size = fcntl(f->pipe[1], F_GETPIPE_SZ);
    if (size <= 0)
        return -errno;
    uint64_t holds = line->bytes_per_s ? line->bytes_per_s / 1000 * (line->delay_ns / 1000) / 1000
                                       : (uint64_t)size;
    f->limit = (size_t)MIN((uint64_t)size, holds + LIMIT_SLACK);
    return 0;
}

void flow_fini(struct flow *f)
{
    for (int i = 0; i < 2; i++)
        if (f->pipe[i] >= 0)
            close(f->pipe[i]);
    f->pipe[0] = f->pipe[1] = -1;
}

/* ---- in */

static void push(struct flow *f, uint64_t due_ns, size_t bytes)
{
    must(f->segments < FLOW_SEGMENTS);
    f->ring[(f->head + f->segments++) % FLOW_SEGMENTS] = (struct flow_segment){due_ns, bytes};
}

static void enter(struct flow *f, size_t bytes, uint64_t now_ns)
{
    const struct flow_line *line = f->line;
    f->free_ns = MAX(f->free_ns, now_ns);
    f->queued += bytes;
    f->line->moved += bytes;
    if (!line->bytes_per_s) {
        push(f, f->free_ns + line->delay_ns, bytes);
        return;
    }
    while (bytes) {
        size_t piece = MIN(bytes, (size_t)PIECE);
        f->free_ns += piece * NS_PER_S / line->bytes_per_s;
        push(f, f->free_ns + line->delay_ns, piece);
        bytes -= piece;
    }
}

/* Bytes that may be taken from the sender now: to the end of one request at most, so that the next
 * one's head is looked at. 0: the head is not complete. */
static size_t wanted(struct flow *f, size_t room)
{
    char data[HTTP_HEAD_MAX];
    enum http_kind kind;
    if (!f->counted)
        return room;
    if (!f->count.left && !f->count.opaque) {
        ssize_t n = recv(f->from, data, sizeof(data), MSG_PEEK);
        if (n > 0 && http_count_head(&f->count, data, (size_t)n, &kind))
            f->line->requests[kind]++;
        else if (n > 0 && !f->count.opaque)
            return 0;
        else if (n <= 0)
            return 1; /* the end, an error, or nothing: splice will say */
    }
    return f->count.opaque ? room : (size_t)MIN((uint64_t)room, f->count.left);
}

/* False: there is nothing more to take for now. */
static bool take_some(struct flow *f, size_t room, uint64_t now_ns)
{
    size_t want = wanted(f, room);
    int more = 0;
    ssize_t n =
        want ? splice(f->from, NULL, f->pipe[1], NULL, want, SPLICE_F_NONBLOCK | SPLICE_F_MOVE)
             : -1;
    if (!want) {
        f->readable = false; /* the rest of the head will be an event of its own */
    } else if (n > 0) {
        enter(f, (size_t)n, now_ns);
        f->count.left -= MIN(f->count.left, (uint64_t)n);
    } else if (n == 0) {
        f->eof_ns = MAX(f->free_ns, now_ns) + f->line->delay_ns;
    } else if (errno == EAGAIN) {
        /* Nothing there, or no slot in the pipe: only then there are bytes in the socket. */
        f->readable = ioctl(f->from, FIONREAD, &more) == 0 && more > 0;
    } else if (errno != EINTR) {
        f->broken = true;
    }
    return n > 0;
}

static void fill(struct flow *f, uint64_t now_ns)
{
    while (f->readable && !f->broken && f->eof_ns == FLOW_NEVER) {
        size_t room = f->limit > f->queued ? f->limit - f->queued : 0;
        size_t slots = (FLOW_SEGMENTS - f->segments - 1) / 2;
        if ((room < READ_LEAST && f->queued) || slots * PIECE < room + PIECE)
            return; /* more room comes when something leaves */
        if (!take_some(f, room, now_ns))
            return;
    }
}

/* ---- out */

static size_t due_bytes(const struct flow *f, uint64_t now_ns)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < f->segments; i++) {
        const struct flow_segment *s = &f->ring[(f->head + i) % FLOW_SEGMENTS];
        if (s->due_ns > now_ns)
            break;
        bytes += s->bytes;
    }
    return bytes;
}

static void left(struct flow *f, size_t bytes)
{
    f->queued -= bytes;
    f->delivered += bytes;
    f->line->moved += bytes;
    while (bytes) {
        struct flow_segment *s = &f->ring[f->head];
        size_t part = MIN(bytes, s->bytes);
        s->bytes -= part;
        bytes -= part;
        if (!s->bytes) {
            f->head = (f->head + 1) % FLOW_SEGMENTS;
            f->segments--;
        }
    }
}

static void drain(struct flow *f, uint64_t now_ns)
{
    size_t due;
    while (f->writable && !f->broken && (due = due_bytes(f, now_ns))) {
        ssize_t n = splice(f->pipe[0], NULL, f->to, NULL, due, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0)
            left(f, (size_t)n);
        else if (n < 0 && errno == EAGAIN)
            f->writable = false;
        else if (n == 0 || errno != EINTR)
            f->broken = true;
    }
    if (!f->segments && !f->ended && f->eof_ns <= now_ns) {
        shutdown(f->to, SHUT_WR);
        f->ended = true;
    }
}

void flow_run(struct flow *f, uint64_t now_ns)
{
    drain(f, now_ns);
    fill(f, now_ns);
}

uint64_t flow_next_ns(const struct flow *f)
{
    if (f->segments)
        return f->writable ? f->ring[f->head].due_ns : FLOW_NEVER;
    return f->ended ? FLOW_NEVER : f->eof_ns;
}
