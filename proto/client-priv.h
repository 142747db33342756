/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What client.c (the table of calls, and sending) and client-run.c (the receiving thread) share.
 *
 * One mutex guards everything but `rx` and `buf`, which belong to the thread in client_run(); it is held for
 * no longer than one sendmsg() that does not block or the copy of one request, and never while a callback
 * runs. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "proto/client-slot.h"
#include "proto/client.h"
#include "proto/rx.h"

#define CLIENT_RECV_BYTES (256u * 1024)

struct client {
    pthread_mutex_t lock;
    int fd, wake;
    bool running, broken, stopped;
    atomic_bool want_out; /* the socket was full: client_run() watches for room */
    struct list queue, flight;
    struct str rest;   /* what was still to leave of a call that ended half sent */
    size_t off;        /* bytes that left of the message being sent: rest, else the first in queue */
    size_t unanswered; /* calls at the server, orphaned ones included */
    struct slots slots;
    uint64_t last_seq; /* of all calls so far, whatever connection they left on */
    client_push_fn *push;
    void *push_arg;

    struct rx rx;
    uint8_t *buf;
};

/* A whole frame into an empty out; seq is 0 for what nobody has to recognise. 0 | -ENOMEM | -EMSGSIZE */
int client_pack(struct str *out, uint32_t id, enum msg_method method, uint64_t seq,
                const struct str *fields, const void *payload, size_t payload_len);
/* Under the lock: hands to the socket what it takes; a full one is left to the runner. */
void client_send_queue(struct client *c);
/* Under the lock: closes the connection; nothing of it is left but the calls. */
void client_detach(struct client *c);
/* Outside the lock: the call is in no list any more, and its slot is settled. */
void client_finish(struct client_call *call, const struct client_reply *reply);
