/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The transfer threads: each owns a loop, a curl multi handle and its connections. A job is handed
 * to one of them and from then on runs there; s3/ builds its HTTP exchanges with http.h on that
 * thread and mails the finished store request to `home`. No globals: N threads are N instances. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/work/mailbox.h"

struct http_engine;
struct net;
struct net_thread;

struct net_config {
    unsigned threads;              /* 0: 2 */
    unsigned connections_per_host; /* per thread; 0: 32 */
    const char *ca_bundle;         /* or NULL: the system's */
    const char *proxy;             /* from s3proxyd's configuration only; NULL: none */
    unsigned connect_timeout_ms;   /* 0: 5000 */
    unsigned stall_timeout_ms;     /* no byte for so long is a failure (retried); 0: 20000 */
};

/* home: where finished work is mailed. Starts the threads. 0 | -errno */
int net_new(struct mailbox *home, const struct net_config *config, struct net **ret_net);
void net_free(struct net *net); /* no work in flight; joins the threads. NULL is fine */
struct mailbox *net_home(struct net *net);
/* Hands a job to a thread: mail->run gets it there. The job counts as work of that thread until
 * net_thread_release(). near: jobs of one number (of one file, say, whose lock they would fight for) go
 * to one thread as long as that is not much busier than another; 0: to the least busy. Any thread. */
struct net_thread *net_post(struct net *net, struct mail *mail, unsigned near);
/* More mail for a job that net_post() gave to that thread; after it in order, if from the same
 * sender. */
void net_thread_post(struct net_thread *thread, struct mail *mail);

/* On a transfer thread only: itself, its loop and its HTTP engine. */
struct net_thread *net_thread_self(void);
struct loop *net_thread_loop(struct net_thread *thread);
struct http_engine *net_thread_http(struct net_thread *thread);
void net_thread_release(struct net_thread *thread); /* a job of net_post() has ended */
