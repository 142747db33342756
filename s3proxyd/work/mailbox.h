/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* How work crosses threads: a mail is handed over whole and runs on the loop that owns the mailbox. Besides
 * this and pool.c only db/ (its thread) and cred/secret.c (used by any thread) have locks. */
#pragma once

#include "proto/base/list.h"
#include "proto/base/loop.h"

struct mailbox;

struct mail { /* embedded in what is handed over */
    struct list link;
    void (*run)(struct mail *mail);
};

int mailbox_new(struct loop *loop, struct mailbox **ret_mailbox); /* 0 | -errno */
/* Mails still inside are run first; own thread only, and no thread may post any more. */
void mailbox_free(struct mailbox *mailbox);
/* Any thread; never fails, never blocks for long. Mails of one sender run in the order posted. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);
/* Own thread: runs what is inside now without waiting for the loop, until nothing is left. For
 * shutdown. */
void mailbox_drain(struct mailbox *mailbox);
