/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Gathers queued frames into few system calls, sends descriptors with the first byte of their frame and
 * only once, and copies of a frame only what the socket did not take at once. */
#include "proto/sendq.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/must.h"
#include "proto/frame.h"
#include "proto/limits.h"

#define GATHER_MAX 32u      /* queued frames sent by one call */
#define UNREAD_FDS_MAX 128u /* see fds_may_leave() */

struct out { /* one queued frame, or what is left of it */
    struct list link;
    size_t len, off;
    unsigned nfds; /* left to send, with the first byte */
    int fds[PROTO_FDS_MAX];
    uint8_t bytes[];
};

void sendq_init(struct sendq *q, int fd)
{
    *q = (struct sendq){.fd = fd};
    list_init(&q->out);
}

bool sendq_empty(const struct sendq *q)
{
    return list_empty(&q->out);
}

/* The descriptors have left, or never will. */
static void out_close_fds(struct sendq *q, struct out *o)
{
    q->fds -= o->nfds;
    for (unsigned i = 0; i < o->nfds; i++)
        close(o->fds[i]);
    o->nfds = 0;
}

static void out_free(struct sendq *q, struct out *o)
{
    list_del(&o->link);
    q->bytes -= o->len - o->off;
    out_close_fds(q, o);
    free(o);
}

void sendq_fini(struct sendq *q)
{
    while (!list_empty(&q->out))
        out_free(q, list_first(&q->out, struct out, link));
}

/* Descriptors that were sent but not read yet are limited per user by the kernel: a peer that does not read
 * must not use up what the others need. */
static bool fds_may_leave(struct sendq *q, unsigned nfds)
{
    int unread = 0;

    if (nfds == 0 || q->unread_fds + nfds <= UNREAD_FDS_MAX)
        return true;
    if (ioctl(q->fd, SIOCOUTQ, &unread) < 0 || unread > 0)
        return false;
    q->unread_fds = 0;
    return true;
}

static void add_control(struct msghdr *msg, void *control, const int *fds, unsigned nfds)
{
    struct cmsghdr *c;

    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
    memset(control, 0, msg->msg_controllen);
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
}

/* How many bytes left; 0 also when the connection broke. */
static size_t send_some(struct sendq *q, struct iovec *iov, size_t niov, const int *fds,
                        unsigned nfds)
{
    char control[CMSG_SPACE(sizeof(int) * PROTO_FDS_MAX)]
        __attribute__((aligned(__alignof__(struct cmsghdr))));
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = niov};
    ssize_t n;

    if (!fds_may_leave(q, nfds)) {
        q->retry_later = true;
        return 0;
    }
    if (nfds > 0)
        add_control(&msg, control, fds, nfds);
    do
        n = sendmsg(q->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0) {
        q->unread_fds += nfds;
        return (size_t)n;
    }
    if (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM)
        q->retry_later = true;
    else if (errno != EAGAIN)
        q->error = -errno;
    return 0;
}

static void out_sent(struct sendq *q, size_t n)
{
    struct out *o, *tmp;

    list_for_each_safe(o, tmp, &q->out, link) {
        size_t part = MIN(n, o->len - o->off);
        if (part == 0)
            return;
        out_close_fds(q, o);
        o->off += part;
        q->bytes -= part;
        n -= part;
        if (o->off == o->len)
            out_free(q, o);
    }
}

void sendq_flush(struct sendq *q)
{
    while (q->error == 0 && !q->retry_later && !list_empty(&q->out)) {
        struct out *first = list_first(&q->out, struct out, link), *o;
        struct iovec iov[GATHER_MAX];
        size_t niov = 0, total = 0, n;

        list_for_each(o, &q->out, link) {
            if (niov == GATHER_MAX || (o->nfds > 0 && o != first))
                break;
            iov[niov++] = (struct iovec){o->bytes + o->off, o->len - o->off};
            total += o->len - o->off;
        }
        n = send_some(q, iov, niov, first->fds, first->nfds);
        out_sent(q, n);
        if (n < total)
            return;
    }
}

/* Queues what remains of a frame after its first `sent` bytes left. */
static int enqueue(struct sendq *q, const struct iovec iov[3], size_t sent, const int *fds,
                   unsigned nfds)
{
    size_t total = iov[0].iov_len + iov[1].iov_len + iov[2].iov_len, at = 0;
    struct out *o = malloc(sizeof(*o) + total - sent);

    if (!o)
        return -ENOMEM;
    *o = (struct out){.len = total - sent};
    for (unsigned i = 0; i < 3; i++) {
        size_t skip = MIN(sent, iov[i].iov_len), rest = iov[i].iov_len - skip;
        if (rest > 0)
            memcpy(o->bytes + at, (const char *)iov[i].iov_base + skip, rest);
        at += rest;
        sent -= skip;
    }
    list_add_tail(&q->out, &o->link);
    q->bytes += o->len;
    for (unsigned i = 0; i < nfds; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (fd < 0) {
            int r = -errno;
            out_free(q, o);
            return r;
        }
        o->fds[o->nfds++] = fd;
        q->fds++;
    }
    return 0;
}

int sendq_add(struct sendq *q, const struct str *head, const void *payload, size_t payload_len,
              const int *fds, unsigned nfds, bool later)
{
    uint8_t prefix[FRAME_PREFIX_BYTES];
    struct iovec iov[3] = {{prefix, sizeof(prefix)}, {head->s, head->len},
                           {(void *)payload, payload_len}};
    size_t n = 0;
    int r = frame_prefix(prefix, head->len, payload_len, nfds);

    if (r < 0)
        return r;
    if (!later)
        sendq_flush(q);
    if (!later && list_empty(&q->out) && q->error == 0 && !q->retry_later)
        n = send_some(q, iov, 3, fds, nfds);
    if (n == sizeof(prefix) + head->len + payload_len || q->error != 0)
        return 0;
    r = enqueue(q, iov, n, fds, n > 0 ? 0 : nfds);
    if (r < 0 && n > 0)
        q->error = r; /* half a frame has left: nothing can follow it */
    return r;
}
