/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The transfer threads: each owns a loop, a curl multi handle and its connections. A job is handed to one
 * of them and from then on runs there; s3/ builds its HTTP exchanges with http.h on that thread and mails
 * the finished store request to `home`. No globals: N threads are N instances. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/work/mailbox.h"

struct net;
struct net_thread;

struct net_config {
    unsigned threads;            /* 0: 2 */
    unsigned connections_per_host; /* per thread; 0: 32 */
    const char *ca_bundle;       /* or NULL: the system's */
    const char *proxy;           /* from s3proxyd's configuration only; NULL: none */
    unsigned connect_timeout_ms; /* 0: 5000 */
    unsigned stall_timeout_ms;   /* no byte for so long is a failure (retried); 0: 20000 */
};

/* home: where finished work is mailed. Starts the threads. 0 | -errno */
int net_new(struct mailbox *home, const struct net_config *config, struct net **ret_net);
void net_free(struct net *net); /* no work in flight; joins the threads */
struct mailbox *net_home(struct net *net);
/* The least busy thread's mailbox; mail->run gets the work on that thread. */
void net_post(struct net *net, struct mail *mail);
