/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One channel on a loop, its peer played by hand, and what the channel's callbacks saw. */
#pragma once

#include "tests/unit/proto/raw-peer.h"

#include "proto/base/clock.h"
#include "proto/chan.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#define OPEN 99999 /* closed() was not called */

struct world {
    struct loop *loop;
    struct loop_timer *timer;
    struct chan *chan;
    struct raw peer;
    int server_fd;
    int closed; /* closed()'s error */
    unsigned frames;
    uint64_t ids[4096];
    size_t payload_len;
    uint8_t *taken;
    enum { NOTHING, PAUSE, FREE, TAKE, ANSWER, SHUTDOWN } on_frame;
};

static inline void frame_cb(void *arg, const struct msg_head *head, struct frame *frame)
{
    struct world *w = arg;
    struct str out = STR_NULL;

    w->ids[w->frames++ % ARRAY_SIZE(w->ids)] = head->id;
    w->payload_len = frame->payload_len;
    if (w->on_frame == PAUSE) {
        chan_pause(w->chan, true);
    } else if (w->on_frame == FREE) {
        chan_free(w->chan);
        w->chan = NULL;
    } else if (w->on_frame == TAKE) {
        w->taken = take(frame->data);
    } else if (w->on_frame == ANSWER || w->on_frame == SHUTDOWN) {
        must(msg_head_pack(&out, MSG_KIND_REPLY, head->id, head->method) == 0);
        must(str_addn(&out, "\x80", 1) == 0);
        must(chan_send(w->chan, &out, NULL, 0, NULL, 0) == 0);
        str_fini(&out);
        if (w->on_frame == SHUTDOWN)
            chan_shutdown(w->chan);
    }
}

static inline void closed_cb(void *arg, int error)
{
    struct world *w = arg;

    must(w->closed == OPEN);
    w->closed = error;
    chan_free(w->chan);
    w->chan = NULL;
}

static const struct chan_ops ops = {frame_cb, closed_cb};

static inline void stop_cb(void *arg)
{
    loop_stop(arg);
}

static inline int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    int s[2];

    must(loop_new(&w->loop) == 0 && loop_timer_new(w->loop, stop_cb, w->loop, &w->timer) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
    w->peer.fd = s[1];
    w->server_fd = s[0];
    w->closed = OPEN;
    must(chan_new(w->loop, s[0], &ops, w, &w->chan) == 0);
    *state = w;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    chan_free(w->chan);
    loop_timer_free(w->timer);
    loop_free(w->loop);
    raw_close(&w->peer);
    free(w->taken);
    free(w);
    return 0;
}

static inline void spin(struct world *w, unsigned ms)
{
    loop_timer_set_ms(w->timer, ms);
    must(loop_run(w->loop) == 0);
}

/* Until so many frames came, or the channel closed, or 5 s. */
static inline void spin_frames(struct world *w, unsigned frames)
{
    for (int i = 0; i < 1000 && w->frames < frames && w->closed == OPEN; i++)
        spin(w, 5);
}

static inline void spin_closed(struct world *w)
{
    for (int i = 0; i < 1000 && w->closed == OPEN; i++)
        spin(w, 5);
}

static inline void request(struct world *w, uint64_t id)
{
    raw_send(&w->peer, MSG_KIND_REQUEST, id, MSG_STATFS, NULL, NULL, 0);
}

static inline void reply(struct world *w, uint64_t id, const void *payload, size_t len,
                         const int *fds, unsigned nfds)
{
    struct str out = STR_NULL;

    must(msg_head_pack(&out, MSG_KIND_REPLY, id, MSG_READ) == 0);
    must(str_addn(&out, "\x80", 1) == 0);
    assert_int_equal(chan_send(w->chan, &out, payload, len, fds, nfds), 0);
    str_fini(&out);
}

/* The next frame for the peer, which receives in chunks; the server sends in between. */
static inline void next_frame(struct world *w, struct raw_frame *f, size_t chunk)
{
    int r;

    while ((r = rx_next(&w->peer.rx, &f->frame, f->fds)) == 0)
        if (rx_recv(&w->peer.rx, w->peer.fd, w->peer.buf, chunk) < 0)
            spin(w, 1);
    assert_int_equal(r, 1);
    assert_int_equal(msg_head_unpack(f->frame.data, f->frame.head_len, &f->head), 0);
}
