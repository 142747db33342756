/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Counts: one for whoever is about to start the call, one for the call in flight, one for the
 * cancel list. libfuse calls interrupted() under a lock of its request, so it only puts r on that
 * list. */
#include "fused/req.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fused/notify.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/must.h"

#define GIVE_UP_NS (2 * NS_PER_S) /* how long a backend may take to react to CANCEL */

static pthread_mutex_t cancel_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list cancels = LIST_INIT(cancels);

struct req *req_new(fuse_req_t fuse, req_answer_fn *answer, const char *name)
{
    size_t len = name ? strlen(name) : 0;
    struct req *r = calloc(1, sizeof(*r) + len + 1);

    if (!r) {
        fuse_reply_err(fuse, ENOMEM);
        return NULL;
    }
    r->d = fuse_req_userdata(fuse);
    r->fuse = fuse;
    r->answer = answer;
    r->slot = RING_NONE;
    r->refs = 1;
    r->name_len = len;
    list_init(&r->cancel);
    if (len > 0)
        memcpy(r->name, name, len);
    return r;
}

static void unref(struct req *r)
{
    if (--r->refs > 0)
        return;
    if (r->slot != RING_NONE)
        ring_put(r->slot);
    handle_unref(r->h);
    free(r->data);
    free(r);
}

fuse_req_t req_take(struct req *r)
{
    if (atomic_exchange(&r->taken, true))
        return NULL;
    fuse_req_interrupt_func(r->fuse, NULL,
                            NULL); /* waits for an interrupted() that runs just now */
    return r->fuse;
}

int req_errno(int error)
{
    switch (error) {
    case -ETIMEDOUT: /* what applications expect of a disk */
    case -EPROTO:
    case -ECANCELED:
    case -EHOSTUNREACH:
    case -EMSGSIZE:
    case -EAGAIN: /* never on a blocking file: it breaks programs */
        return EIO;
    default:
        return -error;
    }
}

void req_reply_err(struct req *r, int error)
{
    fuse_req_t fuse = req_take(r);
    if (fuse)
        fuse_reply_err(fuse, req_errno(error));
}

void req_fail(struct req *r, int error)
{
    req_reply_err(r, error);
    unref(r);
}

static void cancel(struct req *r)
{
    pthread_mutex_lock(&cancel_lock);
    if (list_empty(&r->cancel)) {
        r->refs++;
        r->give_up_ns = 0;
        list_add_tail(&cancels, &r->cancel);
    }
    pthread_mutex_unlock(&cancel_lock);
    daemon_poke();
}

static void interrupted(fuse_req_t fuse, void *arg)
{
    (void)fuse;
    cancel(arg);
}

/* Of a handle that was lost while the call waited, the backend only knows that it has none. */
static int error_of(const struct req *r, int error)
{
    if (!r->h || r->h->error == 0)
        return error;
    return r->saves && !handle_unsaved(r->h) ? 0 : r->h->error;
}

static void done(struct client_call *call, const struct client_reply *reply)
{
    struct req *r = container_of(call, struct req, call);

    if (reply->error < 0) {
        log_debug("req", "%s: error %d: %s", msg_info(call->method)->name, -reply->error,
                  log_escn(reply->text.s, reply->text.len));
        req_reply_err(r, error_of(r, reply->error));
    } else {
        r->answer(r, reply);
    }
    for (unsigned i = 0; i < reply->nfds; i++) {
        if (reply->fds[i] >= 0)
            close(reply->fds[i]);
        reply->fds[i] = -1;
    }
    unref(r);
}

void req_start(struct req *r, enum msg_method method, struct str *fields, int packed)
{
    int e = packed;

    r->refs++;
    /* Before the call starts: afterwards the kernel's request may be gone. */
    fuse_req_interrupt_func(r->fuse, interrupted, r);
    if (e == 0)
        e = client_start(r->d->client, &r->call, method, fields, NULL, 0, done);
    str_fini(fields);
    if (e < 0) {
        req_fail(r, e);
    } else {
        r->call_id = r->call.id;
        r->started = true;
    }
    unref(r);
}

/* Under cancel_lock. true: r needs no more attention, or EINTR now. */
static bool tick_one(struct req *r, uint64_t now)
{
    if (r->taken)
        return true;
    if (r->give_up_ns == 0 && r->started) {
        bool connected = client_connected(r->d->client);
        if (connected)
            notify_cancel(r->call_id);
        r->give_up_ns = connected ? now + GIVE_UP_NS : now;
    }
    return r->give_up_ns != 0 && now >= r->give_up_ns;
}

bool req_tick(struct daemon *d)
{
    struct list over = LIST_INIT(over);
    struct req *r, *next;
    uint64_t now = clock_mono_ns();

    (void)d;
    pthread_mutex_lock(&cancel_lock);
    list_for_each_safe (r, next, &cancels, cancel) {
        if (!tick_one(r, now))
            continue;
        list_del(&r->cancel);
        list_add_tail(&over, &r->cancel);
    }
    bool more = !list_empty(&cancels);
    pthread_mutex_unlock(&cancel_lock);
    list_for_each_safe (r, next, &over, cancel) {
        req_reply_err(r, -EINTR);
        unref(r);
    }
    return more;
}
