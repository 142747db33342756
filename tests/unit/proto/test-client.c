/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The client's table of calls: any order, deadlines, full sockets. */
#include "tests/unit/proto/client-world.h"

#define MANY 500u

static void test_many_calls_answered_in_any_order(void **state)
{
    struct world *w = *state;
    static struct call calls[MANY];
    struct msg_head heads[MANY];
    unsigned seed = 1;

    memset(calls, 0, sizeof(calls));
    run(w);
    for (unsigned i = 0; i < MANY; i++)
        begin(w->c, &calls[i], MSG_READ);
    for (unsigned i = 0; i < MANY; i++) {
        struct raw_frame f;
        raw_must_recv(&w->server, &f, MSG_READ);
        heads[i] = f.head;
        assert_int_equal(heads[i].id, calls[i].base.id); /* in order, and under the id of CANCEL */
        raw_frame_fini(&f);
    }
    for (unsigned i = MANY - 1; i > 0; i--) {
        unsigned k = (unsigned)rand_r(&seed) % (i + 1);
        struct msg_head swap = heads[i];
        heads[i] = heads[k];
        heads[k] = swap;
    }
    for (unsigned i = 0; i < MANY; i++)
        answer(w, &heads[i], &heads[i].id, 8);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(await(&calls[i]), 0);
        assert_int_equal(calls[i].payload, calls[i].base.id);
    }
}

static void test_errors_bring_their_text(void **state)
{
    struct world *w = *state;
    struct call call = {0}, odd = {0};
    _cleanup_(str_fini) struct str fields = STR_NULL;

    run(w);
    begin(w->c, &call, MSG_LOOKUP);
    begin(w->c, &odd, MSG_LOOKUP);
    msg_error_pack(&fields, -EACCES, "no way");
    raw_send(&w->server, MSG_KIND_ERROR, call.base.id, MSG_LOOKUP, &fields, NULL, 0);
    assert_int_equal(await(&call), -EACCES);
    assert_string_equal(call.text, "no way");
    raw_send(&w->server, MSG_KIND_ERROR, odd.base.id, MSG_LOOKUP, NULL, NULL, 0);
    assert_int_equal(await(&odd), -EIO); /* an error that names none is one all the same */
}

static void test_large_replies(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, PROTO_PAYLOAD_MAX_BYTES);
    struct call calls[4] = {0};

    run(w);
    for (unsigned i = 0; i < 4; i++)
        begin(w->c, &calls[i], MSG_READ);
    for (unsigned i = 0; i < 4; i++) {
        struct raw_frame f;
        raw_must_recv(&w->server, &f, MSG_READ);
        answer(w, &f.head, big, i % 2 ? PROTO_PAYLOAD_MAX_BYTES : 8);
        raw_frame_fini(&f);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(await(&calls[i]), 0);
}

static void test_done_may_start_another_call(void **state)
{
    struct world *w = *state;
    struct call first = {0}, second = {.error = PENDING};
    struct raw_frame f;

    run(w);
    first.chain = w->c;
    first.next = &second;
    begin(w->c, &first, MSG_STATFS);
    for (int i = 0; i < 2; i++) {
        raw_must_recv(&w->server, &f, MSG_STATFS);
        answer(w, &f.head, NULL, 0);
        raw_frame_fini(&f);
    }
    assert_int_equal(await(&second), 0);
}

static void test_descriptors_reach_their_call(void **state)
{
    struct world *w = *state;
    struct call calls[5] = {0};
    unsigned before = open_fds();
    int fds[4];

    run(w);
    for (unsigned i = 0; i < 5; i++)
        begin(w->c, &calls[i], MSG_OPEN);
    for (unsigned i = 0; i < 4; i++)
        fds[i] = numbered_fd(i);
    for (unsigned i = 0; i < 5; i++)
        raw_send_fds(&w->server, MSG_KIND_REPLY, calls[i].base.id, MSG_OPEN, i, fds, i);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(await(&calls[i]), 0);
        assert_int_equal(calls[i].nfds, i);
        for (unsigned k = 0; k < i; k++)
            assert_int_equal(calls[i].fd_numbers[k], k);
    }
    for (unsigned i = 0; i < 4; i++)
        close(fds[i]);
    usleep(1000); /* the runner closes them behind done */
    for (int i = 0; i < 1000 && open_fds() != before; i++)
        usleep(1000);
    assert_int_equal(open_fds(), before);
}

/* --- deadlines --- */

static void test_a_late_reply_is_dropped(void **state)
{
    struct world *w = *state;
    struct call slow = {0}, other = {0};
    struct raw_frame f, g;
    int fd = numbered_fd(1);

    run(w);
    slow.base.deadline_ns = clock_mono_ns() + 20 * NS_PER_MS;
    begin(w->c, &slow, MSG_OPEN);
    raw_must_recv(&w->server, &f, MSG_OPEN);
    uint64_t left = client_expire(w->c);
    assert_true(left > 0 && left <= 20 * NS_PER_MS);
    assert_int_equal(slow.error, PENDING);
    usleep(25000);
    assert_int_equal(client_expire(w->c), 0);
    assert_int_equal(slow.error, -ETIMEDOUT);
    raw_send_fds(&w->server, MSG_KIND_REPLY, f.head.id, MSG_OPEN, 1, &fd, 1);
    close(fd);
    begin(w->c, &other, MSG_STATFS);
    raw_must_recv(&w->server, &g, MSG_STATFS);
    assert_int_not_equal(g.head.id, f.head.id);
    answer(w, &g.head, NULL, 0);
    assert_int_equal(await(&other), 0);
    assert_int_equal(slow.runs, 1);
    assert_true(client_connected(w->c));
    raw_frame_fini(&f);
    raw_frame_fini(&g);
}

/* Its rest leaves all the same: the frame behind it is whole. */
static void test_a_half_sent_call_expires(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, 1000000);
    struct call half = {.error = PENDING}, next = {0};
    struct raw_frame f;

    half.base.deadline_ns = 1;
    must(client_start(w->c, &half.base, MSG_SETXATTR, &no_fields, big, 1000000, done_cb) == 0);
    begin(w->c, &next, MSG_STATFS);
    assert_false(client_withdraw(w->c, half.base.id)); /* too late for that */
    client_expire(w->c);
    assert_int_equal(half.error, -ETIMEDOUT);
    run(w);
    raw_must_recv(&w->server, &f, MSG_SETXATTR);
    assert_int_equal(f.frame.payload_len, 1000000);
    answer(w, &f.head, NULL, 0);
    raw_frame_fini(&f);
    raw_must_recv(&w->server, &f, MSG_STATFS);
    answer(w, &f.head, NULL, 0);
    raw_frame_fini(&f);
    assert_int_equal(await(&next), 0);
    assert_int_equal(half.runs, 1);
}

/* --- a server that does not read --- */

static void test_nothing_blocks_on_a_full_socket(void **state)
{
    struct world *w = *state;
    static struct call calls[3000];
    uint64_t start = clock_mono_ns();
    unsigned oneways = 0, answered = 0;
    struct pollfd p = {.fd = w->server.fd, .events = POLLIN};
    struct raw_frame f;

    memset(calls, 0, sizeof(calls));
    run(w);
    for (unsigned i = 0; i < 3000; i++) {
        begin(w->c, &calls[i], MSG_STATFS);
        if (i % 3 == 0)
            must(client_send_oneway(w->c, MSG_RELEASE, &no_fields, NULL, 0) == 0);
    }
    assert_true(clock_mono_ns() - start < 5 * NS_PER_S);
    /* No more than the limit is at the server, however long it takes. */
    struct msg_head heads[PROTO_CALLS_MAX];
    unsigned got = 0;
    while (got < PROTO_CALLS_MAX) {
        must(raw_recv(&w->server, &f) == 1);
        if (f.head.method == MSG_RELEASE)
            oneways++;
        else
            heads[got++] = f.head;
        raw_frame_fini(&f);
    }
    while (rx_next(&w->server.rx, &f.frame, f.fds) == 1) {
        must(msg_head_unpack(f.frame.data, f.frame.head_len, &f.head) == 0);
        assert_int_equal(f.head.method, MSG_RELEASE);
        oneways++;
        raw_frame_fini(&f);
    }
    assert_int_equal(poll(&p, 1, 50), 0);
    for (unsigned i = 0; i < got; i++, answered++)
        answer(w, &heads[i], NULL, 0);
    while (answered < 3000) {
        must(raw_recv(&w->server, &f) == 1);
        if (f.head.method == MSG_RELEASE) {
            oneways++;
        } else {
            answer(w, &f.head, NULL, 0);
            answered++;
        }
        raw_frame_fini(&f);
    }
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(await(&calls[i]), 0);
    assert_int_equal(oneways, 1000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_many_calls_answered_in_any_order),
        T(test_errors_bring_their_text),
        T(test_large_replies),
        T(test_done_may_start_another_call),
        T(test_descriptors_reach_their_call),
        T(test_a_late_reply_is_dropped),
        T(test_a_half_sent_call_expires),
        T(test_nothing_blocks_on_a_full_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
