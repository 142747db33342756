/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One conversation over and over, each time with another allocation failing, then with all from there on:
 * any outcome but a crash, a leak or a hang. The linker's --wrap puts our allocator below the library. */
#include "tests/unit/proto/raw-peer.h"

#include "proto/chan.h"
#include "proto/client.h"
#include "tests/unit/nomem.h"

struct talk {
    struct loop *loop;
    struct loop_timer *timer;
    struct chan *chan;
    struct client *client;
    unsigned expected, frames;
    unsigned done;
};

static void answer(struct talk *t, const struct msg_head *head)
{
    static const char page[300000];
    struct str out = STR_NULL;
    int fds[2] = {STDIN_FILENO, STDERR_FILENO};
    bool read = head->method == MSG_READ, open = head->method == MSG_OPEN;

    if (msg_head_pack(&out, MSG_KIND_REPLY, head->id, head->method) == 0 &&
        str_addn(&out, "\x80", 1) == 0)
        chan_send(t->chan, &out, page, read ? sizeof(page) : 0, fds, open ? 2 : 0);
    str_fini(&out);
}

static void frame_cb(void *arg, const struct msg_head *head, struct frame *frame)
{
    struct talk *t = arg;

    (void)frame;
    if (head->id > 0)
        answer(t, head);
    if (++t->frames == 3) { /* the rest is kept back, and read later */
        chan_pause(t->chan, true);
        chan_pause(t->chan, false);
    }
    if (t->frames == t->expected)
        loop_stop(t->loop);
}

static void closed_cb(void *arg, int error)
{
    struct talk *t = arg;

    must(error <= 0);
    chan_free(t->chan);
    t->chan = NULL;
    loop_stop(t->loop);
}

static void timeout_cb(void *arg)
{
    must(arg == NULL); /* a hang */
}

static void done_cb(struct client_call *call, const struct client_reply *reply)
{
    (void)reply;
    must(call->done == done_cb);
    call->deadline_ns++; /* counts */
}

static void converse(struct talk *t, struct client_call calls[6], bool started[6])
{
    static const enum msg_method methods[6] = {MSG_STATFS, MSG_READ,   MSG_OPEN,
                                               MSG_READ,   MSG_WRITE,  MSG_SETXATTR};
    static const char value[60000];
    const struct str fields = {(char *)"\x80", 1, 0};

    for (unsigned i = 0; i < 6; i++) {
        size_t len = methods[i] == MSG_SETXATTR ? sizeof(value) : 0;
        calls[i].deadline_ns = 0;
        started[i] =
            client_start(t->client, &calls[i], methods[i], &fields, value, len, done_cb) == 0;
        t->expected += started[i];
    }
    t->expected += client_send_oneway(t->client, MSG_RELEASE, &fields, NULL, 0) == 0;
    if (t->expected > 0)
        must(loop_run(t->loop) == 0);
}

static void one_conversation(void)
{
    static const struct chan_ops ops = {frame_cb, closed_cb};
    struct talk t = {0};
    struct client_call calls[6];
    bool started[6] = {false};
    int s[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
    if (client_new(s[0], &t.client) < 0)
        t.client = NULL;
    int r = loop_new(&t.loop);
    if (r == 0)
        r = loop_timer_new(t.loop, timeout_cb, &t, &t.timer);
    if (r == 0)
        loop_timer_set_ms(t.timer, 20000);
    if (r == 0) /* takes the fd in any case */
        r = chan_new(t.loop, s[1], &ops, &t, &t.chan);
    else
        close(s[1]);
    if (r == 0 && t.client)
        converse(&t, calls, started);
    chan_free(t.chan);
    if (t.client) {
        client_run(t.client);
        client_reset(t.client, -EIO);
        client_free(t.client);
    }
    loop_timer_free(t.timer);
    loop_free(t.loop);
    for (unsigned i = 0; i < 6; i++)
        must(!started[i] || calls[i].deadline_ns == 1); /* done ran exactly once */
}

static void torture(bool all_after)
{
    unsigned before = open_fds(), rounds = 0;
    bool failed;

    one_conversation(); /* what is allocated once, is */
    do {
        nomem_begin(++rounds, all_after);
        one_conversation();
        failed = nomem_end();
        assert_int_equal(open_fds(), before);
    } while (failed);
    assert_true(rounds > 20);
}

static void test_one_allocation_fails(void **state)
{
    (void)state;
    torture(false);
}

static void test_all_allocations_fail_from_one_on(void **state)
{
    (void)state;
    torture(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_allocation_fails),
        cmocka_unit_test(test_all_allocations_fail_from_one_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
