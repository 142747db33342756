/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Starts and ends the transfer threads. Everything of a thread is made before it runs and torn down
 * by the thread itself after its loop ended, so nothing here is touched by two threads but the job
 * counts. */
#include "s3proxyd/net/net.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/base/must.h"
#include "s3proxyd/net/http.h"

#define NET_THREADS_DEFAULT 2u
#define NET_THREADS_MAX 64u
#define NEAR_JOBS 16u /* so much more a thread may have for the sake of staying together */

struct net_thread {
    struct net *net;
    pthread_t pthread;
    bool started;
    struct loop *loop;
    struct mailbox *mailbox;
    struct http_engine *http;
    struct mail stop;
    _Atomic unsigned jobs;
};

struct net {
    struct mailbox *home;
    unsigned nthreads;
    struct net_thread *threads;
};

static _Thread_local struct net_thread *self;

static void thread_fini(struct net_thread *t)
{
    http_engine_free(t->http);
    if (t->mailbox)
        mailbox_free(t->mailbox);
    if (t->loop)
        loop_free(t->loop);
    t->http = NULL;
    t->mailbox = NULL;
    t->loop = NULL;
}

static void *thread_main(void *arg)
{
    self = arg;
    if (loop_run(self->loop) < 0)
        log_error("net", "a transfer thread's event loop failed");
    thread_fini(self);
    return NULL;
}

static void thread_stop(struct mail *mail)
{
    struct net_thread *t = container_of(mail, struct net_thread, stop);

    loop_stop(t->loop);
}

static int thread_init(struct net_thread *t, struct net *net, const struct net_config *config)
{
    int r;

    t->net = net;
    t->stop.run = thread_stop;
    list_init(&t->stop.link);
    r = loop_new(&t->loop);
    if (r >= 0)
        r = mailbox_new(t->loop, &t->mailbox);
    if (r >= 0)
        r = http_engine_new(t->loop, config, &t->http);
    return r;
}

/* Signals belong to the main loop; a blocked SIGPIPE turns a dead connection into EPIPE. */
static int thread_start(struct net_thread *t)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&t->pthread, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    t->started = r == 0;
    return -r;
}

int net_new(struct mailbox *home, const struct net_config *config, struct net **ret_net)
{
    unsigned n = config->threads ? config->threads : NET_THREADS_DEFAULT;
    struct net *net;
    int r;

    if (n > NET_THREADS_MAX)
        return -EINVAL;
    net = calloc(1, sizeof(*net));
    if (!net)
        return -ENOMEM;
    net->home = home;
    net->threads = calloc(n, sizeof(*net->threads));
    if (!net->threads) {
        free(net);
        return -ENOMEM;
    }
    r = http_global_init();
    for (; r >= 0 && net->nthreads < n; net->nthreads++)
        r = thread_init(&net->threads[net->nthreads], net, config);
    for (unsigned i = 0; r >= 0 && i < n; i++)
        r = thread_start(&net->threads[i]);
    if (r < 0) {
        net_free(net);
        return r;
    }
    *ret_net = net;
    return 0;
}

void net_free(struct net *net)
{
    if (!net)
        return;
    for (unsigned i = 0; i < net->nthreads; i++) {
        struct net_thread *t = &net->threads[i];

        must(t->jobs == 0);
        if (t->started)
            mailbox_post(t->mailbox, &t->stop);
        else
            thread_fini(t);
    }
    for (unsigned i = 0; i < net->nthreads; i++) {
        if (net->threads[i].started)
            pthread_join(net->threads[i].pthread, NULL);
    }
    http_global_fini();
    free(net->threads);
    free(net);
}

struct mailbox *net_home(struct net *net)
{
    return net->home;
}

struct net_thread *net_post(struct net *net, struct mail *mail, unsigned near)
{
    struct net_thread *home = &net->threads[near % net->nthreads];
    struct net_thread *best = &net->threads[0];

    for (unsigned i = 1; i < net->nthreads; i++) {
        if (net->threads[i].jobs < best->jobs)
            best = &net->threads[i];
    }
    if (near && home->jobs <= best->jobs + NEAR_JOBS)
        best = home;
    best->jobs++;
    mailbox_post(best->mailbox, mail);
    return best;
}

void net_thread_post(struct net_thread *thread, struct mail *mail)
{
    mailbox_post(thread->mailbox, mail);
}

struct net_thread *net_thread_self(void)
{
    must(self);
    return self;
}

struct loop *net_thread_loop(struct net_thread *thread)
{
    must(thread == self);
    return thread->loop;
}

struct http_engine *net_thread_http(struct net_thread *thread)
{
    must(thread == self);
    return thread->http;
}

void net_thread_release(struct net_thread *thread)
{
    must(thread->jobs > 0);
    thread->jobs--;
}
