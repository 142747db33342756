/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The frame parser: any cut of the stream gives the same frames, and bounds hold before memory is used. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/frame.h"
#include "proto/limits.h"

static void add_frame(struct str *out, size_t head, size_t payload, uint32_t nfds)
{
    size_t at = frame_begin(out);

    assert_int_not_equal(at, SIZE_MAX);
    for (size_t i = 0; i < head; i++)
        assert_int_equal(str_addn(out, "h", 1), 0);
    frame_end_head(out, at);
    for (size_t i = 0; i < payload; i++)
        assert_int_equal(str_addn(out, "p", 1), 0);
    assert_int_equal(frame_end(out, at, nfds), 0);
}

static void check_frame(struct frame *f, size_t head, size_t payload, uint32_t nfds)
{
    assert_int_equal(f->head_len, head);
    assert_int_equal(f->payload_len, payload);
    assert_int_equal(f->nfds, nfds);
    for (size_t i = 0; i < head; i++)
        assert_int_equal(f->data[i], 'h');
    for (size_t i = 0; i < payload; i++)
        assert_int_equal(frame_payload(f)[i], 'p');
    frame_fini(f);
}

static const struct {
    size_t head, payload;
    uint32_t nfds;
} shapes[] = {{1, 0, 0}, {5, 3, 2}, {300, 0, 4}, {1, 5000, 0}, {17, 17, 1}};

/* However the stream is cut, the same frames come out. */
static void parse_in_steps(size_t step)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    struct frame_parser p = FRAME_PARSER_NULL;
    size_t found = 0, at = 0;

    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
        add_frame(&b, shapes[i].head, shapes[i].payload, shapes[i].nfds);
    while (at < b.len) {
        size_t n = MIN(step, b.len - at), used;
        struct frame f;
        _cleanup_(freep) char *copy = malloc(n);
        memcpy(copy, b.s + at, n);
        int r = frame_parse(&p, copy, n, &used, &f);

        assert_true(r >= 0 && used <= n && used > 0);
        at += used;
        if (r == 1) {
            check_frame(&f, shapes[found].head, shapes[found].payload, shapes[found].nfds);
            found++;
        }
    }
    assert_int_equal(found, ARRAY_SIZE(shapes));
    assert_true(frame_parser_idle(&p));
    frame_parser_fini(&p);
}

static void test_any_cut_gives_the_same_frames(void **state)
{
    (void)state;
    for (size_t step = 1; step < 40; step++)
        parse_in_steps(step);
    parse_in_steps(1000000);
}

static int parse_prefix(uint32_t head, uint32_t payload, uint32_t nfds)
{
    struct frame_parser p = FRAME_PARSER_NULL;
    uint32_t prefix[3] = {head, payload, nfds};
    struct frame f;
    size_t used;
    int r = frame_parse(&p, prefix, sizeof(prefix), &used, &f);

    if (r < 0) { /* nothing reserved, and it stays so */
        assert_null(p.frame.data);
        assert_int_equal(frame_parse(&p, "x", 1, &used, &f), r);
    }
    frame_parser_fini(&p);
    return r;
}

static void test_bounds_before_memory(void **state)
{
    (void)state;
    assert_int_equal(parse_prefix(1, 0, 0), 0);
    assert_int_equal(parse_prefix(PROTO_HEAD_MAX_BYTES, PROTO_PAYLOAD_MAX_BYTES, PROTO_FDS_MAX), 0);
    assert_int_equal(parse_prefix(0, 0, 0), -EPROTO);
    assert_int_equal(parse_prefix(PROTO_HEAD_MAX_BYTES + 1, 0, 0), -EPROTO);
    assert_int_equal(parse_prefix(1, PROTO_PAYLOAD_MAX_BYTES + 1, 0), -EPROTO);
    assert_int_equal(parse_prefix(1, 0, PROTO_FDS_MAX + 1), -EPROTO);
    assert_int_equal(parse_prefix(UINT32_MAX, UINT32_MAX, UINT32_MAX), -EPROTO);
}

static void test_room_takes_the_rest(void **state)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    struct frame_parser p = FRAME_PARSER_NULL;
    struct frame f;
    size_t used;
    void *at;

    (void)state;
    add_frame(&b, 10, 5000, 0);
    assert_int_equal(frame_parser_room(&p, &at), 0);
    assert_int_equal(frame_parse(&p, b.s, 20, &used, &f), 0);
    assert_int_equal(used, 20);
    assert_int_equal(frame_parser_room(&p, &at), b.len - 20);
    memcpy(at, b.s + 20, 100);
    assert_int_equal(frame_parser_filled(&p, 100, &f), 0);
    assert_int_equal(frame_parser_room(&p, &at), b.len - 120);
    memcpy(at, b.s + 120, b.len - 120);
    assert_int_equal(frame_parser_filled(&p, b.len - 120, &f), 1);
    check_frame(&f, 10, 5000, 0);
    assert_true(frame_parser_idle(&p));
}

static void test_frames_too_large_are_not_written(void **state)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    _cleanup_(freep) char *big = calloc(1, PROTO_PAYLOAD_MAX_BYTES + 1);
    size_t at = frame_begin(&b);

    (void)state;
    frame_end_head(&b, at);
    assert_int_equal(frame_end(&b, at, 0), -EMSGSIZE); /* no head */
    str_addn(&b, big, PROTO_HEAD_MAX_BYTES + 1);
    frame_end_head(&b, at);
    assert_int_equal(frame_end(&b, at, 0), -EMSGSIZE);
    str_clear(&b);
    at = frame_begin(&b);
    str_addn(&b, "h", 1);
    frame_end_head(&b, at);
    assert_int_equal(frame_end(&b, at, PROTO_FDS_MAX + 1), -EMSGSIZE);
    str_addn(&b, big, PROTO_PAYLOAD_MAX_BYTES);
    assert_int_equal(frame_end(&b, at, PROTO_FDS_MAX), 0);
    str_addn(&b, big, 1);
    assert_int_equal(frame_end(&b, at, 0), -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut_gives_the_same_frames),
        cmocka_unit_test(test_bounds_before_memory),
        cmocka_unit_test(test_room_takes_the_rest),
        cmocka_unit_test(test_frames_too_large_are_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
