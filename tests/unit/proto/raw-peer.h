/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The other end of a socketpair, played by hand: whole frames, or any bytes. Blocking, at most 10 s. */
#pragma once

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/msg.h"
#include "proto/rx.h"
#include "proto/wire.h"

struct raw {
    int fd;
    struct rx rx;
    uint8_t buf[65536];
};

struct raw_frame {
    struct frame frame;
    struct msg_head head;
    int fds[PROTO_FDS_MAX];
};

static inline void raw_frame_fini(struct raw_frame *f)
{
    rx_close_fds(f->fds, f->frame.nfds);
    frame_fini(&f->frame);
}

static inline void raw_close(struct raw *p)
{
    rx_fini(&p->rx);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* 1: a frame; 0: the stream ended; -errno */
static inline int raw_recv(struct raw *p, struct raw_frame *ret)
{
    for (;;) {
        int r = rx_next(&p->rx, &ret->frame, ret->fds);
        struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
        ssize_t n;

        if (r == 1)
            return msg_head_unpack(ret->frame.data, ret->frame.head_len, &ret->head) < 0 ? -EBADMSG
                                                                                         : 1;
        if (r < 0)
            return r;
        if (poll(&pfd, 1, 10000) == 0)
            return -ETIMEDOUT;
        n = rx_recv(&p->rx, p->fd, p->buf, sizeof(p->buf));
        if (n == 0 || (n < 0 && n != -EAGAIN))
            return (int)n;
    }
}

static inline void raw_must_recv(struct raw *p, struct raw_frame *ret, uint64_t method)
{
    must(raw_recv(p, ret) == 1);
    must(ret->head.method == method);
}

static inline void raw_write(struct raw *p, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd pfd = {.fd = p->fd, .events = POLLOUT};
            must(poll(&pfd, 1, 10000) == 1);
            continue;
        }
        if (n < 0)
            return; /* the other side hung up, as it may */
        at += n;
        len -= (size_t)n;
    }
}

static inline void raw_pack(struct str *out, uint64_t kind, uint64_t id, uint64_t method,
                            const struct str *fields, const void *payload, size_t payload_len,
                            unsigned nfds)
{
    size_t at = frame_begin(out);

    must(at != SIZE_MAX && msg_head_pack(out, kind, id, method) == 0);
    must(str_addn(out, fields ? fields->s : "\x80", fields ? fields->len : 1) == 0);
    frame_end_head(out, at);
    must(str_addn(out, payload, payload_len) == 0 && frame_end(out, at, nfds) == 0);
}

static inline void raw_send(struct raw *p, uint64_t kind, uint64_t id, uint64_t method,
                            const struct str *fields, const void *payload, size_t payload_len)
{
    struct str out = STR_NULL;

    raw_pack(&out, kind, id, method, fields, payload, payload_len, 0);
    raw_write(p, out.s, out.len);
    str_fini(&out);
}

/* A frame that states nfds and brings nsent. */
static inline void raw_send_fds(struct raw *p, uint64_t kind, uint64_t id, uint64_t method,
                                unsigned nfds, const int *fds, unsigned nsent)
{
    char control[CMSG_SPACE(sizeof(int) * 16)] = {0};
    struct str out = STR_NULL;
    raw_pack(&out, kind, id, method, NULL, NULL, 0, nfds);
    struct iovec iov = {out.s, out.len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nsent > 0) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nsent);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nsent);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nsent);
    }
    ssize_t n = sendmsg(p->fd, &msg, MSG_NOSIGNAL);
    (void)n; /* refused by the kernel is as good */
    str_fini(&out);
}

/* A descriptor that can be told from others. */
static inline int numbered_fd(uint64_t number)
{
    int fd = memfd_create("number", MFD_CLOEXEC);

    must(fd >= 0 && pwrite(fd, &number, sizeof(number), 0) == sizeof(number));
    return fd;
}

static inline uint64_t number_of_fd(int fd)
{
    uint64_t number;

    must(pread(fd, &number, sizeof(number), 0) == sizeof(number));
    return number;
}

static inline unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF;
    return n;
}
