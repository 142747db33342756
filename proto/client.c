/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The table of calls in flight, and how they leave. For the lock see client-priv.h.
 *
 * A call is in `queue` until its last byte was handed to the socket, in `flight` until its reply; ids are
 * slots: the low half is the index, the high half (never 0) changes each time the slot is used again. A call
 * that ends before its reply (deadline, reset) leaves its slot `orphaned`: the late reply finds it and is
 * dropped, while a reply that finds nothing is a breach of protocol. */
#include "proto/client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/client-priv.h"

#define GATHER_MAX 16u /* queued frames sent by one call */

static bool is_oneway(const struct client_call *call)
{
    return call->done == NULL;
}

static void oneway_free(struct client_call *call)
{
    list_del(&call->link);
    str_fini(&call->bytes);
    free(call);
}

void client_finish(struct client_call *call, const struct client_reply *reply)
{
    str_fini(&call->bytes);
    call->done(call, reply);
}

static void finish_all(struct list *ended, int error)
{
    const struct client_reply reply = {.error = error};

    while (!list_empty(ended)) {
        struct client_call *call = list_first(ended, struct client_call, link);
        list_del(&call->link);
        client_finish(call, &reply);
    }
}

/* --- sending, under the lock --- */

static void mark_sent(struct client *c, struct client_call *call)
{
    if (is_oneway(call)) {
        oneway_free(call);
        return;
    }
    call->sent = true;
    c->unanswered++;
    list_del(&call->link);
    list_add_tail(&c->flight, &call->link);
    if (msg_info(call->method)->replay != MSG_REPLAY_YES)
        str_fini(&call->bytes); /* never sent again */
}

static void mark_bytes_sent(struct client *c, size_t n)
{
    struct client_call *call, *tmp;

    if (c->rest.len > 0) {
        size_t part = MIN(n, c->rest.len - c->off);
        n -= part;
        c->off += part;
        if (c->off < c->rest.len)
            return;
        str_fini(&c->rest);
        c->off = 0;
    }
    list_for_each_safe(call, tmp, &c->queue, link) {
        if (n < call->bytes.len - c->off) {
            c->off += n;
            return;
        }
        n -= call->bytes.len - c->off;
        c->off = 0;
        mark_sent(c, call);
    }
}

static size_t gather(struct client *c, struct iovec iov[GATHER_MAX])
{
    size_t niov = 0, off = c->off, calls = c->unanswered;
    struct client_call *call;

    if (c->rest.len > 0) {
        iov[niov++] = (struct iovec){c->rest.s + off, c->rest.len - off};
        off = 0;
    }
    list_for_each(call, &c->queue, link) {
        if (niov == GATHER_MAX || (!is_oneway(call) && calls >= PROTO_CALLS_MAX && off == 0))
            break;
        calls += !is_oneway(call);
        iov[niov++] = (struct iovec){call->bytes.s + off, call->bytes.len - off};
        off = 0;
    }
    return niov;
}

static void wake_runner(struct client *c)
{
    static const uint64_t one = 1;
    ssize_t n = write(c->wake, &one, sizeof(one));
    (void)n; /* full means that it is awake already */
}

void client_send_queue(struct client *c)
{
    struct iovec iov[GATHER_MAX];
    struct msghdr msg = {.msg_iov = iov};

    while (c->fd >= 0 && !c->broken && !atomic_load(&c->want_out)) {
        ssize_t n;

        msg.msg_iovlen = gather(c, iov);
        if (msg.msg_iovlen == 0)
            return;
        n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            mark_bytes_sent(c, (size_t)n);
        } else if (errno == EAGAIN || errno == ENOBUFS) {
            atomic_store(&c->want_out, true);
            wake_runner(c);
        } else if (errno != EINTR) {
            c->broken = true; /* the runner reads what is left, then ends */
            shutdown(c->fd, SHUT_RDWR);
        }
    }
}

int client_start(struct client *c, struct client_call *call, enum msg_method method,
                 const struct str *fields, const void *payload, size_t payload_len,
                 client_reply_fn *done)
{
    int r;

    must(done && msg_info(method) && msg_info(method)->replay != MSG_REPLAY_ONEWAY);
    list_init(&call->link);
    call->method = method;
    call->sent = false;
    call->done = done;
    call->bytes = STR_NULL;
    pthread_mutex_lock(&c->lock); /* all along: calls are queued in the order of their seq */
    r = slot_take(&c->slots, call);
    if (r == 0) {
        call->seq = c->last_seq + 1;
        r = client_pack(&call->bytes, call->id, method, call->seq, fields, payload, payload_len);
        if (r < 0)
            slot_free(&c->slots, call->id);
    }
    if (r == 0) {
        c->last_seq = call->seq;
        list_add_tail(&c->queue, &call->link);
        client_send_queue(c);
    }
    pthread_mutex_unlock(&c->lock);
    if (r < 0)
        str_fini(&call->bytes);
    return r;
}

int client_send_oneway(struct client *c, enum msg_method method, const struct str *fields,
                       const void *payload, size_t payload_len)
{
    struct client_call *call = calloc(1, sizeof(*call));
    int r;

    must(msg_info(method) && msg_info(method)->replay == MSG_REPLAY_ONEWAY);
    if (!call)
        return -ENOMEM;
    list_init(&call->link);
    call->method = method;
    r = client_pack(&call->bytes, 0, method, 0, fields, payload, payload_len);
    if (r < 0) {
        oneway_free(call);
        return r;
    }
    pthread_mutex_lock(&c->lock);
    list_add_tail(&c->queue, &call->link);
    if (c->fd < 0 || c->broken)
        oneway_free(call);
    else
        client_send_queue(c);
    pthread_mutex_unlock(&c->lock);
    return 0;
}

void client_detach(struct client *c)
{
    struct client_call *call, *tmp;

    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->broken = false;
    atomic_store(&c->want_out, false);
    c->off = 0;
    c->unanswered = 0;
    str_fini(&c->rest);
    slots_forget_orphans(&c->slots);
    list_for_each_safe(call, tmp, &c->queue, link)
        if (is_oneway(call))
            oneway_free(call);
}

/* --- ending calls --- */

/* Under the lock: takes the call out of the table, into `ended`. */
static void end_call(struct client *c, struct client_call *call, struct list *ended)
{
    bool half_sent = !call->sent && c->off > 0 && c->rest.len == 0 && c->queue.next == &call->link;

    if (half_sent) { /* the rest must leave, or the stream would break */
        c->rest = call->bytes;
        call->bytes = STR_NULL;
        c->unanswered++;
    }
    if (c->fd >= 0 && (call->sent || half_sent))
        slot_orphan(&c->slots, call->id);
    else
        slot_free(&c->slots, call->id);
    list_del(&call->link);
    list_add_tail(ended, &call->link);
}

int client_replace_fd(struct client *c, int fd)
{
    struct list ended = LIST_INIT(ended), again = LIST_INIT(again);
    struct client_call *call, *tmp;

    pthread_mutex_lock(&c->lock);
    must(!c->running);
    client_detach(c);
    list_for_each_safe(call, tmp, &c->flight, link) {
        if (msg_info(call->method)->replay == MSG_REPLAY_YES) {
            call->sent = false;
            list_del(&call->link);
            list_add_tail(&again, &call->link);
        } else {
            end_call(c, call, &ended);
        }
    }
    list_splice_tail(&again, &c->queue);
    list_splice_tail(&c->queue, &again);
    pthread_mutex_unlock(&c->lock);
    finish_all(&ended, -EIO);
    pthread_mutex_lock(&c->lock);
    c->fd = fd;
    c->stopped = false;
    client_send_queue(c);
    pthread_mutex_unlock(&c->lock);
    return 0;
}

static void end_some(struct client *c, struct list *from, uint64_t now_ns, struct list *ended,
                     uint64_t *next_ns)
{
    struct client_call *call, *tmp;

    list_for_each_safe(call, tmp, from, link) {
        if (is_oneway(call) || call->deadline_ns == 0)
            continue;
        if (call->deadline_ns <= now_ns)
            end_call(c, call, ended);
        else if (*next_ns == 0 || call->deadline_ns < *next_ns)
            *next_ns = call->deadline_ns;
    }
}

uint64_t client_expire(struct client *c)
{
    struct list ended = LIST_INIT(ended);
    uint64_t now = clock_mono_ns(), next = 0;

    pthread_mutex_lock(&c->lock);
    end_some(c, &c->flight, now, &ended, &next);
    end_some(c, &c->queue, now, &ended, &next);
    pthread_mutex_unlock(&c->lock);
    finish_all(&ended, -ETIMEDOUT);
    return next ? next - now : 0;
}

void client_reset(struct client *c, int error)
{
    struct list ended = LIST_INIT(ended);
    struct client_call *call, *tmp;

    pthread_mutex_lock(&c->lock);
    list_for_each_safe(call, tmp, &c->flight, link)
        end_call(c, call, &ended);
    list_for_each_safe(call, tmp, &c->queue, link)
        if (!is_oneway(call))
            end_call(c, call, &ended);
    pthread_mutex_unlock(&c->lock);
    finish_all(&ended, error);
}

bool client_withdraw(struct client *c, uint32_t id)
{
    struct list ended = LIST_INIT(ended);
    struct client_call *call;
    struct slot *slot;

    pthread_mutex_lock(&c->lock);
    slot = slot_find(&c->slots, id);
    call = slot ? slot->call : NULL;
    if (call && !call->sent && !list_empty(&call->link) &&
        (c->off == 0 || c->rest.len > 0 || c->queue.next != &call->link))
        end_call(c, call, &ended);
    pthread_mutex_unlock(&c->lock);
    if (list_empty(&ended))
        return false;
    finish_all(&ended, -EINTR);
    return true;
}

/* --- life --- */

int client_new(int fd, struct client **ret_client)
{
    struct client *c = calloc(1, sizeof(*c));
    uint8_t *buf = malloc(CLIENT_RECV_BYTES);
    int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), r = wake < 0 ? -errno : -ENOMEM;

    if (!c || !buf || wake < 0) {
        free(c);
        free(buf);
        if (wake >= 0)
            close(wake);
        if (fd >= 0)
            close(fd);
        return r;
    }
    c->fd = fd;
    c->wake = wake;
    c->buf = buf;
    list_init(&c->queue);
    list_init(&c->flight);
    pthread_mutex_init(&c->lock, NULL);
    *ret_client = c;
    return 0;
}

void client_on_push(struct client *c, client_push_fn *fn, void *arg)
{
    c->push = fn;
    c->push_arg = arg;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    must(!c->running && list_empty(&c->flight));
    client_detach(c);
    must(list_empty(&c->queue));
    slots_fini(&c->slots);
    close(c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c->buf);
    free(c);
}

bool client_connected(struct client *c)
{
    bool on;

    pthread_mutex_lock(&c->lock);
    on = c->fd >= 0 && !c->broken;
    pthread_mutex_unlock(&c->lock);
    return on;
}
