/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The socket between keeper and daemon: small fixed words, and descriptors beside them. */
#include "fused/relay.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct words {
    uint32_t kind;
    uint32_t nfds;
    uint64_t root, ring_bytes, rw;
};

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(3 * sizeof(int))];
};

int relay_pair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0 ? -errno : 0;
}

int relay_send(int fd, enum relay_kind kind, const struct attached *a)
{
    union control control = {.bytes = {0}};
    struct words w = {.kind = kind};
    struct iovec iov = {&w, sizeof(w)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (a) {
        int fds[3] = {a->rpc_fd, a->push_fd, a->ring_fd};
        w = (struct words){kind, a->ring_fd < 0 ? 2 : 3, a->root, a->ring_bytes, a->rw};
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(w.nfds * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(w.nfds * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, w.nfds * sizeof(int));
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int relay_recv(int fd, enum relay_kind *ret_kind, struct attached *ret)
{
    union control control = {.bytes = {0}};
    struct words w = {.kind = 0};
    struct iovec iov = {&w, sizeof(w)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    int fds[3] = {-1, -1, -1};
    ssize_t n;

    if (ret) {
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
    }
    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : -EPIPE;
    const struct cmsghdr *c = ret ? CMSG_FIRSTHDR(&m) : NULL;
    if (n != sizeof(w))
        return -EPROTO;
    *ret_kind = w.kind;
    if (!ret || w.kind != RELAY_ATTACHED)
        return 0;
    if (!c || c->cmsg_type != SCM_RIGHTS || w.nfds < 2 || w.nfds > 3 ||
        c->cmsg_len != CMSG_LEN(w.nfds * sizeof(int)))
        return -EPROTO;
    memcpy(fds, CMSG_DATA(c), w.nfds * sizeof(int));
    *ret = (struct attached){fds[0], fds[1], fds[2], w.root, w.ring_bytes, w.rw};
    return 0;
}
