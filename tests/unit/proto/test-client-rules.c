/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Servers that break the rules, and the pushes of those that do not. */
#include "tests/unit/proto/client-world.h"

static void expect_breach(struct world *w, int error)
{
    assert_int_equal(join(w), error);
    assert_false(client_connected(w->c));
    client_reset(w->c, -EIO); /* what the breach left unanswered */
}

static void test_replies_nobody_asked_for(void **state)
{
    struct world *w = *state;

    run(w);
    raw_send(&w->server, MSG_KIND_REPLY, 0x10000, MSG_STATFS, NULL, NULL, 0);
    expect_breach(w, -EPROTO);
}

static void test_replies_of_another_method(void **state)
{
    struct world *w = *state;
    struct call call = {0};

    run(w);
    begin(w->c, &call, MSG_STATFS);
    raw_send(&w->server, MSG_KIND_REPLY, call.base.id, MSG_LOOKUP, NULL, NULL, 0);
    expect_breach(w, -EPROTO);
    assert_int_equal(call.error, -EIO);
}

static void test_a_second_reply(void **state)
{
    struct world *w = *state;
    struct call call = {0};

    run(w);
    begin(w->c, &call, MSG_STATFS);
    raw_send(&w->server, MSG_KIND_REPLY, call.base.id, MSG_STATFS, NULL, NULL, 0);
    raw_send(&w->server, MSG_KIND_REPLY, call.base.id, MSG_STATFS, NULL, NULL, 0);
    expect_breach(w, -EPROTO);
    assert_int_equal(call.runs, 1);
}

static void test_replies_to_calls_not_sent(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, 1000000);
    struct call half = {.error = PENDING}, unsent = {0};

    must(client_start(w->c, &half.base, MSG_SETXATTR, &no_fields, big, 1000000, done_cb) == 0);
    begin(w->c, &unsent, MSG_STATFS);
    raw_send(&w->server, MSG_KIND_REPLY, unsent.base.id, MSG_STATFS, NULL, NULL, 0);
    run(w);
    expect_breach(w, -EPROTO);
    assert_int_equal(unsent.error, -EIO);
}

static void breach_by(struct world *w, uint64_t kind, enum msg_method method, const char *payload)
{
    struct call call = {0};

    run(w);
    begin(w->c, &call, method);
    raw_send(&w->server, kind, call.base.id, method, NULL, payload, payload ? strlen(payload) : 0);
    expect_breach(w, -EPROTO);
    assert_int_equal(call.error, -EIO);
}

static void test_payload_where_none_belongs(void **state)
{
    breach_by(*state, MSG_KIND_REPLY, MSG_LOOKUP, "x");
}

static void test_errors_with_payload(void **state)
{
    breach_by(*state, MSG_KIND_ERROR, MSG_READ, "x");
}

static void test_unasked_requests(void **state)
{
    struct world *w = *state;

    run(w);
    raw_send(&w->server, MSG_KIND_REQUEST, 0, MSG_INVALIDATE, NULL, NULL, 0);
    expect_breach(w, -EPROTO);
}

static void breach_by_fds(struct world *w, unsigned stated, unsigned sent)
{
    struct call call = {0};
    int fds[16];
    unsigned before;

    for (unsigned i = 0; i < sent; i++)
        fds[i] = numbered_fd(i);
    before = open_fds();
    run(w);
    begin(w->c, &call, MSG_OPEN);
    raw_send_fds(&w->server, MSG_KIND_REPLY, call.base.id, MSG_OPEN, stated, fds, sent);
    expect_breach(w, -EPROTO);
    assert_int_equal(open_fds(), before - 1); /* the connection */
    for (unsigned i = 0; i < sent; i++)
        close(fds[i]);
    assert_true(call.error != PENDING); /* the reply itself may have been in order */
}

static void test_missing_descriptors(void **state)
{
    breach_by_fds(*state, 2, 1);
}

static void test_no_descriptors_at_all(void **state)
{
    breach_by_fds(*state, 2, 0);
}

static void test_descriptors_left_over(void **state)
{
    breach_by_fds(*state, 1, 2);
}

static void test_a_flood_of_descriptors(void **state)
{
    breach_by_fds(*state, 4, 16);
}

static void test_garbage(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28},
        {"\x01\0\0\0\x00\0\0\0\0\0\0\0\xc1", 13},
        {"\x05\0\0\0\x00\0\0\0\0\0\0\0\xdf\xff\xff\xff\xff", 17},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct world *w;
        setup((void **)&w);
        run(w);
        raw_write(&w->server, rows[i].bytes, rows[i].len);
        expect_breach(w, -EPROTO);
        teardown((void **)&w);
    }
    (void)state;
}

static void test_end_inside_a_frame(void **state)
{
    struct world *w = *state;

    run(w);
    raw_write(&w->server, "\x05", 1);
    raw_close(&w->server);
    assert_int_equal(join(w), -ECONNRESET);
}

/* --- pushes --- */

static int push_cb(void *arg, const struct msg_head *head, const struct frame *frame)
{
    struct msg_invalidate_req m;

    (void)frame;
    if (head->method != MSG_INVALIDATE ||
        msg_unpack_invalidate_req(head->fields, head->fields_len, &m) < 0)
        return -EPROTO;
    atomic_fetch_add((_Atomic uint64_t *)arg, m.stamp);
    return 0;
}

static void test_pushes_and_cancel(void **state)
{
    struct world *w = *state;
    _cleanup_(str_fini) struct str fields = STR_NULL, cancel = STR_NULL;
    _Atomic uint64_t sum = 0;
    struct msg_cancel_req m;
    struct raw_frame f;

    client_on_push(w->c, push_cb, &sum);
    run(w);
    msg_pack_invalidate_req(&fields, &(struct msg_invalidate_req){.ino = 5, .what = 1, .stamp = 7});
    for (int i = 0; i < 10; i++)
        raw_send(&w->server, MSG_KIND_REQUEST, 0, MSG_INVALIDATE, &fields, NULL, 0);
    msg_pack_cancel_req(&cancel, &(struct msg_cancel_req){.call = 77});
    assert_int_equal(client_send_oneway(w->c, MSG_CANCEL, &cancel, NULL, 0), 0);
    raw_must_recv(&w->server, &f, MSG_CANCEL);
    assert_int_equal(f.head.id, 0);
    assert_int_equal(msg_unpack_cancel_req(f.head.fields, f.head.fields_len, &m), 0);
    assert_int_equal(m.call, 77);
    raw_frame_fini(&f);
    for (int i = 0; i < 1000 && sum < 70; i++)
        usleep(1000);
    assert_int_equal(sum, 70);
    raw_send(&w->server, MSG_KIND_REQUEST, 0, MSG_LOOKUP, NULL, NULL, 0);
    expect_breach(w, -EPROTO);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_replies_nobody_asked_for),
        T(test_replies_of_another_method),
        T(test_a_second_reply),
        T(test_replies_to_calls_not_sent),
        T(test_payload_where_none_belongs),
        T(test_errors_with_payload),
        T(test_unasked_requests),
        T(test_missing_descriptors),
        T(test_no_descriptors_at_all),
        T(test_descriptors_left_over),
        T(test_a_flood_of_descriptors),
        cmocka_unit_test(test_garbage),
        T(test_end_inside_a_frame),
        T(test_pushes_and_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
