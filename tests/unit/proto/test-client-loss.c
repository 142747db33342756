/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Lost connections: what waits, what is sent again, what ends. */
#include "tests/unit/proto/client-world.h"

static void test_calls_wait_for_a_connection(void **state)
{
    struct world *w = *state;
    struct call call = {0}, withdrawn = {0};
    struct raw_frame f;

    raw_close(&w->server);
    run(w);
    assert_int_equal(join(w), 0);
    assert_false(client_connected(w->c));
    assert_int_equal(client_run(w->c), -ENOTCONN);
    begin(w->c, &call, MSG_WRITE); /* not sent yet: may be sent later, whatever it is */
    begin(w->c, &withdrawn, MSG_STATFS);
    must(client_send_oneway(w->c, MSG_RELEASE, &no_fields, NULL, 0) == 0); /* dropped */
    assert_true(client_withdraw(w->c, withdrawn.base.id));
    assert_int_equal(withdrawn.error, -EINTR);
    assert_false(client_withdraw(w->c, withdrawn.base.id));
    assert_int_equal(call.error, PENDING);
    assert_int_equal(client_replace_fd(w->c, pair(w)), 0);
    run(w);
    raw_must_recv(&w->server, &f, MSG_WRITE);
    assert_false(client_withdraw(w->c, call.base.id));
    answer(w, &f.head, NULL, 0);
    raw_frame_fini(&f);
    assert_int_equal(await(&call), 0);
}

static void test_only_safe_calls_are_sent_again(void **state)
{
    struct world *w = *state;
    struct call safe[3] = {0}, unsafe = {0}, later = {0};
    uint64_t ids[3];
    struct raw_frame f;

    run(w);
    begin(w->c, &safe[0], MSG_LOOKUP);
    begin(w->c, &unsafe, MSG_WRITE);
    begin(w->c, &safe[1], MSG_READ);
    begin(w->c, &safe[2], MSG_GETATTR);
    for (int i = 0; i < 4; i++) {
        must(raw_recv(&w->server, &f) == 1);
        raw_frame_fini(&f);
    }
    for (int i = 0; i < 3; i++)
        ids[i] = safe[i].base.id;
    raw_close(&w->server);
    assert_int_equal(join(w), 0);
    assert_int_equal(unsafe.error, PENDING); /* nothing ends before it is known what follows */
    begin(w->c, &later, MSG_MKDIR);
    assert_int_equal(client_replace_fd(w->c, pair(w)), 0);
    assert_int_equal(unsafe.error, -EIO);
    run(w);
    const uint64_t order[4] = {MSG_LOOKUP, MSG_READ, MSG_GETATTR, MSG_MKDIR};
    for (int i = 0; i < 4; i++) {
        raw_must_recv(&w->server, &f, order[i]);
        if (i < 3)
            assert_int_equal(f.head.id, ids[i]);
        answer(w, &f.head, NULL, 0);
        raw_frame_fini(&f);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(await(&safe[i]), 0);
    assert_int_equal(await(&later), 0);
}

static void test_a_half_sent_call_is_sent_again_whole(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, 1000000);
    struct call half = {.error = PENDING};
    struct raw_frame f;

    must(client_start(w->c, &half.base, MSG_SETXATTR, &no_fields, big, 1000000, done_cb) == 0);
    raw_close(&w->server);
    run(w);
    assert_true(join(w) <= 0);
    assert_int_equal(client_replace_fd(w->c, pair(w)), 0);
    assert_int_equal(half.error, PENDING); /* no server ever had all of it */
    run(w);
    raw_must_recv(&w->server, &f, MSG_SETXATTR);
    assert_int_equal(f.frame.payload_len, 1000000);
    answer(w, &f.head, NULL, 0);
    raw_frame_fini(&f);
    assert_int_equal(await(&half), 0);
}

/* Receives one request, answers it if it is to be answered, and tells its seq. */
static uint64_t take_seq(struct world *w, uint64_t method, bool reply)
{
    struct raw_frame f;
    uint64_t seq;

    raw_must_recv(&w->server, &f, method);
    must(f.head.seq == 0 || f.head.id != 0);
    seq = f.head.seq;
    if (reply)
        answer(w, &f.head, NULL, 0);
    raw_frame_fini(&f);
    return seq;
}

static void test_seq_survives_the_connection(void **state)
{
    struct world *w = *state;
    struct call first = {0}, safe = {0}, unsafe = {0}, again = {0}, waits = {0}, last = {0};

    run(w);
    begin(w->c, &first, MSG_STATFS);
    assert_int_equal(take_seq(w, MSG_STATFS, true), 1);
    assert_int_equal(await(&first), 0);
    begin(w->c, &safe, MSG_LOOKUP);
    begin(w->c, &unsafe, MSG_WRITE);
    must(client_send_oneway(w->c, MSG_RELEASE, &no_fields, NULL, 0) == 0);
    begin(w->c, &again, MSG_READ);
    assert_int_equal(take_seq(w, MSG_LOOKUP, false), 2);
    assert_int_equal(take_seq(w, MSG_WRITE, false), 3);
    assert_int_equal(take_seq(w, MSG_RELEASE, false), 0);
    assert_int_equal(take_seq(w, MSG_READ, false), 4);
    raw_close(&w->server);
    join(w);
    begin(w->c, &waits, MSG_MKDIR);
    for (int life = 0; life < 2; life++) { /* lost once more: still the same */
        client_replace_fd(w->c, pair(w));
        run(w);
        assert_int_equal(take_seq(w, MSG_LOOKUP, life == 1), 2);
        assert_int_equal(take_seq(w, MSG_READ, life == 1), 4); /* 3 will never come */
        if (life == 1)
            break;
        assert_int_equal(take_seq(w, MSG_MKDIR, false), 5);
        raw_close(&w->server);
        join(w);
    }
    begin(w->c, &last, MSG_MKDIR); /* a new operation is a new number, whatever was lost */
    assert_int_equal(take_seq(w, MSG_MKDIR, true), 6);
    assert_int_equal(await(&last), 0);
    assert_int_equal(await(&safe), 0);
    assert_int_equal(await(&again), 0);
    assert_int_equal(unsafe.error, -EIO);
    assert_int_equal(waits.error, -EIO);
    assert_int_equal(safe.base.seq, 2);
}

static void test_a_refused_call_takes_no_seq(void **state)
{
    struct world *w = *state;
    static const char big[PROTO_PAYLOAD_MAX_BYTES + 1];
    struct call none = {0}, call = {0};

    run(w);
    assert_int_equal(client_start(w->c, &none.base, MSG_SETXATTR, &no_fields, big, sizeof(big),
                                  done_cb), -EMSGSIZE);
    begin(w->c, &call, MSG_STATFS);
    assert_int_equal(take_seq(w, MSG_STATFS, true), 1);
    assert_int_equal(await(&call), 0);
}

#define STARTERS 4
#define EACH 200 /* all of them fit in the table */

static void *start_many(void *arg)
{
    struct world *w = arg;
    struct call *calls = calloc(EACH, sizeof(*calls));

    must(calls);
    for (int i = 0; i < EACH; i++)
        begin(w->c, &calls[i], MSG_STATFS);
    return calls;
}

static void test_calls_leave_in_the_order_of_their_seq(void **state)
{
    struct world *w = *state;
    pthread_t threads[STARTERS];
    struct call *calls[STARTERS];

    run(w);
    for (int i = 0; i < STARTERS; i++)
        must(pthread_create(&threads[i], NULL, start_many, w) == 0);
    for (uint64_t seq = 1; seq <= STARTERS * EACH; seq++)
        assert_int_equal(take_seq(w, MSG_STATFS, true), seq);
    for (int i = 0; i < STARTERS; i++) {
        pthread_join(threads[i], (void **)&calls[i]);
        for (int k = 0; k < EACH; k++)
            assert_int_equal(await(&calls[i][k]), 0);
        free(calls[i]);
    }
}

static void test_replies_of_an_old_life_fit_nothing(void **state)
{
    struct world *w = *state;
    struct call call = {0};
    struct raw_frame f;

    run(w);
    call.base.deadline_ns = 1;
    begin(w->c, &call, MSG_STATFS);
    raw_must_recv(&w->server, &f, MSG_STATFS);
    client_expire(w->c);
    raw_close(&w->server);
    join(w);
    client_replace_fd(w->c, pair(w));
    run(w);
    answer(w, &f.head, NULL, 0);
    raw_frame_fini(&f);
    assert_int_equal(join(w), -EPROTO);
}

static void test_reset_ends_everything(void **state)
{
    struct world *w = *state;
    struct call sent = {0}, other = {0}, unsent = {0};
    struct raw_frame f;

    run(w);
    begin(w->c, &sent, MSG_WRITE);
    raw_must_recv(&w->server, &f, MSG_WRITE);
    client_reset(w->c, -ENODEV);
    assert_int_equal(sent.error, -ENODEV);
    answer(w, &f.head, NULL, 0); /* late, but known */
    raw_frame_fini(&f);
    begin(w->c, &other, MSG_STATFS);
    raw_must_recv(&w->server, &f, MSG_STATFS);
    answer(w, &f.head, NULL, 0);
    raw_frame_fini(&f);
    assert_int_equal(await(&other), 0);
    client_stop(w->c);
    assert_int_equal(join(w), 0);
    begin(w->c, &unsent, MSG_STATFS);
    client_reset(w->c, -ENODEV);
    assert_int_equal(unsent.error, -ENODEV);
}

static void test_stop_inside_a_frame_is_orderly(void **state)
{
    struct world *w = *state;

    run(w);
    raw_write(&w->server, "\x05\0\0", 3);
    usleep(10000);
    client_stop(w->c);
    assert_int_equal(join(w), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_calls_wait_for_a_connection),
        T(test_only_safe_calls_are_sent_again),
        T(test_a_half_sent_call_is_sent_again_whole),
        T(test_seq_survives_the_connection),
        T(test_a_refused_call_takes_no_seq),
        T(test_calls_leave_in_the_order_of_their_seq),
        T(test_replies_of_an_old_life_fit_nothing),
        T(test_reset_ends_everything),
        T(test_stop_inside_a_frame_is_orderly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
