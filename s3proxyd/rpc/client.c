/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One connection: hello, then either a session (ATTACH), or the pushes of one (BIND), or a question of
 * hafizctl. A client that breaks the protocol is disconnected, and what it held is released.
 *
 *     NEW --HELLO--> IDLE --ATTACH--> SESSION
 *                      \----BIND----> PUSH (sends CANCEL, receives INVALIDATE) */
#include "s3proxyd/rpc/rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"

struct rpc_client {
    struct list link;
    struct server *server;
    struct op_conn conn;
    struct loop_timer *hello_timer;
    struct user *user;
    bool greeted;
};

static void client_say_error(struct rpc_client *c, const struct msg_head *head, int error,
                             const char *text)
{
    struct str out = STR_NULL;
    if (msg_head_pack(&out, MSG_KIND_ERROR, head->id, head->method) == 0 &&
        msg_error_pack(&out, error, text) == 0)
        chan_send(c->conn.chan, &out, NULL, 0, NULL, 0);
    str_fini(&out);
}

static void client_breaks(struct rpc_client *c, const char *what)
{
    const struct chan_peer *p = chan_peer(c->conn.chan);
    log_warn("rpc", "uid %u pid %d breaks the protocol: %s", (unsigned)p->uid, (int)p->pid, what);
    chan_shutdown(c->conn.chan);
}

static void client_hello(struct rpc_client *c, const struct msg_head *head)
{
    struct msg_hello_req m;
    if (msg_unpack_hello_req(head->fields, head->fields_len, &m) < 0) {
        client_breaks(c, "hello does not decode");
        return;
    }
    if (m.version_min > PROTO_VERSION_MAX || m.version_max < PROTO_VERSION_MIN) {
        client_say_error(c, head, -EPROTONOSUPPORT, "no common protocol version");
        chan_shutdown(c->conn.chan);
        return;
    }
    struct fs *fs = c->conn.fs;
    struct msg_hello_rep rep = {.version = MIN(m.version_max, (uint64_t)PROTO_VERSION_MAX),
                                .program = msg_str_of("s3proxyd " HAFIZ_VERSION),
                                .private_backend = fs->private_backend,
                                .backend_uid = fs->own_uid,
                                .backend_instance = fs->instance};
    struct str out = STR_NULL;
    if (msg_head_pack(&out, MSG_KIND_REPLY, head->id, head->method) == 0 &&
        msg_pack_hello_rep(&out, &rep) == 0)
        chan_send(c->conn.chan, &out, NULL, 0, NULL, 0);
    str_fini(&out);
    c->greeted = true;
    loop_timer_clear(c->hello_timer);
}

static bool phase_ok(const struct rpc_client *c, const struct msg_info *info)
{
    switch (info->phase) {
    case MSG_PHASE_HELLO:
        return !c->greeted;
    case MSG_PHASE_IDLE:
        return c->greeted && !c->conn.session;
    case MSG_PHASE_SESSION:
        return c->greeted && c->conn.session && !c->conn.is_push;
    case MSG_PHASE_PUSH:
        return c->greeted && c->conn.session && c->conn.is_push;
    }
    return false;
}

static void client_cancel(struct rpc_client *c, const struct msg_head *head)
{
    struct msg_cancel_req m;
    if (msg_unpack_cancel_req(head->fields, head->fields_len, &m) < 0)
        client_breaks(c, "cancel does not decode");
    else
        op_cancel(c->conn.session, (uint32_t)m.call);
}

static void client_frame(void *arg, const struct msg_head *head, struct frame *frame)
{
    struct rpc_client *c = arg;
    const struct msg_info *info = msg_info(head->method);
    if (head->kind != MSG_KIND_REQUEST) {
        client_breaks(c, "only requests are expected here");
        return;
    }
    if (!info && c->greeted) { /* of a newer client: say so, it knows what to do without */
        client_say_error(c, head, -EOPNOTSUPP, "unknown method");
        return;
    }
    if (!info || !phase_ok(c, info) || head->method == MSG_INVALIDATE ||
        head->method == MSG_PREFETCHED) {
        client_breaks(c, "a message out of turn");
        return;
    }
    if (frame->payload_len && info->payload != MSG_PAYLOAD_REQ) {
        client_breaks(c, "a payload where none belongs");
        return;
    }
    if (head->method == MSG_HELLO) {
        client_hello(c, head);
        return;
    }
    if (head->method == MSG_CANCEL) {
        client_cancel(c, head);
        return;
    }
    struct session *s = c->conn.session;
    int r = op_start(c->conn.fs, s, &c->conn, head, frame);
    if (r == -EPROTO)
        client_breaks(c, "a request does not decode");
    else if (r < 0)
        client_say_error(c, head, r, NULL);
}

static void client_closed(void *arg, int error)
{
    struct rpc_client *c = arg;
    if (error < 0 && error != -ECONNRESET && error != -EPIPE)
        log_debug("rpc", "a connection ended: %s", strerror(-error));
    rpc_client_free(c);
}

static void hello_late(void *arg)
{
    struct rpc_client *c = arg;
    log_warn("rpc", "uid %u connected and said nothing", (unsigned)chan_peer(c->conn.chan)->uid);
    chan_shutdown(c->conn.chan);
}

int rpc_client_new(struct server *server, struct fs *fs, int fd, struct list *clients)
{
    static const struct chan_ops ops = {client_frame, client_closed};
    struct rpc_client *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return -ENOMEM;
    }
    c->server = server;
    c->conn.fs = fs;
    list_init(&c->conn.ops);
    int r = loop_timer_new(fs->loop, hello_late, c, &c->hello_timer);
    if (r < 0)
        close(fd);
    else
        r = chan_new(fs->loop, fd, &ops, c, &c->conn.chan);
    if (r < 0) {
        if (c->hello_timer)
            loop_timer_free(c->hello_timer);
        free(c);
        return r;
    }
    c->user = user_get(fs, chan_peer(c->conn.chan)->uid);
    if (c->user)
        c->user->connections++;
    loop_timer_set_ms(c->hello_timer, HELLO_TIMEOUT_MS);
    list_add_tail(clients, &c->link);
    return 0;
}

void rpc_client_free(struct rpc_client *c)
{
    struct session *s = c->conn.session;
    list_del(&c->link);
    loop_timer_free(c->hello_timer);
    if (s && c->conn.is_push) {
        s->push = NULL;
        s->push_ref = NULL;
    }
    op_conn_gone(&c->conn);
    if (s && !c->conn.is_push) {
        struct chan *push = s->push;
        if (push)
            chan_shutdown(push); /* nothing left to push; its own closed() frees it */
        log_info("attach", "%s at %s is gone", log_esc(s->source), log_esc(s->mountpoint));
        session_hang_up(s);
    }
    if (c->user)
        c->user->connections--;
    chan_free(c->conn.chan);
    free(c);
}

struct rpc_client *rpc_client_first(struct list *clients)
{
    return list_first(clients, struct rpc_client, link);
}
