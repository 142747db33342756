/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The runner of operations. */
#include "s3proxyd/op/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "s3proxyd/fs/warm-job.h"
#include "s3proxyd/op/ops.h"

static struct chan *op_chan(const struct op *op)
{
    if (op->session)
        return op->session->rpc;
    return op->conn ? op->conn->chan : NULL;
}

static void op_release(struct op *op)
{
    if (op->append)
        alock_release(op->append, op);
    op_unlock_names(op);
    if (op->topology)
        alock_release(op->topology, op);
    if (op->type->fini)
        op->type->fini(op);
    op_unstill(op);
    probe_fini(&op->probe);
    store_req_fini(&op->store);
    if (op->handle && --op->handle->busy == 0 && op->handle->released)
        handle_release(op->handle);
    struct inode *held[] = {op->inode, op->parent, op->new_parent, op->child, op->target};
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        if (held[i])
            inode_unref(held[i]);
    free(op->key);
    free(op->key2);
    free(op->buf);
    free(op->priv);
}

static void op_free(struct op *op)
{
    struct session *s = op->session;
    op->fs->ops--;
    if (s && s->nops-- == PROTO_CALLS_MAX && s->rpc)
        chan_pause(s->rpc, false);
    op_release(op);
    list_del(&op->link);
    frame_fini(&op->frame);
    free(op);
    if (s)
        session_op_ended(s);
}

static void op_reply_error(struct op *op, int error)
{
    struct chan *chan = op_chan(op);
    const struct msg_info *info = msg_info(op->type->method);
    struct str head = STR_NULL;
    if (op->replied || info->replay == MSG_REPLAY_ONEWAY)
        return;
    op->replied = true;
    if (!chan)
        return;
    if (!msg_errno_known(error)) {
        log_error("op", "%s failed with errno %d, which is not in errno.tbl", info->name, -error);
        error = -EIO;
    }
    const char *text = op->store.error_text[0] ? op->store.error_text : NULL;
    if (msg_head_pack(&head, MSG_KIND_ERROR, op->call, op->type->method) == 0 &&
        msg_error_pack(&head, error, text) == 0)
        chan_send(chan, &head, NULL, 0, NULL, 0);
    str_fini(&head);
    log_debug("op", "%s #%u: %s", info->name, op->call, strerror(-error));
}

static void op_run(struct op *op)
{
    op->running = true;
    for (;;) {
        const struct op_step *step = &op->type->steps[op->step];
        must(step->run);
        op->woken = false;
        int r = step->run(op);
        if (r == OP_RESTART) {
            op->step = 0;
            continue;
        }
        if (r == -EINPROGRESS || r == OP_PARK) {
            bool again = r == OP_PARK;
            if (!again)
                op->step++;
            if (!op->woken) {
                op->running = false;
                return;
            }
            r = op->wake_error;
            if (r == 0)
                continue;
        } else if (r == 0) {
            op->step++;
            continue;
        }
        if (r != OP_DONE)
            op_reply_error(op, r);
        op_free(op);
        return;
    }
}

void op_wake(struct op *op, int error)
{
    op->woken = true;
    op->wake_error = error;
    if (op->running)
        return; /* woken from inside the step: op_run() sees it */
    if (error < 0) {
        op_reply_error(op, error);
        op_free(op);
        return;
    }
    op_run(op);
}

static bool id_in_use(const struct session *s, uint64_t id)
{
    struct op *op;
    list_for_each(op, &s->ops, link)
        if (op->call == id && !op->replied &&
            msg_info(op->type->method)->replay != MSG_REPLAY_ONEWAY)
            return true;
    return false;
}

static void wake_task(void *arg)
{
    op_wake(arg, 0);
}

void op_wake_soon(struct op *op)
{
    loop_task_init(&op->task, wake_task, op);
    loop_task_add(op->fs->loop, &op->task);
}

int op_start(struct fs *fs, struct session *s, struct op_conn *conn, const struct msg_head *head,
             struct frame *frame)
{
    const struct op_type *type = op_type((enum msg_method)head->method);
    if (!type || head->id > UINT32_MAX || (s && id_in_use(s, head->id)))
        return -EPROTO;
    struct op *op = calloc(1, sizeof(*op));
    if (!op)
        return -ENOMEM;
    op->fs = fs;
    op->session = s;
    op->conn = s ? NULL : conn;
    op->type = type;
    op->call = (uint32_t)head->id;
    op->io.done = NULL;
    op->priv = type->priv_bytes ? calloc(1, type->priv_bytes) : NULL;
    int r = type->priv_bytes && !op->priv ? -ENOMEM : type->unpack(op, head);
    if (r < 0) {
        free(op->priv);
        free(op);
        return r;
    }
    fs->ops++;
    op->frame = *frame;
    frame->data = NULL;
    list_add_tail(s ? &s->ops : &conn->ops, &op->link);
    if (s) {
        if (++s->nops == PROTO_CALLS_MAX) /* the rest waits in the socket */
            chan_pause(s->rpc, true);
        s->calls++;
        s->user->calls++;
    }
    if (type->flags & OP_WRITES && s && !s->rw) {
        op_reply_error(op, -EROFS);
        op_free(op);
        return 0;
    }
    op_run(op);
    return 0;
}

void op_cancel(struct session *s, uint32_t call)
{
    struct op *op;
    list_for_each(op, &s->ops, link)
        if (op->call == call && op->type->flags & OP_CANCELS) {
            op_reply_error(op, -EINTR); /* it goes on without anyone waiting */
            return;
        }
}

void op_conn_gone(struct op_conn *conn)
{
    struct op *op;
    warm_jobs_owner_gone(conn->fs, conn);
    while ((op = list_first(&conn->ops, struct op, link))) {
        list_del(&op->link);
        op->conn = NULL;
    }
}

int op_reply_begin(struct op *op, struct str *head)
{
    return msg_head_pack(head, MSG_KIND_REPLY, op->call, op->type->method);
}

int op_reply_end(struct op *op, struct str *head, const void *payload, size_t payload_len,
                 const int *fds, unsigned nfds)
{
    struct chan *chan = op_chan(op);
    if (op->replied)
        return OP_DONE;
    op->replied = true;
    if (chan) {
        int r = chan_send(chan, head, payload, payload_len, fds, nfds);
        if (r < 0 && r != -EPIPE) {
            const char *name = msg_info(op->type->method)->name;
            log_error("op", "%s: reply not sent: %s", name, strerror(-r));
            chan_shutdown(chan); /* the client would wait for ever */
        }
    }
    return OP_DONE;
}

static void store_woke(struct store_req *req)
{
    op_wake(container_of(req, struct op, store), req->error);
}

int op_store(struct op *op)
{
    op->store.done = store_woke;
    store_submit(op->session->tree->store, &op->store);
    return -EINPROGRESS;
}

static void commit_woke(struct commit_wait *wait, int error)
{
    op_wake(container_of(wait, struct op, commit_wait), error);
}

int op_commit(struct op *op, struct inode *inode)
{
    int r = op->names[0].lock ? 0 : op_wait_moving(op, inode); /* who is inside is waited for */
    if (r)
        return r;
    op->commit_wait = (struct commit_wait){.done = commit_woke};
    list_init(&op->commit_wait.link);
    return commit_start(inode, &op->commit_wait);
}
