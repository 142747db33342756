/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The server's channel against peers that behave, or only are slow to read. */
#include "tests/unit/proto/chan-world.h"

static void test_frames_in_and_answers_out(void **state)
{
    struct world *w = *state;

    assert_int_equal(chan_peer(w->chan)->uid, getuid());
    assert_int_equal(chan_peer(w->chan)->pid, getpid());
    w->on_frame = ANSWER;
    for (uint64_t id = 1; id <= 100; id++)
        request(w, id);
    spin_frames(w, 100);
    assert_int_equal(w->frames, 100);
    for (uint64_t id = 1; id <= 100; id++) {
        struct raw_frame f;
        assert_int_equal(w->ids[id - 1], id);
        raw_must_recv(&w->peer, &f, MSG_STATFS);
        assert_int_equal(f.head.id, id);
        raw_frame_fini(&f);
    }
    assert_int_equal(chan_queued_bytes(w->chan), 0);
}

static void test_one_byte_at_a_time(void **state)
{
    struct world *w = *state;
    _cleanup_(str_fini) struct str b = STR_NULL;

    raw_pack(&b, MSG_KIND_REQUEST, 1, MSG_STATFS, NULL, NULL, 0, 0);
    raw_pack(&b, MSG_KIND_REQUEST, 2, MSG_FORGET, NULL, "0123456789abcdef", 16, 0);
    for (size_t i = 0; i < b.len; i++) {
        raw_write(&w->peer, b.s + i, 1);
        spin(w, 1);
    }
    spin_frames(w, 2);
    assert_int_equal(w->frames, 2);
    assert_int_equal(w->payload_len, 16);
}

static void test_large_payload_and_frames_behind_it(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, PROTO_PAYLOAD_MAX_BYTES);
    _cleanup_(str_fini) struct str b = STR_NULL;
    size_t at = 0;

    for (int i = 0; i < 3; i++) {
        raw_pack(&b, MSG_KIND_REQUEST, 0, MSG_FORGET, NULL, big, PROTO_PAYLOAD_MAX_BYTES, 0);
        raw_pack(&b, MSG_KIND_REQUEST, 5, MSG_STATFS, NULL, NULL, 0, 0);
    }
    while (at < b.len) {
        ssize_t n = send(w->peer.fd, b.s + at, b.len - at, MSG_DONTWAIT);
        if (n > 0)
            at += (size_t)n;
        spin(w, 1);
    }
    spin_frames(w, 6);
    assert_int_equal(w->frames, 6);
    assert_int_equal(w->ids[5], 5);
}

static void test_the_callee_may_take_the_frame(void **state)
{
    struct world *w = *state;

    w->on_frame = TAKE;
    request(w, 7);
    spin_frames(w, 1);
    assert_non_null(w->taken);
    assert_int_equal(w->taken[0], 0x94);
}

static void test_a_callback_may_free_the_channel(void **state)
{
    struct world *w = *state;

    w->on_frame = FREE;
    for (uint64_t id = 1; id <= 10; id++)
        request(w, id);
    spin(w, 20);
    assert_int_equal(w->frames, 1);
    assert_int_equal(w->closed, OPEN);
    assert_null(w->chan);
}

static void test_a_large_frame_may_free_the_channel(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, 100000);
    _cleanup_(str_fini) struct str b = STR_NULL;

    w->on_frame = FREE;
    raw_pack(&b, MSG_KIND_REQUEST, 0, MSG_FORGET, NULL, big, 100000, 0);
    raw_pack(&b, MSG_KIND_REQUEST, 5, MSG_STATFS, NULL, NULL, 0, 0);
    raw_write(&w->peer, b.s, 50);
    spin(w, 5);
    raw_write(&w->peer, b.s + 50, b.len - 50);
    spin(w, 20);
    assert_int_equal(w->frames, 1);
    assert_null(w->chan);
}

static void test_pause_holds_every_frame_back(void **state)
{
    struct world *w = *state;

    w->on_frame = PAUSE;
    for (uint64_t id = 1; id <= 10; id++)
        request(w, id);
    for (unsigned n = 1; n <= 10; n++) {
        spin(w, 10);
        assert_int_equal(w->frames, n);
        chan_pause(w->chan, false);
        assert_int_equal(w->frames, n); /* later, not inside the call */
    }
    spin(w, 10);
    for (uint64_t id = 1; id <= 10; id++)
        assert_int_equal(w->ids[id - 1], id);
    w->on_frame = NOTHING;
    request(w, 11);
    spin_frames(w, 11);
    assert_int_equal(w->frames, 11);
}

static void test_shutdown_sends_what_is_queued(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, 1000000);
    struct raw_frame f;

    for (uint64_t id = 1; id <= 4; id++)
        reply(w, id, big, 1000000, NULL, 0);
    chan_shutdown(w->chan);
    const struct str head = {(char *)"\x80", 1, 0};
    assert_int_equal(chan_send(w->chan, &head, NULL, 0, NULL, 0), -EPIPE);
    for (uint64_t id = 1; id <= 4; id++) {
        next_frame(w, &f, sizeof(w->peer.buf));
        assert_int_equal(f.head.id, id);
        assert_int_equal(f.frame.payload_len, 1000000);
        raw_frame_fini(&f);
    }
    spin_closed(w);
    assert_int_equal(w->closed, 0);
}

static void test_shutdown_does_not_wait_for_ever(void **state)
{
    struct world *w = *state;
    static char big[1000000];

    for (uint64_t id = 1; id <= 4; id++)
        reply(w, id, big, sizeof(big), NULL, 0);
    chan_shutdown(w->chan);
    for (int i = 0; i < 80 && w->closed == OPEN; i++)
        spin(w, 100);
    assert_int_equal(w->closed, -ETIMEDOUT);
}

static void test_shutdown_from_a_callback(void **state)
{
    struct world *w = *state;
    struct raw_frame f;

    w->on_frame = SHUTDOWN;
    request(w, 1);
    request(w, 2);
    spin_closed(w);
    assert_int_equal(w->closed, 0);
    assert_int_equal(w->frames, 1);
    assert_int_equal(raw_recv(&w->peer, &f), 1);
    raw_frame_fini(&f);
    assert_true(raw_recv(&w->peer, &f) <= 0);
}

/* --- peers that do not read --- */

static void test_back_pressure(void **state)
{
    struct world *w = *state;
    static uint8_t page[65536];
    const unsigned total = 2 * PROTO_SEND_QUEUE_MAX_BYTES / sizeof(page);
    struct raw_frame f;

    for (uint64_t id = 0; id < total; id++) {
        memset(page, (int)id, sizeof(page));
        reply(w, id, page, sizeof(page), NULL, 0);
    }
    assert_true(chan_queued_bytes(w->chan) > PROTO_SEND_QUEUE_MAX_BYTES);
    request(w, 1);
    spin(w, 20);
    assert_int_equal(w->frames, 0); /* it does not read, it is not read */
    for (uint64_t id = 0; id < total; id++) {
        next_frame(w, &f, sizeof(w->peer.buf));
        assert_int_equal(f.head.id, id);
        memset(page, (int)id, sizeof(page));
        assert_memory_equal(frame_payload(&f.frame), page, sizeof(page));
        raw_frame_fini(&f);
    }
    spin_frames(w, 1);
    assert_int_equal(w->frames, 1);
    assert_int_equal(chan_queued_bytes(w->chan), 0);
}

static void test_descriptors_in_order_through_a_full_socket(void **state)
{
    struct world *w = *state;
    static uint8_t page[30000];
    const unsigned total = 400;
    unsigned before = open_fds(), seen = 0;

    for (unsigned i = 0; i < total; i++) {
        int fds[2] = {numbered_fd(2 * i), numbered_fd(2 * i + 1)};
        reply(w, i, page, i % 3 ? 10 : sizeof(page), fds, i % 3);
        close(fds[0]);
        close(fds[1]);
    }
    request(w, 1);
    spin(w, 20);
    assert_int_equal(w->frames, 0); /* too many descriptors are kept for it */
    for (; seen < total; seen++) {
        struct raw_frame f;

        next_frame(w, &f, 1 + seen * 37 % 5000);
        assert_int_equal(f.head.id, seen);
        assert_int_equal(f.frame.nfds, seen % 3);
        for (unsigned k = 0; k < f.frame.nfds; k++)
            assert_int_equal(number_of_fd(f.fds[k]), 2 * seen + k);
        raw_frame_fini(&f);
    }
    spin_frames(w, 1);
    assert_int_equal(w->frames, 1);
    assert_int_equal(open_fds(), before);
}

static void test_queued_descriptors_are_closed_with_the_channel(void **state)
{
    struct world *w = *state;
    unsigned before = open_fds();

    for (unsigned i = 0; i < 500; i++) {
        int fd = numbered_fd(i);
        reply(w, i, NULL, 0, &fd, 1);
        close(fd);
    }
    assert_true(open_fds() > before);
    chan_free(w->chan);
    w->chan = NULL;
    assert_int_equal(open_fds(), before - 1); /* the channel's own */
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_frames_in_and_answers_out),
        T(test_one_byte_at_a_time),
        T(test_large_payload_and_frames_behind_it),
        T(test_the_callee_may_take_the_frame),
        T(test_a_callback_may_free_the_channel),
        T(test_a_large_frame_may_free_the_channel),
        T(test_pause_holds_every_frame_back),
        T(test_shutdown_sends_what_is_queued),
        T(test_shutdown_does_not_wait_for_ever),
        T(test_shutdown_from_a_callback),
        T(test_back_pressure),
        T(test_descriptors_in_order_through_a_full_socket),
        T(test_queued_descriptors_are_closed_with_the_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
