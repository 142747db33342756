/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Descriptors arrive with the first byte of their frame, but bytes of earlier frames may come in the same
 * receive. So they queue in order, and each frame takes as many as its prefix states; a descriptor that no
 * frame claims, or one that is missing, ends the connection. */
#include "proto/rx.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/must.h"

void rx_close_fds(int *fds, unsigned nfds)
{
    for (unsigned i = 0; i < nfds; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

void rx_fini(struct rx *rx)
{
    rx_close_fds(rx->fds, rx->nfds);
    frame_parser_fini(&rx->parser);
    *rx = (struct rx){0};
}

static int take_fds(struct rx *rx, struct msghdr *msg)
{
    int r = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
            if (rx->nfds < RX_FDS_MAX) {
                rx->fds[rx->nfds++] = fd;
            } else {
                close(fd);
                r = -EPROTO;
            }
        }
    }
    return r;
}

ssize_t rx_recv(struct rx *rx, int fd, void *buf, size_t size)
{
    char control[CMSG_SPACE(sizeof(int) * PROTO_FDS_MAX)]
        __attribute__((aligned(__alignof__(struct cmsghdr))));
    struct iovec iov[2] = {{NULL, 0}, {buf, size}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n;

    must(rx->left == 0 && rx->direct == 0);
    iov[0].iov_len = frame_parser_room(&rx->parser, &iov[0].iov_base);
    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (take_fds(rx, &msg) < 0)
        return -EPROTO;
    rx->direct = MIN((size_t)n, iov[0].iov_len);
    rx->at = buf;
    rx->left = (size_t)n - rx->direct;
    return n;
}

static int claim_fds(struct rx *rx, struct frame *frame, int ret_fds[PROTO_FDS_MAX])
{
    unsigned n = frame->nfds;

    if (n > rx->nfds) {
        frame_fini(frame);
        return -EPROTO;
    }
    memcpy(ret_fds, rx->fds, n * sizeof(int));
    rx->nfds -= n;
    memmove(rx->fds, rx->fds + n, rx->nfds * sizeof(int));
    return 1;
}

int rx_next(struct rx *rx, struct frame *ret_frame, int ret_fds[PROTO_FDS_MAX])
{
    size_t used;
    int r = 0;

    if (rx->direct > 0) {
        r = frame_parser_filled(&rx->parser, rx->direct, ret_frame);
        rx->direct = 0;
    }
    while (r == 0 && rx->left > 0) {
        r = frame_parse(&rx->parser, rx->at, rx->left, &used, ret_frame);
        rx->at += used;
        rx->left -= used;
    }
    if (r == 1)
        return claim_fds(rx, ret_frame, ret_fds);
    if (r == 0 && rx->nfds > (frame_parser_idle(&rx->parser) ? 0 : PROTO_FDS_MAX))
        return -EPROTO;
    return r;
}
