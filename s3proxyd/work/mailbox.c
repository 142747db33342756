/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Threads own what they touch; the one thing they share is this list of mails and its lock. The
 * eventfd is written only by the post that finds the list empty: whoever comes later knows that
 * a wake-up is on its way. Invariant: `inbox` not empty means that the eventfd is readable or
 * about to be written. */
#include "s3proxyd/work/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

struct mailbox {
    pthread_mutex_t lock;
    struct list inbox; /* under the lock */
    struct list ready; /* taken out, about to run; owner's thread only */
    struct loop_io *io;
    int fd;
};

static void run_ready(struct mailbox *mailbox)
{
    while (!list_empty(&mailbox->ready)) {
        struct mail *mail = list_first(&mailbox->ready, struct mail, link);

        list_del(&mail->link);
        mail->run(mail);
    }
}

static bool take_inbox(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    list_splice_tail(&mailbox->ready, &mailbox->inbox);
    pthread_mutex_unlock(&mailbox->lock);
    return !list_empty(&mailbox->ready);
}

static void mailbox_readable(void *arg, unsigned events)
{
    struct mailbox *mailbox = arg;
    uint64_t count;

    (void)events;
    /* Before the list is taken: a post after that finds it empty and writes again. */
    if (read(mailbox->fd, &count, sizeof(count)) < 0)
        must(errno == EAGAIN || errno == EINTR);
    if (take_inbox(mailbox))
        run_ready(mailbox);
}

static void mailbox_release(struct mailbox *mailbox)
{
    if (mailbox->io)
        loop_io_free(mailbox->io);
    closep(&mailbox->fd);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

int mailbox_new(struct loop *loop, struct mailbox **ret_mailbox)
{
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
    int r;

    if (!mailbox)
        return -ENOMEM;
    pthread_mutex_init(&mailbox->lock, NULL);
    list_init(&mailbox->inbox);
    list_init(&mailbox->ready);
    mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = mailbox->fd < 0 ? -errno : 0;
    if (r == 0)
        r = loop_io_new(loop, mailbox->fd, mailbox_readable, mailbox, &mailbox->io);
    if (r == 0)
        r = loop_io_want(mailbox->io, LOOP_READ);
    if (r < 0) {
        mailbox_release(mailbox);
        return r;
    }
    *ret_mailbox = mailbox;
    return 0;
}

void mailbox_drain(struct mailbox *mailbox)
{
    while (take_inbox(mailbox))
        run_ready(mailbox);
}

void mailbox_free(struct mailbox *mailbox)
{
    if (!mailbox)
        return;
    mailbox_drain(mailbox);
    mailbox_release(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
    const uint64_t one = 1;
    bool was_empty;

    pthread_mutex_lock(&mailbox->lock);
    was_empty = list_empty(&mailbox->inbox);
    list_add_tail(&mailbox->inbox, &mail->link);
    pthread_mutex_unlock(&mailbox->lock);
    /* `mail` may be gone by now. A full counter (EAGAIN) is readable as well. */
    while (was_empty && write(mailbox->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}
