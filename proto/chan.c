/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The server's end of a connection. The peer may be hostile: it may send anything, read nothing, or hang
 * up at any byte. So memory and descriptors held for it are bounded, and reading stops while it does not
 * take its answers.
 *
 * States: open -> (shutting, by chan_shutdown) -> ended; closed() is called from the loop once ended,
 * never from inside another call. `freed` lets a callback free the channel under the feet of the code
 * that called it. */
#include "proto/chan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/sendq.h"

#define RECV_BYTES (64u * 1024)
#define CORK_FRAME_BYTES 4096u /* larger answers do not wait for their neighbours */
#define LINGER_MS 5000u        /* for a peer to take what was queued before the end */
#define QUEUED_FDS_MAX 64u     /* descriptors kept open for a peer that does not read */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16; older kernels refuse it, and descriptors are closed on arrival */
#endif

struct chan {
    struct loop *loop;
    struct loop_io *io;
    struct loop_timer *retry, *linger;
    struct loop_task task;
    const struct chan_ops *ops;
    void *arg;
    int fd;
    struct chan_peer peer;

    struct frame_parser parser;
    struct str stash; /* received, but not looked at while blocked */
    struct sendq out;

    bool paused, over, corked, retrying, shutting, ended;
    int error;
    bool *freed;
};

static void chan_end(struct chan *chan, int error)
{
    if (chan->ended)
        return;
    chan->ended = true;
    chan->error = error;
    sendq_fini(&chan->out);
    loop_io_want(chan->io, 0);
    loop_timer_clear(chan->retry);
    loop_timer_clear(chan->linger);
    loop_task_add(chan->loop, &chan->task);
}

static bool blocked(const struct chan *chan)
{
    return chan->paused || chan->over || chan->shutting || chan->ended;
}

/* After anything that may have changed what the channel waits for. */
static void update(struct chan *chan)
{
    unsigned want = 0;
    int r;

    if (chan->ended)
        return;
    if (chan->out.error != 0 || (chan->shutting && sendq_empty(&chan->out))) {
        chan_end(chan, chan->out.error);
        return;
    }
    if (chan->out.bytes > PROTO_SEND_QUEUE_MAX_BYTES || chan->out.fds > QUEUED_FDS_MAX)
        chan->over = true;
    else if (chan->out.bytes <= PROTO_SEND_QUEUE_MAX_BYTES / 2 &&
             chan->out.fds <= QUEUED_FDS_MAX / 2)
        chan->over = false;
    if (chan->corked) /* dispatch() comes back here when it is done */
        return;
    if (!blocked(chan) && chan->stash.len > 0)
        loop_task_add(chan->loop, &chan->task);
    else if (!blocked(chan))
        want |= LOOP_READ;
    if (chan->out.retry_later && !chan->retrying)
        loop_timer_set_ms(chan->retry, SENDQ_RETRY_MS);
    else if (!chan->out.retry_later && !sendq_empty(&chan->out))
        want |= LOOP_WRITE;
    chan->retrying = chan->out.retry_later;
    r = loop_io_want(chan->io, want);
    if (r < 0)
        chan_end(chan, r);
}

/* Sends what the socket takes of the queue. */
static void flush(struct chan *chan)
{
    if (!chan->ended)
        sendq_flush(&chan->out);
    update(chan);
}

int chan_send(struct chan *chan, const struct str *head, const void *payload, size_t payload_len,
              const int *fds, unsigned nfds)
{
    /* Replies to what came in one receive leave together. Pushes never wait: they have to be gone before
     * the reply of the call that caused them, which may be on another channel. */
    bool push = head->len > 1 && head->s[1] == MSG_KIND_REQUEST;
    bool later = chan->corked && !push && head->len + payload_len <= CORK_FRAME_BYTES;
    int r;

    if (chan->ended || chan->shutting)
        return -EPIPE;
    r = sendq_add(&chan->out, head, payload, payload_len, fds, nfds, later);
    update(chan);
    return r;
}

/* --- receiving --- */

/* Frames of a client are requests, bring no descriptors, and bring a payload only where the table says so. */
static int judge(const struct frame *frame, struct msg_head *ret_head)
{
    const struct msg_info *info;
    int r = frame->nfds > 0 ? -EPROTO : msg_head_unpack(frame->data, frame->head_len, ret_head);

    if (r < 0)
        return r;
    info = msg_info(ret_head->method);
    if (ret_head->kind != MSG_KIND_REQUEST)
        return -EPROTO;
    return info && info->payload != MSG_PAYLOAD_REQ && frame->payload_len > 0 ? -EPROTO : 0;
}

static void say_request(const struct chan *chan, const struct msg_head *head)
{
    const struct msg_info *info = msg_info(head->method);

    log_debug("proto", "uid %u pid %d: %s (%" PRIu64 "), id %" PRIu64 ", seq %" PRIu64,
              (unsigned)chan->peer.uid, (int)chan->peer.pid, info ? info->name : "unknown",
              head->method, head->id, head->seq);
}

/* Heads may carry keys, so none stays behind in freed memory. */
static void frame_wipe(struct frame *frame)
{
    if (frame->data)
        explicit_bzero(frame->data, frame->head_len);
    frame_fini(frame);
}

static void deliver(struct chan *chan, struct frame *frame)
{
    struct msg_head head;
    int r = judge(frame, &head);

    if (r < 0) {
        chan_end(chan, r);
    } else {
        say_request(chan, &head);
        chan->ops->frame(chan->arg, &head, frame);
    }
    frame_wipe(frame);
}

/* Delivers the frames in data, then keeps what may not be looked at yet. False: the channel is gone. */
static bool dispatch(struct chan *chan, const uint8_t *data, size_t len)
{
    bool freed = false;

    chan->freed = &freed;
    chan->corked = true;
    while (len > 0 && !blocked(chan)) {
        struct frame frame;
        size_t used;
        int r = frame_parse(&chan->parser, data, len, &used, &frame);

        data += used;
        len -= used;
        if (r < 0)
            chan_end(chan, r);
        if (r <= 0)
            continue;
        deliver(chan, &frame);
        if (freed)
            return false;
        update(chan); /* the answer may have filled the queue */
    }
    chan->freed = NULL;
    chan->corked = false;
    if (len > 0 && !chan->ended && !chan->shutting && str_addn(&chan->stash, data, len) < 0)
        chan_end(chan, -ENOMEM);
    flush(chan);
    return true;
}

/* True: the message carried descriptors, which are closed now. */
static bool close_fds(struct msghdr *msg)
{
    bool found = (msg->msg_flags & MSG_CTRUNC) != 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
            close(fd);
        }
        found = true;
    }
    return found;
}

/* What was received into the room of a large frame, then what lies behind it in buf. */
static void received(struct chan *chan, size_t room, const uint8_t *buf, size_t n)
{
    size_t direct = MIN(room, n);
    struct frame frame;

    if (direct > 0 && frame_parser_filled(&chan->parser, direct, &frame) == 1) {
        bool freed = false;
        chan->freed = &freed;
        deliver(chan, &frame);
        if (freed)
            return;
        chan->freed = NULL;
    }
    if (n > direct)
        dispatch(chan, buf, n - direct);
    else
        update(chan);
}

static void receive(struct chan *chan)
{
    char control[CMSG_SPACE(sizeof(int) * PROTO_FDS_MAX)]
        __attribute__((aligned(__alignof__(struct cmsghdr))));
    uint8_t buf[RECV_BYTES];
    struct iovec iov[2] = {{NULL, 0}, {buf, sizeof(buf)}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = control,
                         .msg_controllen = sizeof(control)};
    size_t room = frame_parser_room(&chan->parser, &iov[0].iov_base);
    ssize_t n;

    iov[0].iov_len = room;
    do
        n = recvmsg(chan->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno != EAGAIN)
            chan_end(chan, -errno);
        return;
    }
    if (close_fds(&msg)) {
        chan_end(chan, -EPROTO);
    } else if (n == 0) {
        chan_end(chan, frame_parser_idle(&chan->parser) ? 0 : -ECONNRESET);
    } else {
        received(chan, room, buf, (size_t)n);
        if ((size_t)n > room) /* no key of an ATTACH stays on the stack */
            explicit_bzero(buf, (size_t)n - room);
    }
}

static void io_ready(void *arg, unsigned events)
{
    struct chan *chan = arg;

    if (events & LOOP_WRITE)
        flush(chan);
    else
        receive(chan);
}

static void retry_now(void *arg)
{
    struct chan *chan = arg;

    chan->out.retry_later = chan->retrying = false;
    flush(chan);
}

static void linger_over(void *arg)
{
    chan_end(arg, -ETIMEDOUT);
}

static void task_run(void *arg)
{
    struct chan *chan = arg;

    if (chan->ended) {
        chan->ops->closed(chan->arg, chan->error);
        return;
    }
    if (!blocked(chan) && chan->stash.len > 0) {
        struct str stash = chan->stash;
        chan->stash = STR_NULL;
        dispatch(chan, (const uint8_t *)stash.s, stash.len);
        str_wipe(&stash);
    }
}

/* --- life --- */

int chan_new(struct loop *loop, int fd, const struct chan_ops *ops, void *arg,
             struct chan **ret_chan)
{
    struct chan *chan = calloc(1, sizeof(*chan));
    struct ucred cred;
    socklen_t len = sizeof(cred);
    int r, off = 0;

    if (!chan) {
        close(fd);
        return -ENOMEM;
    }
    *chan = (struct chan){.loop = loop, .ops = ops, .arg = arg, .fd = fd};
    sendq_init(&chan->out, fd);
    loop_task_init(&chan->task, task_run, chan);
    (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
    r = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ? -errno : 0;
    if (r == 0)
        r = loop_io_new(loop, fd, io_ready, chan, &chan->io);
    if (r == 0)
        r = loop_timer_new(loop, retry_now, chan, &chan->retry);
    if (r == 0)
        r = loop_timer_new(loop, linger_over, chan, &chan->linger);
    if (r == 0)
        r = loop_io_want(chan->io, LOOP_READ);
    if (r < 0) {
        chan_free(chan);
        return r;
    }
    chan->peer = (struct chan_peer){cred.uid, cred.gid, cred.pid};
    *ret_chan = chan;
    return 0;
}

void chan_free(struct chan *chan)
{
    if (!chan)
        return;
    if (chan->freed)
        *chan->freed = true;
    sendq_fini(&chan->out);
    loop_task_cancel(&chan->task);
    loop_timer_free(chan->retry);
    loop_timer_free(chan->linger);
    loop_io_free(chan->io);
    close(chan->fd);
    frame_parser_fini(&chan->parser);
    str_wipe(&chan->stash);
    free(chan);
}

const struct chan_peer *chan_peer(const struct chan *chan)
{
    return &chan->peer;
}

size_t chan_queued_bytes(const struct chan *chan)
{
    return chan->out.bytes;
}

void chan_pause(struct chan *chan, bool paused)
{
    chan->paused = paused;
    update(chan);
}

void chan_shutdown(struct chan *chan)
{
    if (!chan->shutting && !chan->ended)
        loop_timer_set_ms(chan->linger, LINGER_MS);
    chan->shutting = true;
    flush(chan);
}
