/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The client's table of calls against a server played by hand: any order, loss and replay, deadlines, full
 * sockets, and servers that break the rules. */
#include "tests/unit/proto/raw-peer.h"

#include <pthread.h>
#include <stdatomic.h>

#include "proto/base/clock.h"
#include "proto/client.h"

#define PENDING 1 /* no error is positive */

struct call {
    struct client_call base;
    _Atomic int error; /* PENDING until done ran */
    _Atomic unsigned runs;
    char text[64];
    uint64_t payload;
    uint64_t fd_numbers[PROTO_FDS_MAX];
    unsigned nfds;
    struct client *chain; /* start this one from done */
    struct call *next;
};

struct world {
    struct client *c;
    struct raw server;
    pthread_t runner;
    bool running;
    int run_result;
};

static const struct str no_fields = {(char *)"\x80", 1, 0};

static void *run_thread(void *arg)
{
    struct world *w = arg;

    w->run_result = client_run(w->c);
    return NULL;
}

static void run(struct world *w)
{
    must(pthread_create(&w->runner, NULL, run_thread, w) == 0);
    w->running = true;
}

static int join(struct world *w)
{
    pthread_join(w->runner, NULL);
    w->running = false;
    return w->run_result;
}

static int pair(struct world *w)
{
    int s[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
    w->server.fd = s[1];
    return s[0];
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    must(client_new(pair(w), &w->c) == 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    if (w->running) {
        client_stop(w->c);
        join(w);
    }
    client_reset(w->c, -ECANCELED);
    client_free(w->c);
    raw_close(&w->server);
    free(w);
    return 0;
}

static void done_cb(struct client_call *base, const struct client_reply *reply)
{
    struct call *call = container_of(base, struct call, base);

    must(++call->runs == 1);
    must(reply->text.len < sizeof(call->text));
    memcpy(call->text, reply->text.s ? reply->text.s : "", reply->text.len);
    if (reply->payload_len == sizeof(call->payload))
        memcpy(&call->payload, reply->payload, sizeof(call->payload));
    call->nfds = reply->nfds;
    for (unsigned i = 0; i < reply->nfds; i++)
        call->fd_numbers[i] = number_of_fd(reply->fds[i]);
    if (call->chain)
        must(client_start(call->chain, &call->next->base, MSG_STATFS, &no_fields, NULL, 0, done_cb) ==
             0);
    call->error = reply->error;
}

static void begin(struct client *c, struct call *call, enum msg_method method)
{
    call->error = PENDING;
    must(client_start(c, &call->base, method, &no_fields, NULL, 0, done_cb) == 0);
}

static int await(struct call *call)
{
    for (int i = 0; i < 10000 && call->error == PENDING; i++)
        usleep(1000);
    return call->error;
}

static void answer(struct world *w, const struct msg_head *head, const void *payload, size_t len)
{
    raw_send(&w->server, MSG_KIND_REPLY, head->id, head->method, NULL, payload, len);
}

/* --- the ordinary way --- */

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

/* --- loss and replay --- */

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

/* --- servers that break the rules --- */

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
        T(test_many_calls_answered_in_any_order),
        T(test_errors_bring_their_text),
        T(test_large_replies),
        T(test_done_may_start_another_call),
        T(test_descriptors_reach_their_call),
        T(test_a_late_reply_is_dropped),
        T(test_a_half_sent_call_expires),
        T(test_nothing_blocks_on_a_full_socket),
        T(test_calls_wait_for_a_connection),
        T(test_only_safe_calls_are_sent_again),
        T(test_a_half_sent_call_is_sent_again_whole),
        T(test_replies_of_an_old_life_fit_nothing),
        T(test_reset_ends_everything),
        T(test_stop_inside_a_frame_is_orderly),
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
