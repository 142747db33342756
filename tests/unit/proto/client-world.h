/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A client with its receiving thread, its server played by hand, and calls that remember what they got. */
#pragma once

#include "tests/unit/proto/raw-peer.h"

#include <pthread.h>
#include <stdatomic.h>

#include "proto/base/clock.h"
#include "proto/client.h"

#define PENDING 1 /* no error is positive */

struct call {
    struct client_call base;
    _Atomic int error; /* PENDING until done ran */
    _Atomic unsigned runs;
    char text[64];
    uint64_t payload;
    uint64_t fd_numbers[PROTO_FDS_MAX];
    unsigned nfds;
    struct client *chain; /* start this one from done */
    struct call *next;
};

struct world {
    struct client *c;
    struct raw server;
    pthread_t runner;
    bool running;
    int run_result;
};

static const struct str no_fields = {(char *)"\x80", 1, 0};

static inline void *run_thread(void *arg)
{
    struct world *w = arg;

    w->run_result = client_run(w->c);
    return NULL;
}

static inline void run(struct world *w)
{
    must(pthread_create(&w->runner, NULL, run_thread, w) == 0);
    w->running = true;
}

static inline int join(struct world *w)
{
    pthread_join(w->runner, NULL);
    w->running = false;
    return w->run_result;
}

static inline int pair(struct world *w)
{
    int s[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
    w->server.fd = s[1];
    return s[0];
}

static inline int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    must(client_new(pair(w), &w->c) == 0);
    *state = w;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    if (w->running) {
        client_stop(w->c);
        join(w);
    }
    client_reset(w->c, -ECANCELED);
    client_free(w->c);
    raw_close(&w->server);
    free(w);
    return 0;
}

static inline void done_cb(struct client_call *base, const struct client_reply *reply)
{
    struct call *call = container_of(base, struct call, base);

    must(++call->runs == 1);
    must(reply->text.len < sizeof(call->text));
    memcpy(call->text, reply->text.s ? reply->text.s : "", reply->text.len);
    if (reply->payload_len == sizeof(call->payload))
        memcpy(&call->payload, reply->payload, sizeof(call->payload));
    call->nfds = reply->nfds;
    for (unsigned i = 0; i < reply->nfds; i++)
        call->fd_numbers[i] = number_of_fd(reply->fds[i]);
    if (call->chain) {
        int r = client_start(call->chain, &call->next->base, MSG_STATFS, &no_fields, NULL, 0,
                             done_cb);
        must(r == 0);
    }
    call->error = reply->error;
}

static inline void begin(struct client *c, struct call *call, enum msg_method method)
{
    call->error = PENDING;
    must(client_start(c, &call->base, method, &no_fields, NULL, 0, done_cb) == 0);
}

static inline int await(struct call *call)
{
    for (int i = 0; i < 10000 && call->error == PENDING; i++)
        usleep(1000);
    return call->error;
}

static inline void answer(struct world *w, const struct msg_head *head, const void *payload,
                          size_t len)
{
    raw_send(&w->server, MSG_KIND_REPLY, head->id, head->method, NULL, payload, len);
}
