/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The frames a channel has not been able to send yet, and the sending itself. Private to chan.c: it owns
 * the loop, this owns bytes and descriptors. Nothing here calls back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/list.h"
#include "proto/base/str.h"

struct sendq {
    int fd; /* the channel's */
    struct list out;
    size_t bytes, fds; /* queued */
    size_t unread_fds; /* sent, perhaps not received yet */
    bool retry_later;  /* nothing may leave before SENDQ_RETRY_MS passed: clear it, then flush */
    int error;         /* not 0: the connection is broken for good */
};
#define SENDQ_RETRY_MS 2u

void sendq_init(struct sendq *q, int fd);
void sendq_fini(struct sendq *q); /* empties the queue and closes its descriptors */
bool sendq_empty(const struct sendq *q);
/* Sends what the socket takes. */
void sendq_flush(struct sendq *q);
/* One frame; at once if nothing waits before it and `later` is not set. Head and payload are copied, the
 * descriptors duplicated, as far as needed. 0 | -EMSGSIZE | -ENOMEM | -EMFILE...: the frame was refused */
int sendq_add(struct sendq *q, const struct str *head, const void *payload, size_t payload_len,
              const int *fds, unsigned nfds, bool later);
