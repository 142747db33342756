/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Every row of messages.tbl, generically: round trips, limits, truncation. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/msg.h"
#include "proto/wire.h"

#define STRUCT_MAX 1024

static char filler[PROTO_SECRET_MAX_BYTES + 1];

typedef void layout_fn(const struct msg_info *info, const struct msg_layout *l);

static void for_each_layout(layout_fn *fn)
{
    unsigned rows = 0;

    for (uint64_t id = 0; id < 70000; id++) {
        const struct msg_info *info = msg_info(id);
        assert_true((info != NULL) == (msg_layout(id, false) != NULL));
        if (!info)
            continue;
        assert_int_equal(info->method, id);
        fn(info, msg_layout(id, false));
        fn(info, msg_layout(id, true));
        rows++;
    }
    assert_true(rows >= 33);
}

/* Every field at its limit (or huge), or just past it where there is one. */
static void fill(const struct msg_layout *l, char *m, const struct msg_field *past)
{
    memset(m, 0, l->struct_bytes);
    for (size_t i = 0; i < l->count; i++) {
        const struct msg_field *f = &l->fields[i];
        uint64_t v = (f->limit ? f->limit : 1ULL << 63) + (f == past);
        struct msg_attr attr = {UINT64_MAX, 3, 0100644, 4, UINT32_MAX, 6, INT64_MAX, 8,
                                INT64_MIN, -1, INT64_MAX, 12};

        if (f->type == MSG_TYPE_ATTR)
            memcpy(m + f->offset, &attr, sizeof(attr));
        else if (f->type == MSG_TYPE_U64 || f->type == MSG_TYPE_I64)
            memcpy(m + f->offset, &v, sizeof(v));
        else
            memcpy(m + f->offset, &(struct msg_str){filler, v}, sizeof(struct msg_str));
    }
}

static void assert_same(const struct msg_layout *l, const char *a, const char *b)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct msg_field *f = &l->fields[i];
        if (f->type == MSG_TYPE_STR || f->type == MSG_TYPE_BIN) {
            const struct msg_str *x = (const void *)(a + f->offset);
            const struct msg_str *y = (const void *)(b + f->offset);
            assert_int_equal(x->len, y->len);
            assert_memory_equal(x->s, y->s, x->len);
        } else {
            assert_memory_equal(a + f->offset, b + f->offset,
                                f->type == MSG_TYPE_ATTR ? sizeof(struct msg_attr) : 8);
        }
    }
}

static int unpack_exact(const struct str *b, size_t len, const struct msg_layout *l, void *ret)
{
    static uint8_t *copy; /* kept until the next call: strings point into it */

    free(copy);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, b->s, len);
    int r = msg_unpack(copy, len, l, ret);
    if (r < 0 || len == 0) {
        free(copy);
        copy = NULL;
    }
    return r;
}

static void round_trip(const struct msg_info *info, const struct msg_layout *l)
{
    _cleanup_(str_fini) struct str b = STR_NULL, head = STR_NULL;
    char m[STRUCT_MAX], back[STRUCT_MAX];

    assert_true(l->struct_bytes <= STRUCT_MAX);
    fill(l, m, NULL);
    assert_int_equal(msg_pack(&b, l, m), 0);
    assert_int_equal(wire_check(b.s, b.len, 2), 0);
    assert_int_equal(msg_unpack(b.s, b.len, l, back), 0);
    assert_same(l, m, back);
    for (size_t n = 0; n < b.len; n += n < 300 || n > b.len - 50 ? 1 : 1009)
        assert_int_equal(unpack_exact(&b, n, l, back), -EPROTO);
    /* The largest message of its kind fits into a head. */
    assert_int_equal(msg_request_pack(&head, UINT32_MAX, info->method, &b, UINT64_MAX), 0);
    assert_true(head.len <= PROTO_HEAD_MAX_BYTES);
}

static void test_every_message_round_trips(void **state)
{
    (void)state;
    for_each_layout(round_trip);
}

static void zero_trip(const struct msg_info *info, const struct msg_layout *l)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    char m[STRUCT_MAX] = {0}, back[STRUCT_MAX];

    (void)info;
    assert_int_equal(msg_pack(&b, l, m), 0);
    assert_int_equal(b.len, 1); /* the empty map */
    memset(back, 0xff, sizeof(back));
    assert_int_equal(msg_unpack(b.s, b.len, l, back), 0);
    for (size_t i = 0; i < l->struct_bytes; i++)
        assert_int_equal(back[i], 0);
}

static void test_absent_fields_read_as_zero(void **state)
{
    (void)state;
    for_each_layout(zero_trip);
}

static void past_limits(const struct msg_info *info, const struct msg_layout *l)
{
    struct msg_field fields[64];
    const struct msg_layout lax = {fields, l->count, l->struct_bytes};
    char m[STRUCT_MAX], back[STRUCT_MAX];

    (void)info;
    memcpy(fields, l->fields, l->count * sizeof(*fields));
    for (size_t i = 0; i < l->count; i++)
        fields[i].limit = 0;
    for (size_t i = 0; i < l->count; i++) {
        _cleanup_(str_fini) struct str b = STR_NULL;

        if (l->fields[i].limit == 0)
            continue;
        fill(l, m, &l->fields[i]);
        assert_int_equal(str_add(&b, "before"), 0);
        assert_int_equal(msg_pack(&b, l, m), -EINVAL);
        assert_int_equal(b.len, 6); /* taken back */
        str_clear(&b);
        assert_int_equal(msg_pack(&b, &lax, m), 0);
        assert_int_equal(msg_unpack(b.s, b.len, l, back), -EPROTO);
    }
}

static void test_limits_hold_on_both_sides(void **state)
{
    (void)state;
    for_each_layout(past_limits);
}

static void table_sane(const struct msg_info *info, const struct msg_layout *l)
{
    unsigned last = 0;

    for (size_t i = 0; i < l->count; i++) {
        assert_true(l->fields[i].number > last && l->fields[i].number < 64);
        last = l->fields[i].number;
        if (l->fields[i].type == MSG_TYPE_STR || l->fields[i].type == MSG_TYPE_BIN)
            assert_true(l->fields[i].limit > 0 && l->fields[i].limit <= sizeof(filler) - 1);
    }
    if (info->replay == MSG_REPLAY_ONEWAY)
        assert_int_equal(msg_layout(info->method, true)->count, 0);
}

static void test_table_is_sane(void **state)
{
    (void)state;
    for_each_layout(table_sane);
    assert_null(msg_info(0));
    assert_null(msg_info(UINT64_MAX));
}

static int unpack_lookup(const void *bytes, size_t len)
{
    struct msg_lookup_req m;

    return msg_unpack_lookup_req(bytes, len, &m);
}
#define LOOKUP(...)                                                                                \
    ({                                                                                             \
        static const uint8_t b_[] = {__VA_ARGS__};                                                 \
        unpack_lookup(b_, sizeof(b_));                                                             \
    })

static void test_field_maps_are_strict(void **state)
{
    (void)state;
    assert_int_equal(LOOKUP(0x82, 1, 7, 2, 0xa1, 'a'), 0);
    assert_int_equal(LOOKUP(0x82, 2, 0xa1, 'a', 1, 7), 0);               /* any order */
    assert_int_equal(LOOKUP(0x82, 1, 7, 60, 0x91, 0x91, 1), 0);          /* unknown field */
    assert_int_equal(LOOKUP(0x82, 1, 7, 0xcd, 0xff, 0xff, 0xc0), 0);     /* unknown, large */
    assert_int_equal(LOOKUP(0x82, 1, 7, 1, 8), -EPROTO);                 /* twice */
    assert_int_equal(LOOKUP(0x82, 60, 7, 60, 8), -EPROTO);               /* unknown twice */
    assert_int_equal(LOOKUP(0x81, 0xff, 7), -EPROTO);                    /* negative key */
    assert_int_equal(LOOKUP(0x81, 0xa1, 'x', 7), -EPROTO);               /* text key */
    assert_int_equal(LOOKUP(0x81, 1, 0xa1, 'a'), -EPROTO);               /* wrong type */
    assert_int_equal(LOOKUP(0x81, 1, 0xff), -EPROTO);                    /* negative */
    assert_int_equal(LOOKUP(0x81, 2, 0xc4, 1, 'a'), -EPROTO);            /* bin for str */
    assert_int_equal(LOOKUP(0x81, 1, 7, 0), -EPROTO);                    /* bytes behind */
    assert_int_equal(LOOKUP(0x91, 1), -EPROTO);                          /* no map */
}

static void test_too_many_fields(void **state)
{
    _cleanup_(str_fini) struct str b = STR_NULL;

    (void)state;
    wire_put_map(&b, PROTO_FIELDS_MAX + 1);
    for (uint64_t i = 0; i <= PROTO_FIELDS_MAX; i++) {
        wire_put_u64(&b, 1000 + i);
        wire_put_u64(&b, 0);
    }
    assert_int_equal(unpack_lookup(b.s, b.len), -EPROTO);
}

static int attr_reply(const struct msg_attr *attr, uint32_t count)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    struct msg_getattr_rep rep;
    const uint64_t *v = (const uint64_t *)attr;

    wire_put_map(&b, 1);
    wire_put_u64(&b, 1);
    wire_put_array(&b, count);
    for (uint32_t i = 0; i < count; i++) {
        if (i >= 8 && i <= 10)
            wire_put_i64(&b, (int64_t)v[i]);
        else
            wire_put_u64(&b, i < 12 ? v[i] : 0);
    }
    return msg_unpack_getattr_rep(b.s, b.len, &rep);
}

static void test_attributes_are_bounded(void **state)
{
    const struct msg_attr good = {.ino = 1, .mode = 0100644, .nlink = 1, .size = INT64_MAX};
    struct msg_attr bad;

    (void)state;
    assert_int_equal(attr_reply(&good, 12), 0);
    assert_int_equal(attr_reply(&good, 11), -EPROTO);
    assert_int_equal(attr_reply(&good, 13), -EPROTO);
    bad = good, bad.size = 1ULL << 63;
    assert_int_equal(attr_reply(&bad, 12), -EPROTO);
    bad = good, bad.mode = 0200000;
    assert_int_equal(attr_reply(&bad, 12), -EPROTO);
    bad = good, bad.uid = 1ULL << 32;
    assert_int_equal(attr_reply(&bad, 12), -EPROTO);
    bad = good, bad.nlink = 1ULL << 32;
    assert_int_equal(attr_reply(&bad, 12), -EPROTO);
    bad = good, bad.rdev = 1ULL << 32;
    assert_int_equal(attr_reply(&bad, 12), -EPROTO);
}

static int head(const void *bytes, size_t len)
{
    struct msg_head h;

    return msg_head_unpack(bytes, len, &h);
}
#define HEAD(...)                                                                                  \
    ({                                                                                             \
        static const uint8_t b_[] = {__VA_ARGS__};                                                 \
        head(b_, sizeof(b_));                                                                      \
    })

static void test_heads_are_strict(void **state)
{
    (void)state;
    assert_int_equal(HEAD(0x94, 0, 1, 16, 0x80), 0);
    assert_int_equal(HEAD(0x94, 2, 0xce, 0xff, 0xff, 0xff, 0xff, 0xcd, 0xff, 0xff, 0x80), 0);
    assert_int_equal(HEAD(0x94, 3, 1, 16, 0x80), -EPROTO);                         /* kind */
    assert_int_equal(HEAD(0x94, 0, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0x80), -EPROTO); /* id */
    assert_int_equal(HEAD(0x94, 0, 1, 0xce, 0, 1, 0, 0, 0x80), -EPROTO);           /* method */
    assert_int_equal(HEAD(0x94, 0, 1, 16, 0x90), -EPROTO);                         /* no map */
    assert_int_equal(HEAD(0x93, 0, 1, 16), -EPROTO);
    assert_int_equal(HEAD(0x94, 0, 1, 16, 0x80, 0), -EPROTO);                      /* bytes behind */
    assert_int_equal(HEAD(0x94, 0, 1, 16, 0x81, 1, 0x91, 0x91, 0x90), -EPROTO);    /* depth 5 */
    assert_int_equal(HEAD(0x94, 0, 1, 16, 0xdf, 0xff, 0xff, 0xff, 0xff), -EPROTO);
    assert_int_equal(head("", 0), -EPROTO);
}

static void test_the_fifth_element_is_strict(void **state)
{
    (void)state;
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0), 0);
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0xcf, 0, 0, 0, 0, 0, 0, 0, 7), 0); /* any form */
    assert_int_equal(HEAD(0x95, 1, 1, 16, 0x80, 0), -EPROTO);          /* a reply */
    assert_int_equal(HEAD(0x95, 2, 1, 16, 0x80, 0), -EPROTO);          /* an error */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80), -EPROTO);             /* announced, missing */
    assert_int_equal(HEAD(0x96, 0, 1, 16, 0x80, 0, 0), -EPROTO);       /* six */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0, 0), -EPROTO);       /* bytes behind */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0xcf, 0, 0, 0, 0, 0, 0, 0), -EPROTO); /* cut */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0xff), -EPROTO);       /* negative */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0xc0), -EPROTO);       /* nil */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0xc2), -EPROTO);       /* false */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0xa1, '1'), -EPROTO);  /* text */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0xca, 0, 0, 0, 0), -EPROTO); /* float */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0x80, 0x80), -EPROTO);       /* a map */
    assert_int_equal(HEAD(0x95, 0, 1, 16, 0, 0x80), -EPROTO);          /* in the wrong order */
}

static void test_seq_round_trips(void **state)
{
    static const uint64_t seqs[] = {0, 1, 127, 128, 1ULL << 32, INT64_MAX, UINT64_MAX};
    const struct str fields = {(char *)"\x82\x01\x07\x02\xa1x", 6, 0};
    struct msg_head h;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(seqs); i++) {
        _cleanup_(str_fini) struct str b = STR_NULL;
        assert_int_equal(msg_request_pack(&b, 9, MSG_LOOKUP, &fields, seqs[i]), 0);
        assert_int_equal(msg_head_unpack(b.s, b.len, &h), 0);
        assert_int_equal(h.seq, seqs[i]);
        assert_int_equal(h.kind, MSG_KIND_REQUEST);
        assert_int_equal(h.id, 9);
        assert_int_equal(h.method, MSG_LOOKUP);
        assert_int_equal(h.fields_len, fields.len); /* the seq is none of the fields' bytes */
        assert_memory_equal(h.fields, fields.s, fields.len);
        for (size_t n = 0; n < b.len; n++)
            assert_int_equal(head(b.s, n), -EPROTO);
    }
    memset(&h, 0xff, sizeof(h)); /* of an older client */
    assert_int_equal(msg_head_unpack("\x94\x00\x01\x10\x80", 5, &h), 0);
    assert_int_equal(h.seq, 0);
    assert_int_equal(h.fields_len, 1);
}

static void test_errors(void **state)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    struct msg_str text;
    char longer[2000];
    int error;

    (void)state;
#define ERR(name, number)                                                                          \
    str_clear(&b);                                                                                 \
    assert_true(msg_errno_known(-name));                                                           \
    assert_int_equal(msg_error_pack(&b, -name, #name), 0);                                         \
    assert_int_equal(msg_error_unpack(b.s, b.len, &error, &text), 0);                              \
    assert_int_equal(error, -name);                                                                \
    assert_int_equal(text.len, strlen(#name));
#include "proto/errno.tbl"
#undef ERR
    log_set_stderr(false);
    str_clear(&b);
    assert_false(msg_errno_known(-EDOM));
    assert_int_equal(msg_error_pack(&b, -EDOM, NULL), 0);
    log_set_stderr(true);
    assert_int_equal(msg_error_unpack(b.s, b.len, &error, &text), 0);
    assert_int_equal(error, -EIO);
    assert_int_equal(text.len, 0);
    assert_int_equal(msg_error_unpack("\x81\x01\x63", 3, &error, &text), 0); /* 99: no row */
    assert_int_equal(error, -EIO);
    assert_int_equal(msg_error_unpack("\x80", 1, &error, &text), 0); /* 0 is no success */
    assert_int_equal(error, -EIO);
    memset(longer, 'x', sizeof(longer));
    memcpy(longer + PROTO_TEXT_MAX_BYTES - 1, "\xc3\xa9", 3); /* é across the limit */
    str_clear(&b);
    assert_int_equal(msg_error_pack(&b, -EIO, longer), 0);
    assert_int_equal(msg_error_unpack(b.s, b.len, &error, &text), 0);
    assert_int_equal(text.len, PROTO_TEXT_MAX_BYTES - 1);
}

static void test_dirents(void **state)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    struct msg_dirent e = {.cookie = 3, .attr = {.ino = 5}, .name = msg_str_of("name")}, back;
    struct wire_reader r;

    (void)state;
    assert_int_equal(msg_dirent_pack(&b, &e), 0);
    assert_int_equal(msg_dirent_pack(&b, &e), 0);
    r = (struct wire_reader){(uint8_t *)b.s, (uint8_t *)b.s + b.len};
    assert_int_equal(msg_dirent_unpack(&r, &back), 0);
    assert_int_equal(msg_dirent_unpack(&r, &back), 0);
    assert_int_equal(msg_dirent_unpack(&r, &back), -EPROTO);
    assert_int_equal(back.attr.ino, 5);
    for (size_t n = 0; n < b.len / 2; n++) {
        r = (struct wire_reader){(uint8_t *)b.s, (uint8_t *)b.s + n};
        assert_int_equal(msg_dirent_unpack(&r, &back), -EPROTO);
    }
    e.name = (struct msg_str){filler, PROTO_NAME_MAX_BYTES + 1};
    assert_int_equal(msg_dirent_pack(&b, &e), -EINVAL);
    e.name.len = 0;
    assert_int_equal(msg_dirent_pack(&b, &e), -EINVAL);
    assert_int_equal(MSG_DIRENT_BYTES(1u), 32);
    assert_int_equal(MSG_DIRENTPLUS_BYTES(8u), 160);
}

static void test_str_dup_refuses_nul(void **state)
{
    char *copy = msg_str_dup((struct msg_str){"abc", 2});

    (void)state;
    assert_string_equal(copy, "ab");
    free(copy);
    copy = msg_str_dup((struct msg_str){NULL, 0});
    assert_string_equal(copy, "");
    free(copy);
    assert_null(msg_str_dup((struct msg_str){"a\0b", 3}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_round_trips),
        cmocka_unit_test(test_absent_fields_read_as_zero),
        cmocka_unit_test(test_limits_hold_on_both_sides),
        cmocka_unit_test(test_table_is_sane),
        cmocka_unit_test(test_field_maps_are_strict),
        cmocka_unit_test(test_too_many_fields),
        cmocka_unit_test(test_attributes_are_bounded),
        cmocka_unit_test(test_heads_are_strict),
        cmocka_unit_test(test_the_fifth_element_is_strict),
        cmocka_unit_test(test_seq_round_trips),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_dirents),
        cmocka_unit_test(test_str_dup_refuses_nul),
    };
    memset(filler, 'f', sizeof(filler));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
