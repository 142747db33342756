/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* When the connection ends, the keeper is asked for another one (it may have to start a backend,
 * which nobody in a sandbox can), open files are opened again there under their old numbers, and
 * only then the calls that waited go on. What cannot be made up for says so at its handle: a
 * version that is gone (ESTALE), and writes that were taken but not saved (EIO), since going on
 * would leave a hole in the file. */
#include "fused/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fused/handle.h"
#include "fused/notify.h"
#include "fused/relay.h"
#include "fused/req.h"
#include "fused/ring.h"
#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/client.h"

#define RETRY_MIN_NS (125 * NS_PER_MS)
#define RETRY_MAX_NS (999 * NS_PER_MS)
#define DETACH_WAIT_MS 5000u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int kick_fd = -1; /* a duplicate: the client owns the connection itself */
static uint64_t kick_generation;
static _Atomic uint64_t lost_ns; /* since when there is no backend; 0: there is one */
static atomic_bool expired;      /* for longer than timeo: calls wait for one more try only */

static int set_kick(int rpc_fd)
{
    int fd = dup(rpc_fd);
    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&lock);
    if (kick_fd >= 0)
        close(kick_fd);
    kick_fd = fd;
    kick_generation++;
    pthread_mutex_unlock(&lock);
    return 0;
}

void peer_kick(uint64_t generation)
{
    pthread_mutex_lock(&lock);
    if (kick_fd >= 0 && kick_generation == generation)
        shutdown(kick_fd, SHUT_RDWR);
    pthread_mutex_unlock(&lock);
}

int peer_init(struct daemon *d, struct attached *a)
{
    int r = a->ring_fd >= 0 ? ring_set(take_fd(&a->ring_fd), a->ring_bytes) : 0;
    if (r == 0)
        r = set_kick(a->rpc_fd);
    if (r == 0)
        r = client_new(take_fd(&a->rpc_fd), &d->client);
    if (r < 0)
        return r;
    d->root = a->root;
    d->rw = a->rw;
    notify_set_fd(d, take_fd(&a->push_fd));
    return 0;
}

static int take_reopened(struct handle *h, struct client_answer *a)
{
    struct msg_open_rep rep;
    struct view *view = NULL;

    if (a->error < 0) {
        log_warn("peer", "an open file is lost with the backend: inode %llu: %s",
                 (unsigned long long)h->ino, log_escn(a->text.s, a->text.len));
        h->error = a->error == -ENOENT ? -ESTALE : a->error;
        return 0;
    }
    if (msg_unpack_open_rep(a->head.fields, a->head.fields_len, &rep) < 0)
        return -EPROTO;
    if (rep.cached && a->nfds == 2)
        (void)view_new(take_fd(&a->fds[0]), take_fd(&a->fds[1]), rep.size, &view);
    return handle_set_version(h, view, rep.etag);
}

static int reopen(int rpc_fd, struct handle *h)
{
    _cleanup_(freep) char *etag = handle_etag(h);
    struct client_answer answer = {.nfds = 0};
    struct str fields = STR_NULL;

    if (h->error != 0 || h->released)
        return 0;
    if (handle_unsaved(h)) {
        log_error("peer", "unsaved writes are lost with the backend: inode %llu",
                  (unsigned long long)h->ino);
        h->error = -EIO;
        return 0;
    }
    struct msg_open_req m = {.ino = h->ino,
                             .fh = h->fh,
                             .flags = (uint64_t)(unsigned)(h->flags & ~(O_TRUNC | O_EXCL)),
                             .reopen = 1,
                             .etag = msg_str_of(etag)};
    int r = msg_pack_open_req(&fields, &m);
    if (r == 0)
        r = client_ask(rpc_fd, MSG_OPEN, &fields, NULL, 0, ATTACH_TIMEOUT_MS, &answer);
    if (r == 0) {
        r = take_reopened(h, &answer);
        client_answer_fini(&answer);
    }
    str_fini(&fields);
    return r;
}

/* Opens all handles again on rpc_fd and moves the calls there. */
static int move_to(struct daemon *d, int *rpc_fd)
{
    struct handle **all = NULL;
    size_t n = 0;
    int r = handle_all(&all, &n);

    for (size_t i = 0; r == 0 && i < n; i++)
        r = reopen(*rpc_fd, all[i]);
    if (r == 0)
        r = set_kick(*rpc_fd);
    if (r == 0)
        r = client_replace_fd(d->client, take_fd(rpc_fd));
    for (size_t i = 0; i < n; i++) {
        if (r == 0 && all[i]->released) /* closed while it was being opened again */
            req_oneway(d, RELEASE, release, .fh = all[i]->fh);
        handle_unref(all[i]);
    }
    free(all);
    return r;
}

static int recover(struct daemon *d)
{
    _cleanup_(attach_close) struct attached a = ATTACHED_NULL;
    enum relay_kind kind = RELAY_FAILED;
    int r = relay_send(d->relay_fd, RELAY_LOST, NULL);

    if (r == 0)
        r = relay_recv(d->relay_fd, &kind, &a);
    if (r < 0 || kind != RELAY_ATTACHED)
        return r < 0 ? r : -ECONNREFUSED;
    if (a.root != d->root) {
        /* It was killed before it had written the root's number down. Numbers are never used twice,
         * so the old ones are unknown there, not something else: names are looked up anew. */
        log_warn("peer", "the backend came back with other inode numbers");
        d->root = a.root;
    }
    if (a.ring_fd >= 0 && d->rw)
        r = ring_set(take_fd(&a.ring_fd), a.ring_bytes);
    if (r == 0)
        r = move_to(d, &a.rpc_fd);
    if (r == 0)
        notify_set_fd(d, take_fd(&a.push_fd));
    return r;
}

void *peer_thread(void *arg)
{
    struct daemon *d = arg;

    for (;;) {
        struct timespec pause = {0, RETRY_MIN_NS};
        int r = client_run(d->client);
        if (d->ending)
            return NULL;
        log_warn("peer", "the backend is gone (%s)", r == 0 ? "closed" : "lost");
        lost_ns = clock_mono_ns();
        daemon_poke();
        while ((r = recover(d)) < 0) {
            if (d->ending)
                return NULL;
            if (expired)
                client_reset(d->client, -ETIMEDOUT);
            nanosleep(&pause, NULL);
            pause.tv_nsec = MIN(pause.tv_nsec * 2, (long)RETRY_MAX_NS);
        }
        lost_ns = 0;
        expired = false;
        log_warn("peer", "the backend is back");
    }
}

bool peer_tick(struct daemon *d)
{
    uint64_t since = lost_ns;

    if (since != 0 && !expired && clock_mono_ns() - since >= d->timeo_ns) {
        expired = true;
        client_reset(d->client, -ETIMEDOUT);
    }
    return since != 0;
}

struct goodbye {
    struct client_call call;
    pthread_mutex_t lock;
    pthread_cond_t said;
    bool done;
};

static void goodbye_done(struct client_call *call, const struct client_reply *reply)
{
    struct goodbye *g = (struct goodbye *)((char *)call - offsetof(struct goodbye, call));

    (void)reply;
    pthread_mutex_lock(&g->lock);
    g->done = true;
    pthread_cond_signal(&g->said);
    pthread_mutex_unlock(&g->lock);
}

/* The process exits right after: what g points at may stay in the table of calls. */
void peer_detach(struct daemon *d)
{
    static struct goodbye g = {.lock = PTHREAD_MUTEX_INITIALIZER, .said = PTHREAD_COND_INITIALIZER};
    struct timespec until;
    struct str none = STR_NULL;
    struct msg_detach_req m;
    int r = lost_ns == 0 ? 0 : -ENOTCONN;

    if (r == 0 && msg_pack_detach_req(&none, &m) == 0 &&
        client_start(d->client, &g.call, MSG_DETACH, &none, NULL, 0, goodbye_done) == 0) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += DETACH_WAIT_MS / 1000;
        pthread_mutex_lock(&g.lock);
        while (r == 0 && !g.done)
            r = pthread_cond_timedwait(&g.said, &g.lock, &until);
        pthread_mutex_unlock(&g.lock);
    }
    str_fini(&none);
}
