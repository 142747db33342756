/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The client side of the socket, used by hafiz-mount, hafizctl and the tests. Blocking descriptors and
 * any number of threads: one of them runs client_run() and delivers replies; all may start calls.
 *
 * A lost connection ends client_run(); calls in flight stay in the table until client_reset() or until
 * they are sent again on a new connection by client_replace_fd(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/list.h"
#include "proto/frame.h"
#include "proto/msg.h"

struct client;
struct client_call;

/* What a reply brought. fds are the callee's to close (or to take: set to -1 in the array). */
struct client_reply {
    int error;                 /* 0, or -errno from the server, or -EIO/-ETIMEDOUT/-ECANCELED made here */
    struct msg_str text;       /* the server's words on an error */
    const void *fields;        /* for msg_unpack_*_rep(); valid during the callback */
    size_t fields_len;
    const void *payload;
    size_t payload_len;
    int *fds;
    unsigned nfds;
};
/* Runs once per call: on the thread in client_run(), or inside client_reset(), client_expire(),
 * client_replace_fd() or client_withdraw(). No lock is held: it may start other calls. Must not block. */
typedef void client_reply_fn(struct client_call *call, const struct client_reply *reply);

struct client_call { /* embedded in the caller's request; untouched by the caller until done ran */
    struct list link;
    uint32_t id; /* what CANCEL names; set by client_start(), kept when the call is sent again */
    uint64_t seq; /* the operation's number, never given twice by one client; set and kept as id is */
    enum msg_method method;
    bool sent;
    client_reply_fn *done;
    struct str bytes; /* the packed frame, kept while the call may have to be sent again */
    uint64_t deadline_ns; /* set before client_start(). CLOCK_MONOTONIC; 0: none. See client_expire() */
};

/* Connects to a UNIX stream socket and checks that it is owned by root, by expect_uid or by us, and
 * that the peer's uid is one of these. 0 | -errno (-ENOENT, -ECONNREFUSED: nobody listens; -EPERM) */
int client_connect(const char *path, uid_t expect_uid, unsigned timeout_ms, int *ret_fd);
/* Says hello on a connected fd. ret_rep->program is empty (its memory is gone).
 * 0 | -EPROTO (not a backend) | -EPROTONOSUPPORT (version) | -ETIMEDOUT | -errno */
int client_hello(int fd, const char *program, unsigned timeout_ms, struct msg_hello_rep *ret_rep);

/* One call, send and wait, on an fd nobody else uses yet: for hello, attach, bind, hafizctl. Never reads
 * past its reply, so pushes that follow a BIND reach client_run(). What was sent is wiped from memory.
 * 0: answered, ret->error says how, ret->frame keeps the memory of head.fields and text.
 * -EPROTO | -ETIMEDOUT | -ECONNRESET | -ENOMEM | -EMSGSIZE | -errno: no answer, nothing to fini. */
struct client_answer {
    struct frame frame;
    struct msg_head head;
    int error;
    struct msg_str text;
    int fds[PROTO_FDS_MAX];
    unsigned nfds;
};
void client_answer_fini(struct client_answer *a); /* closes descriptors that were not taken */
int client_ask(int fd, enum msg_method method, const struct str *fields, const void *payload,
               size_t payload_len, unsigned timeout_ms, struct client_answer *ret);

/* Requests of the server, for a connection that did BIND; on one without it they are a breach of protocol.
 * On the thread in client_run(); 0, or -errno to end the connection. Set before client_run(). */
typedef int client_push_fn(void *arg, const struct msg_head *head, const struct frame *frame);

int client_new(int fd, struct client **ret_client); /* takes fd (may be -1: attach one later) */
void client_on_push(struct client *c, client_push_fn *fn, void *arg);
void client_free(struct client *c); /* no call in flight, nobody in client_run(). NULL is fine */

/* Sends a request; fields is the packed map. Never blocks, neither on the reply nor on a socket that is
 * full: what cannot leave now leaves from client_run(). When there is no connection, or PROTO_CALLS_MAX
 * calls are in flight, the call waits in the table. Calls leave in the order of their seq.
 * 0: done will run; -ENOMEM/-EMSGSIZE: it will not. */
int client_start(struct client *c, struct client_call *call, enum msg_method method,
                 const struct str *fields, const void *payload, size_t payload_len,
                 client_reply_fn *done);
/* ONEWAY messages; dropped when there is no connection. */
int client_send_oneway(struct client *c, enum msg_method method, const struct str *fields,
                       const void *payload, size_t payload_len);

/* Receives and delivers until the connection ends; the fd is closed then. One thread at a time.
 * 0: the server, or client_stop(), ended it between two frames; -ENOTCONN: there is none; else -errno. */
int client_run(struct client *c);
void client_stop(struct client *c); /* any thread: ends the connection, client_run() returns */
/* A new connection, taken; nobody in client_run(). Calls not wholly sent and calls of replay-safe methods
 * are sent on it in their order, all others end with -EIO first. */
int client_replace_fd(struct client *c, int fd);
/* Ends every call in the table with `error`. */
void client_reset(struct client *c, int error);
/* Ends calls whose deadline passed, with -ETIMEDOUT; the late reply is dropped. Returns ns until the next
 * deadline, 0: none. */
uint64_t client_expire(struct client *c);
/* An interrupt: a call that was not sent yet ends with -EINTR here (true). Otherwise false: it is at the
 * server (use CANCEL), or no call has this id any more. */
bool client_withdraw(struct client *c, uint32_t id);
bool client_connected(struct client *c);
