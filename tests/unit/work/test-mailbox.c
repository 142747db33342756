/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Mails arrive once, in order, whoever posts them, and none is lost between two wake-ups. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "s3proxyd/work/mailbox.h"

#define POSTERS 4
#define MAILS 20000

struct numbered {
    struct mail mail;
    unsigned poster, number;
};

struct box {
    struct loop *loop;
    struct mailbox *mailbox;
    unsigned next[POSTERS], total;
};

static struct box box;

static int setup(void **state)
{
    (void)state;
    box = (struct box){0};
    return loop_new(&box.loop) < 0 || mailbox_new(box.loop, &box.mailbox) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    mailbox_free(box.mailbox);
    loop_free(box.loop);
    return 0;
}

static void arrived(struct mail *mail)
{
    struct numbered *n = container_of(mail, struct numbered, mail);

    assert_int_equal(n->number, box.next[n->poster]);
    box.next[n->poster]++;
    free(n);
    if (++box.total == POSTERS * MAILS)
        loop_stop(box.loop);
}

static struct numbered *make(unsigned poster, unsigned number)
{
    struct numbered *n = calloc(1, sizeof(*n));

    assert_non_null(n);
    n->mail.run = arrived;
    n->poster = poster;
    n->number = number;
    return n;
}

static void *post_many(void *arg)
{
    unsigned poster = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < MAILS; i++)
        mailbox_post(box.mailbox, &make(poster, i)->mail);
    return NULL;
}

static void test_no_mail_is_lost_and_order_is_kept(void **state)
{
    pthread_t threads[POSTERS];

    (void)state;
    for (uintptr_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
    assert_int_equal(loop_run(box.loop), 0);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(box.total, POSTERS * MAILS);
}

static void post_again(struct mail *mail)
{
    struct numbered *n = container_of(mail, struct numbered, mail);

    if (++n->number < 100)
        mailbox_post(box.mailbox, mail);
    else
        loop_stop(box.loop);
}

static void test_a_mail_may_post_itself_again(void **state)
{
    struct numbered n = {.mail.run = post_again};

    (void)state;
    mailbox_post(box.mailbox, &n.mail);
    assert_int_equal(loop_run(box.loop), 0);
    assert_int_equal(n.number, 100);
}

static void drain_inside(struct mail *mail)
{
    struct numbered *n = container_of(mail, struct numbered, mail);

    mailbox_drain(box.mailbox); /* runs what is behind this one */
    assert_int_equal(box.total, 5);
    n->number = 1;
}

static void test_drain_inside_a_mail_runs_the_rest(void **state)
{
    struct numbered first = {.mail.run = drain_inside};

    (void)state;
    mailbox_post(box.mailbox, &first.mail);
    for (unsigned i = 0; i < 5; i++)
        mailbox_post(box.mailbox, &make(0, i)->mail);
    mailbox_drain(box.mailbox);
    assert_int_equal(first.number, 1);
    assert_int_equal(box.total, 5);
}

static void test_free_runs_what_is_inside(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        mailbox_post(box.mailbox, &make(1, i)->mail);
    mailbox_free(box.mailbox);
    assert_int_equal(box.next[1], 3);
    assert_int_equal(mailbox_new(box.loop, &box.mailbox), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_mail_is_lost_and_order_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_mail_may_post_itself_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drain_inside_a_mail_runs_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_free_runs_what_is_inside, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
