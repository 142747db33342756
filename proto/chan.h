/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One connected UNIX stream socket on a loop, for the server: frames in by callback, frames out through
 * a queue counted in bytes. While more than PROTO_SEND_QUEUE_MAX_BYTES wait, the peer is not read.
 * Descriptors leave with the first byte of their frame and are closed here afterwards; descriptors that
 * a peer sends are closed and end the connection. Thread: its loop. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/loop.h"
#include "proto/frame.h"
#include "proto/msg.h"

struct chan;

struct chan_peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

struct chan_ops {
    /* frame's memory belongs to the channel and is valid during the call only, unless the callee takes
     * it (frame->data = NULL). */
    void (*frame)(void *arg, const struct msg_head *head, struct frame *frame);
    /* The connection ended: 0 orderly, else -errno (-EPROTO: the peer broke the rules). Called once,
     * from the loop; the callee calls chan_free(). */
    void (*closed)(void *arg, int error);
};

/* Takes the fd also on failure. 0 | -ENOMEM | -errno of getsockopt */
int chan_new(struct loop *loop, int fd, const struct chan_ops *ops, void *arg,
             struct chan **ret_chan);
void chan_free(struct chan *chan);
const struct chan_peer *chan_peer(const struct chan *chan);
/* Queue one frame: head already packed by msg_*; payload may be NULL; fds are duplicated. Payload and
 * head are copied. 0 | -ENOMEM | -EPIPE (already closed: harmless, closed() is on its way) */
int chan_send(struct chan *chan, const struct str *head, const void *payload, size_t payload_len,
              const int *fds, unsigned nfds);
size_t chan_queued_bytes(const struct chan *chan);
/* Stop or go on reading the peer (the server's own back-pressure). */
void chan_pause(struct chan *chan, bool paused);
/* Sends what is queued, then ends: closed(0) follows, or closed(-ETIMEDOUT) if the peer does not read. */
void chan_shutdown(struct chan *chan);
