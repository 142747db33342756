/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* proto/base: tables, strings, log lines. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "proto/base/table.h"

struct item {
    struct table_node node;
    uint64_t key;
    bool seen;
};

static bool item_eq(const struct table_node *node, const void *key)
{
    return container_of(node, struct item, node)->key == *(const uint64_t *)key;
}

static struct item *item_find(const struct table *t, uint64_t key, uint64_t hash)
{
    struct table_node *n = table_find(t, hash, item_eq, &key);

    return n ? container_of(n, struct item, node) : NULL;
}

#define ITEMS 5000u

static void test_table_finds_what_it_holds(void **state)
{
    static struct item items[ITEMS];
    struct table t = TABLE_NULL;
    size_t count = 0;

    (void)state;
    assert_null(item_find(&t, 1, table_hash_u64(1)));
    assert_null(table_next(&t, NULL));
    table_del(&t, &items[0].node);
    for (uint64_t i = 0; i < ITEMS; i++) {
        items[i].key = i;
        assert_int_equal(table_add(&t, &items[i].node, table_hash_u64(i)), 0);
    }
    for (uint64_t i = 0; i < ITEMS; i++)
        assert_ptr_equal(item_find(&t, i, table_hash_u64(i)), &items[i]);
    assert_null(item_find(&t, ITEMS, table_hash_u64(ITEMS)));
    for (uint64_t i = 0; i < ITEMS; i += 2)
        table_del(&t, &items[i].node);
    table_del(&t, &items[0].node); /* absent: no-op */
    assert_int_equal(t.count, ITEMS / 2);
    for (struct table_node *n = table_next(&t, NULL), *next; n; n = next) {
        struct item *it = container_of(n, struct item, node);
        next = table_next(&t, n);
        assert_false(it->seen);
        assert_int_equal(it->key % 2, 1);
        it->seen = true;
        table_del(&t, n);
        count++;
    }
    assert_int_equal(count, ITEMS / 2);
    assert_int_equal(t.count, 0);
    table_fini(&t);
    table_fini(&t);
}

static void test_table_of_one_hash(void **state)
{
    static struct item items[100];
    struct table t = TABLE_NULL;

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        items[i].key = i;
        assert_int_equal(table_add(&t, &items[i].node, 7), 0);
    }
    for (uint64_t i = 0; i < 100; i++) {
        assert_ptr_equal(item_find(&t, i, 7), &items[i]);
        table_del(&t, &items[i].node);
        assert_null(item_find(&t, i, 7));
    }
    table_fini(&t);
}

static void test_hashes_depend_on_every_byte(void **state)
{
    char a[40] = {0};

    (void)state;
    for (size_t len = 0; len < sizeof(a); len++) {
        uint64_t h = table_hash_bytes(a, len);
        assert_true(h == table_hash_bytes(a, len));
        if (len > 0)
            assert_true(h != table_hash_bytes(a, len - 1));
        for (size_t i = 0; i < len; i++) {
            a[i] = 1;
            assert_true(h != table_hash_bytes(a, len));
            a[i] = 0;
        }
    }
    assert_true(table_hash_u64(1) != table_hash_u64(2));
}

static void test_str_grows(void **state)
{
    _cleanup_(str_fini) struct str b = STR_NULL;

    (void)state;
    assert_int_equal(str_addn(&b, NULL, 0), 0);
    assert_string_equal(b.s, "");
    for (int i = 0; i < 1000; i++)
        assert_int_equal(str_addf(&b, "%d,", i), 0);
    assert_int_equal(b.len, strlen(b.s));
    assert_true(str_starts(b.s, "0,1,2,"));
    str_clear(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(str_add(&b, "abc"), 0);
    assert_string_equal(b.s, "abc");
    assert_int_equal(str_reserve(&b, SIZE_MAX), -ENOMEM);
    assert_int_equal(str_reserve(&b, SIZE_MAX / 2), -ENOMEM);
    assert_string_equal(b.s, "abc");
    str_wipe(&b);
    assert_null(b.s);
}

static void test_utf8(void **state)
{
    static const char *const good[] = {"", "abc", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                       "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82",
        "a\xf0\x9f\x98", "\xc3(",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(str_utf8_ok(good[i], strlen(good[i])));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(str_utf8_ok(bad[i], strlen(bad[i])));
    assert_false(str_utf8_ok("a\0b", 3));
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        int r;
        uint64_t v;
    } rows[] = {
        {"0", 0, 0}, {"123", 0, 123}, {"123B", 0, 123}, {"64K", 0, 65536}, {"64k", 0, 65536},
        {"64KiB", 0, 65536}, {"64KB", 0, 65536}, {"1G", 0, 1ULL << 30}, {"2T", 0, 2ULL << 40},
        {"15E", 0, 15ULL << 60}, {"16E", -ERANGE, 0}, {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0}, {"", -EINVAL, 0}, {"K", -EINVAL, 0},
        {"1X", -EINVAL, 0}, {"1Ki", -EINVAL, 0}, {"1 K", -EINVAL, 0}, {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0}, {" 1", -EINVAL, 0}, {"1.5G", -EINVAL, 0}, {"1KK", -EINVAL, 0},
    };
    uint64_t v;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        v = 0;
        assert_int_equal(str_to_size(rows[i].text, &v), rows[i].r);
        assert_true(v == rows[i].v);
    }
    assert_int_equal(str_to_u64("755", 8, &v), 0);
    assert_int_equal(v, 0755);
    assert_int_equal(str_to_u64("9", 8, &v), -EINVAL);
    assert_int_equal(str_to_u64("Ff", 16, &v), 0);
    assert_int_equal(v, 255);
    assert_int_equal(str_to_u64("0x10", 16, &v), -EINVAL);
    assert_int_equal(str_to_u64("1x", 10, &v), -EINVAL);
    assert_int_equal(str_to_u64("99999999999999999999", 10, &v), -ERANGE);
}

static void test_small_helpers(void **state)
{
    _cleanup_(freep) char *s = str_dup_printf("%s-%d", "a", 5);
    char hex[7];

    (void)state;
    assert_string_equal(s, "a-5");
    assert_int_equal(str_hex("\x00\xab\xff", 3, hex, sizeof(hex)), 0);
    assert_string_equal(hex, "00abff");
    assert_int_equal(str_hex("\x00\xab\xff", 3, hex, 6), -ERANGE);
    assert_int_equal(str_hex("", 0, hex, 0), -ERANGE);
    for (int c = 0, n = 0; c < 256; c++) {
        const char *digit = c ? strchr("0123456789abcdefABCDEF", c) : NULL;
        n += digit != NULL;
        assert_int_equal(str_hex_digit((char)c), !digit ? -1 : n <= 10 ? c - '0' : (c & 7) + 9);
    }
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq("", NULL));
    assert_true(str_eq("x", "x"));
    assert_true(range_ok(INT64_MAX, 0));
    assert_false(range_ok(INT64_MAX, 1));
    assert_false(range_ok(1ULL << 63, 0));
}

static void test_escapes(void **state)
{
    char longer[2000];

    (void)state;
    assert_string_equal(log_esc("plain \xc3\xa9"), "plain \xc3\xa9");
    assert_string_equal(log_esc("a\nb\x1b[m"), "a\\x0ab\\x1b[m");
    assert_string_equal(log_esc("\"'\\"), "\\x22\\x27\\x5c");
    assert_string_equal(log_esc("\xff\xc3"), "\\xff\\xc3");
    assert_string_equal(log_esc("\xc2\x9b"), "\\xc2\\x9b"); /* C1: CSI */
    assert_string_equal(log_escn("a\0b", 3), "a\\x00b");
    assert_string_equal(log_esc(NULL), "(none)");
    memset(longer, '\n', sizeof(longer));
    assert_true(strlen(log_escn(longer, sizeof(longer))) < LOG_ESC_BYTES);
    memset(longer, 'x', sizeof(longer));
    assert_true(strlen(log_escn(longer, sizeof(longer))) < LOG_ESC_BYTES);
    const char *one = log_esc("1"), *two = log_esc("2");
    assert_string_equal(one, "1");
    assert_string_equal(two, "2");
}

/* What one call of log_write() writes to stderr. */
static void capture(char *out, size_t size, const char *text)
{
    int p[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    assert_int_equal(pipe(p), 0);
    dup2(p[1], STDERR_FILENO);
    errno = 33;
    log_info("topic", "%s", text);
    assert_int_equal(errno, 33);
    dup2(saved, STDERR_FILENO);
    n = read(p[0], out, size - 1);
    assert_true(n > 0);
    out[n] = '\0';
    close(p[0]);
    close(p[1]);
    close(saved);
}

static void test_log_lines_are_one_line(void **state)
{
    char out[8192], longer[5000];

    (void)state;
    log_open("tester", false);
    capture(out, sizeof(out), "hello");
    assert_non_null(strstr(out, " tester["));
    assert_non_null(strstr(out, " info topic: hello\n"));
    assert_int_equal(out[4], '-');
    assert_int_equal(out[10], 'T');
    assert_int_equal(out[23], 'Z');
    capture(out, sizeof(out), "forged\nline\x1b");
    assert_non_null(strstr(out, "forged?line?\n"));
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    capture(out, sizeof(out), longer);
    assert_true(strlen(out) <= 2048);
    assert_int_equal(out[strlen(out) - 1], '\n');
}

static void test_debug_topics(void **state)
{
    (void)state;
    log_set_debug("block,http");
    assert_true(log_debug_on("block"));
    assert_true(log_debug_on("http"));
    assert_false(log_debug_on("htt"));
    assert_false(log_debug_on("lock"));
    assert_false(log_debug_on("all"));
    log_set_debug("all");
    assert_true(log_debug_on("anything"));
    log_set_debug("");
    assert_false(log_debug_on("block"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_finds_what_it_holds),
        cmocka_unit_test(test_table_of_one_hash),
        cmocka_unit_test(test_hashes_depend_on_every_byte),
        cmocka_unit_test(test_str_grows),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_small_helpers),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_log_lines_are_one_line),
        cmocka_unit_test(test_debug_topics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
