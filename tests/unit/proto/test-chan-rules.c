/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The server's channel against peers that end, vanish, or break the rules. */
#include "tests/unit/proto/chan-world.h"

static void expect_end(struct world *w, int error)
{
    spin_closed(w);
    assert_int_equal(w->closed, error);
    assert_null(w->chan);
}

static void test_orderly_end(void **state)
{
    struct world *w = *state;

    request(w, 1);
    raw_close(&w->peer);
    expect_end(w, 0);
    assert_int_equal(w->frames, 1); /* what came before the end counts */
}

static void test_end_inside_a_frame(void **state)
{
    struct world *w = *state;

    raw_write(&w->peer, "\x05", 1);
    raw_close(&w->peer);
    expect_end(w, -ECONNRESET);
}

static void test_sending_to_a_dead_peer(void **state)
{
    struct world *w = *state;

    raw_close(&w->peer);
    reply(w, 1, NULL, 0, NULL, 0); /* may not say so, or kill by SIGPIPE */
    assert_int_equal(w->closed, OPEN);
    spin_closed(w);
    assert_true(w->closed <= 0);
}

static void test_oversized_frames(void **state)
{
    struct world *w = *state;

    raw_write(&w->peer, "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00", 12);
    expect_end(w, -EPROTO);
}

static void test_replies_from_a_client(void **state)
{
    struct world *w = *state;

    raw_send(&w->peer, MSG_KIND_REPLY, 1, MSG_STATFS, NULL, NULL, 0);
    expect_end(w, -EPROTO);
    assert_int_equal(w->frames, 0);
}

static void test_payload_where_none_belongs(void **state)
{
    struct world *w = *state;

    raw_send(&w->peer, MSG_KIND_REQUEST, 1, MSG_STATFS, NULL, "x", 1);
    expect_end(w, -EPROTO);
}

static void test_announced_descriptors(void **state)
{
    struct world *w = *state;
    _cleanup_(str_fini) struct str b = STR_NULL;

    raw_pack(&b, MSG_KIND_REQUEST, 1, MSG_STATFS, NULL, NULL, 0, 1);
    raw_write(&w->peer, b.s, b.len);
    expect_end(w, -EPROTO);
}

static void test_bad_heads(void **state)
{
    struct world *w = *state;

    raw_write(&w->peer, "\x05\0\0\0\0\0\0\0\0\0\0\0\xdf\xff\xff\xff\xff", 17);
    expect_end(w, -EPROTO);
}

static void test_frames_behind_a_bad_one(void **state)
{
    struct world *w = *state;
    _cleanup_(str_fini) struct str b = STR_NULL;

    raw_pack(&b, MSG_KIND_REQUEST, 1, MSG_STATFS, NULL, NULL, 0, 0);
    raw_pack(&b, MSG_KIND_ERROR, 2, MSG_STATFS, NULL, NULL, 0, 0);
    raw_pack(&b, MSG_KIND_REQUEST, 3, MSG_STATFS, NULL, NULL, 0, 0);
    raw_write(&w->peer, b.s, b.len);
    expect_end(w, -EPROTO);
    assert_int_equal(w->frames, 1);
}

static void send_descriptors(struct world *w, unsigned count)
{
    int on = 1, fds[16];
    unsigned before;

    /* Where the kernel can refuse them for us, let it not, to see our own way. */
    setsockopt(w->server_fd, SOL_SOCKET, SO_PASSRIGHTS, &on, sizeof(on));
    for (unsigned i = 0; i < count; i++)
        fds[i] = numbered_fd(i);
    before = open_fds();
    raw_send_fds(&w->peer, MSG_KIND_REQUEST, 1, MSG_STATFS, 0, fds, count);
    expect_end(w, -EPROTO);
    assert_int_equal(open_fds(), before - 1); /* the channel's socket */
    assert_int_equal(w->frames, 0);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

static void test_a_descriptor_from_a_client(void **state)
{
    send_descriptors(*state, 1);
}

static void test_more_descriptors_than_any_frame_has(void **state)
{
    send_descriptors(*state, 16);
}

static void test_refused_frames_leave_the_channel_open(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *big = calloc(1, PROTO_PAYLOAD_MAX_BYTES + 1);
    struct str head = {(char *)"\x80", 1, 0}, none = STR_NULL;
    int bad = -1;

    assert_int_equal(chan_send(w->chan, &none, NULL, 0, NULL, 0), -EMSGSIZE);
    int r = chan_send(w->chan, &head, big, PROTO_PAYLOAD_MAX_BYTES + 1, NULL, 0);
    assert_int_equal(r, -EMSGSIZE);
    assert_int_equal(chan_send(w->chan, &head, NULL, 0, &bad, PROTO_FDS_MAX + 1), -EMSGSIZE);
    request(w, 1);
    spin_frames(w, 1);
    assert_int_equal(w->frames, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_orderly_end),
        T(test_end_inside_a_frame),
        T(test_sending_to_a_dead_peer),
        T(test_oversized_frames),
        T(test_replies_from_a_client),
        T(test_payload_where_none_belongs),
        T(test_announced_descriptors),
        T(test_bad_heads),
        T(test_frames_behind_a_bad_one),
        T(test_a_descriptor_from_a_client),
        T(test_more_descriptors_than_any_frame_has),
        T(test_refused_frames_leave_the_channel_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
