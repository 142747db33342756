/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The receiving half of a client: bytes and descriptors of one connection in, frames with their descriptors
 * out. Private to the client. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "proto/frame.h"
#include "proto/limits.h"

#define RX_FDS_MAX (2 * PROTO_FDS_MAX) /* of an unfinished frame, and of one message behind it */

struct rx {
    struct frame_parser parser;
    int fds[RX_FDS_MAX]; /* received, not yet claimed by a frame */
    unsigned nfds;
    size_t direct;     /* received into the parser's room */
    const uint8_t *at; /* received into the caller's buffer, not yet parsed */
    size_t left;
};

void rx_fini(struct rx *rx); /* ready for another connection afterwards */
/* One recvmsg: the rest of a large frame goes to its place, what follows into buf, which must stay until
 * rx_next() said 0. Bytes received | 0 end of stream | -EAGAIN | -EPROTO | -errno */
ssize_t rx_recv(struct rx *rx, int fd, void *buf, size_t size);
/* 1: a frame and its frame->nfds descriptors, both the caller's; 0: receive more; -EPROTO | -ENOMEM */
int rx_next(struct rx *rx, struct frame *ret_frame, int ret_fds[PROTO_FDS_MAX]);
void rx_close_fds(int *fds, unsigned nfds); /* those that are not -1 */
