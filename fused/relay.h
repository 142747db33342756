/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The few words between keeper and daemon, over a SOCK_SEQPACKET pair. Both are the same program
 * and the daemon is the one that is not trusted: the keeper takes no descriptors and no lengths
 * from it. */
#pragma once

#include <stdint.h>

#include "fused/attach.h"

enum relay_kind {
    RELAY_READY = 1,  /* daemon: FUSE_INIT is answered */
    RELAY_LOST,       /* daemon: the backend is gone, get another connection */
    RELAY_STOP,       /* daemon: it was told to end by a signal */
    RELAY_PREFETCHED, /* daemon: what is to be fetched ahead was */
    RELAY_ATTACHED,   /* keeper: here it is */
    RELAY_FAILED,     /* keeper: not now */
};

int relay_pair(int ret_fds[2]);
int relay_send(int fd, enum relay_kind kind, const struct attached *a); /* a: RELAY_ATTACHED only */
/* a: NULL where descriptors are not wanted. 0 | -EPIPE (nobody there) | -EPROTO | -errno */
int relay_recv(int fd, enum relay_kind *ret_kind, struct attached *ret);
