/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Bounded reading: truncation at every byte, counts that promise gigabytes, depth, wrong types, noise. */
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
#include "proto/wire.h"

#define CHECK(depth, ...)                                                                          \
    ({                                                                                             \
        static const uint8_t b_[] = {__VA_ARGS__};                                                 \
        check_exact(b_, sizeof(b_), depth);                                                        \
    })

/* In memory of exactly that size, so that ASan sees a read past the end. */
static int check_exact(const uint8_t *data, size_t len, unsigned depth)
{
    _cleanup_(freep) uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, data, len);
    return wire_check(copy, len, depth);
}

static void test_bombs_are_refused(void **state)
{
    (void)state;
    assert_int_equal(CHECK(4, 0xdf, 0xff, 0xff, 0xff, 0xff), -EPROTO);       /* map32 */
    assert_int_equal(CHECK(4, 0xdf, 0xff, 0xff, 0xff, 0xff, 0x00), -EPROTO);
    assert_int_equal(CHECK(4, 0xdd, 0xff, 0xff, 0xff, 0xff), -EPROTO);       /* array32 */
    assert_int_equal(CHECK(4, 0xdd, 0x00, 0x00, 0x00, 0x02, 0x00), -EPROTO);
    assert_int_equal(CHECK(4, 0xde, 0x00, 0x01, 0x00), -EPROTO);             /* half a pair */
    assert_int_equal(CHECK(4, 0xdb, 0xff, 0xff, 0xff, 0xff, 'a'), -EPROTO);  /* str32 */
    assert_int_equal(CHECK(4, 0xc6, 0xff, 0xff, 0xff, 0xff, 'a'), -EPROTO);  /* bin32 */
    assert_int_equal(CHECK(4, 0x9f, 0x00), -EPROTO);
    assert_int_equal(CHECK(4, 0x8f, 0x00, 0x00), -EPROTO);
}

static void test_depth_is_bounded(void **state)
{
    uint8_t deep[4096];

    (void)state;
    assert_int_equal(CHECK(0, 0x01), 0);
    assert_int_equal(CHECK(0, 0x90), -EPROTO);
    assert_int_equal(CHECK(1, 0x90), 0);
    assert_int_equal(CHECK(1, 0x91, 0x01), 0);
    assert_int_equal(CHECK(1, 0x91, 0x80), -EPROTO);
    assert_int_equal(CHECK(4, 0x91, 0x91, 0x91, 0x91, 0x01), 0);
    assert_int_equal(CHECK(4, 0x91, 0x91, 0x91, 0x91, 0x90), -EPROTO);
    memset(deep, 0x91, sizeof(deep));
    assert_int_equal(check_exact(deep, sizeof(deep), 4), -EPROTO);
    memset(deep, 0x81, sizeof(deep));
    assert_int_equal(check_exact(deep, sizeof(deep), 4), -EPROTO);
}

static void test_only_one_whole_value(void **state)
{
    (void)state;
    assert_int_equal(check_exact((const uint8_t *)"", 0, 4), -EPROTO);
    assert_int_equal(CHECK(4, 0x01, 0x02), -EPROTO);
    assert_int_equal(CHECK(4, 0xc1), -EPROTO);
    for (unsigned c = 0xc7; c <= 0xd8; c++) { /* ext types, but for the numbers between */
        uint8_t ext[20] = {(uint8_t)c, 1};
        if (c < 0xca || c > 0xd3)
            assert_int_equal(check_exact(ext, sizeof(ext), 4), -EPROTO);
    }
    assert_int_equal(CHECK(4, 0xc0), 0);
    assert_int_equal(CHECK(4, 0xc2), 0);
    assert_int_equal(CHECK(4, 0xc3), 0);
    assert_int_equal(CHECK(4, 0xca, 0, 0, 0, 0), 0);
    assert_int_equal(CHECK(4, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0), 0);
}

/* Each type in each of its sizes; cut anywhere it must be refused. */
static void test_truncation_at_every_byte(void **state)
{
    _cleanup_(str_fini) struct str b = STR_NULL;
    static char big[70000];

    (void)state;
    wire_put_array(&b, 16);
    wire_put_u64(&b, 1);
    wire_put_u64(&b, 200);
    wire_put_u64(&b, 60000);
    wire_put_u64(&b, 1ULL << 31);
    wire_put_u64(&b, UINT64_MAX);
    wire_put_i64(&b, -1);
    wire_put_i64(&b, -100);
    wire_put_i64(&b, -30000);
    wire_put_i64(&b, -(1LL << 30));
    wire_put_i64(&b, INT64_MIN);
    wire_put_str(&b, "abc", 3);
    wire_put_str(&b, big, 100);
    wire_put_str(&b, big, 300);
    wire_put_bin(&b, big, 300);
    wire_put_map(&b, 1);
    wire_put_u64(&b, 1);
    wire_put_str(&b, big, sizeof(big));
    wire_put_bin(&b, NULL, 0);
    assert_int_equal(wire_check(b.s, b.len, 4), 0);
    for (size_t n = 0; n < b.len; n += n < 1000 || n > b.len - 100 ? 1 : 977)
        assert_int_equal(check_exact((uint8_t *)b.s, n, 4), -EPROTO);
}

static struct wire_reader reader_of(const struct str *b)
{
    return (struct wire_reader){(const uint8_t *)b->s, (const uint8_t *)b->s + b->len};
}

static void test_numbers_round_trip(void **state)
{
    static const uint64_t unsigneds[] = {0, 1, 127, 128, 255, 256, 65535, 65536, UINT32_MAX,
                                         1ULL << 32, INT64_MAX, 1ULL << 63, UINT64_MAX};
    static const int64_t signeds[] = {0, 1, -1, -32, -33, -128, -129, -32768, -32769,
                                      INT32_MIN, INT32_MIN - 1LL, INT64_MIN, INT64_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(unsigneds); i++) {
        _cleanup_(str_fini) struct str b = STR_NULL;
        uint64_t v;
        assert_int_equal(wire_put_u64(&b, unsigneds[i]), 0);
        struct wire_reader r = reader_of(&b);
        assert_int_equal(wire_get_u64(&r, &v), 0);
        assert_true(v == unsigneds[i] && r.p == r.end);
    }
    for (size_t i = 0; i < ARRAY_SIZE(signeds); i++) {
        _cleanup_(str_fini) struct str b = STR_NULL;
        int64_t v;
        assert_int_equal(wire_put_i64(&b, signeds[i]), 0);
        struct wire_reader r = reader_of(&b);
        assert_int_equal(wire_get_i64(&r, &v), 0);
        assert_true(v == signeds[i] && r.p == r.end);
    }
}

#define READER(name, ...)                                                                          \
    static const uint8_t name##_bytes[] = {__VA_ARGS__};                                           \
    struct wire_reader name = {name##_bytes, name##_bytes + sizeof(name##_bytes)}

static void test_long_forms_are_read(void **state)
{
    READER(u, 0xcf, 0, 0, 0, 0, 0, 0, 0, 5);
    READER(s, 0xd3, 0, 0, 0, 0, 0, 0, 0, 5); /* signed type, positive value */
    READER(neg, 0xd0, 0x80);
    READER(big, 0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0);
    READER(txt, 0xdb, 0, 0, 0, 2, 'h', 'i');
    uint64_t v;
    int64_t i;
    const char *p;
    size_t n;

    (void)state;
    assert_int_equal(wire_get_u64(&u, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(wire_get_u64(&s, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(wire_get_u64(&neg, &v), -EPROTO);
    assert_int_equal(wire_get_i64(&neg, &i), 0);
    assert_int_equal(i, -128);
    assert_int_equal(wire_get_i64(&big, &i), -EPROTO);
    assert_int_equal(wire_get_str(&txt, &p, &n), 0);
    assert_int_equal(n, 2);
    assert_memory_equal(p, "hi", 2);
}

static void test_a_failed_get_moves_nothing(void **state)
{
    READER(r, 0xa3, 'a', 'b'); /* one byte short */
    const uint8_t *before = r.p;
    const char *p;
    const void *q;
    uint64_t v;
    int64_t i;
    uint32_t c;
    size_t n;

    (void)state;
    assert_int_equal(wire_get_str(&r, &p, &n), -EPROTO);
    assert_int_equal(wire_get_bin(&r, &q, &n), -EPROTO);
    assert_int_equal(wire_get_u64(&r, &v), -EPROTO);
    assert_int_equal(wire_get_i64(&r, &i), -EPROTO);
    assert_int_equal(wire_get_array(&r, &c), -EPROTO);
    assert_int_equal(wire_get_map(&r, &c), -EPROTO);
    assert_int_equal(wire_skip(&r, 4), -EPROTO);
    assert_ptr_equal(r.p, before);
    r.p = r.end;
    assert_int_equal(wire_get_u64(&r, &v), -EPROTO);
}

static void test_counts_are_checked_against_the_rest(void **state)
{
    READER(a, 0xdc, 0x00, 0x03, 1, 2);
    READER(b, 0xde, 0x00, 0x02, 1, 2, 3);
    uint32_t n;

    (void)state;
    assert_int_equal(wire_get_array(&a, &n), -EPROTO);
    assert_int_equal(wire_get_map(&b, &n), -EPROTO);
}

/* Random bytes and damaged messages: any answer, no crash, and a skip never passes the end. */
static void test_noise(void **state)
{
    unsigned seed = 12345;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        uint8_t b[24];
        size_t len = (size_t)rand_r(&seed) % sizeof(b);

        for (size_t i = 0; i < len; i++)
            b[i] = (uint8_t)(rand_r(&seed) >> 7);
        struct wire_reader r = {b, b + len};
        if (wire_skip(&r, 4) == 0)
            assert_true(r.p > b && r.p <= b + len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bombs_are_refused),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_only_one_whole_value),
        cmocka_unit_test(test_truncation_at_every_byte),
        cmocka_unit_test(test_numbers_round_trip),
        cmocka_unit_test(test_long_forms_are_read),
        cmocka_unit_test(test_a_failed_get_moves_nothing),
        cmocka_unit_test(test_counts_are_checked_against_the_rest),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
