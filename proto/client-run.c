/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The receiving thread of a client. The server is not trusted either: a reply must name a call that was
 * sent, its method, and bring only what the table allows, else the connection ends. */
#include "proto/client.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/must.h"
#include "proto/client-priv.h"

/* What a reply's head says about its call, in *reply. 0 | -EPROTO */
static int judge_reply(const struct msg_head *head, const struct frame *frame,
                       struct client_reply *reply)
{
    const struct msg_info *info = msg_info(head->method);

    *reply = (struct client_reply){.fields = head->fields, .fields_len = head->fields_len,
                                   .payload = frame_payload(frame),
                                   .payload_len = frame->payload_len, .nfds = frame->nfds};
    if (head->kind == MSG_KIND_ERROR)
        return frame->payload_len > 0 || frame->nfds > 0
                   ? -EPROTO
                   : msg_error_unpack(head->fields, head->fields_len, &reply->error, &reply->text);
    return frame->payload_len > 0 && (!info || info->payload != MSG_PAYLOAD_REP) ? -EPROTO : 0;
}

static int deliver_reply(struct client *c, const struct msg_head *head, const struct frame *frame,
                         int *fds)
{
    struct client_call *call = NULL;
    struct client_reply reply;
    struct slot *slot;
    int r = judge_reply(head, frame, &reply);

    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    slot = slot_find(&c->slots, head->id);
    if (!slot || slot->method != head->method || (slot->call && !slot->call->sent)) {
        r = -EPROTO;
    } else {
        call = slot->call;
        if (call)
            list_del(&call->link);
        slot_free(&c->slots, (uint32_t)head->id);
        c->unanswered--;
        client_send_queue(c); /* may have waited for room in the table */
    }
    pthread_mutex_unlock(&c->lock);
    if (call) {
        reply.fds = fds;
        client_finish(call, &reply);
    }
    return r;
}

static int deliver(struct client *c, const struct frame *frame, int *fds)
{
    struct msg_head head;
    int r = msg_head_unpack(frame->data, frame->head_len, &head);

    if (r < 0)
        return r;
    if (head.kind != MSG_KIND_REQUEST)
        return deliver_reply(c, &head, frame, fds);
    return c->push && frame->nfds == 0 ? c->push(c->push_arg, &head, frame) : -EPROTO;
}

/* 1: go on; 0: the stream ended between two frames; -EAGAIN | -errno */
static int receive(struct client *c, int fd)
{
    int fds[PROTO_FDS_MAX];
    struct frame frame;
    ssize_t n = rx_recv(&c->rx, fd, c->buf, CLIENT_RECV_BYTES);
    int r;

    if (n == 0)
        return frame_parser_idle(&c->rx.parser) ? 0 : -ECONNRESET;
    if (n < 0)
        return (int)n;
    while ((r = rx_next(&c->rx, &frame, fds)) == 1) {
        r = deliver(c, &frame, fds);
        rx_close_fds(fds, frame.nfds);
        frame_fini(&frame);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : 1;
}

static int run(struct client *c, int fd)
{
    int r = 1;

    while (r > 0 || r == -EAGAIN) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = c->wake, .events = POLLIN}};
        uint64_t drop;

        if (atomic_load(&c->want_out))
            p[0].events |= POLLOUT;
        if (poll(p, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (p[1].revents && read(c->wake, &drop, sizeof(drop)) < 0 && errno != EAGAIN)
            return -errno;
        if (p[0].revents & POLLOUT) {
            pthread_mutex_lock(&c->lock);
            atomic_store(&c->want_out, false);
            client_send_queue(c);
            pthread_mutex_unlock(&c->lock);
        }
        if (p[0].revents & ~POLLOUT)
            r = receive(c, fd);
    }
    return r;
}

int client_run(struct client *c)
{
    int fd, r;

    pthread_mutex_lock(&c->lock);
    must(!c->running);
    fd = c->fd;
    c->running = fd >= 0;
    client_send_queue(c);
    pthread_mutex_unlock(&c->lock);
    if (fd < 0)
        return -ENOTCONN;
    r = run(c, fd);
    rx_fini(&c->rx);
    pthread_mutex_lock(&c->lock);
    client_detach(c);
    c->running = false;
    if (c->stopped)
        r = 0;
    pthread_mutex_unlock(&c->lock);
    return r;
}

void client_stop(struct client *c)
{
    pthread_mutex_lock(&c->lock);
    c->stopped = true;
    if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->lock);
}
