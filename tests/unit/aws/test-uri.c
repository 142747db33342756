/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Every byte of a key goes out as S3 spells it and comes back; endpoints are parsed strictly. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/aws/uri.h"

static void test_every_byte_is_encoded_as_signed(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 256; i++) {
        static const char plain[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        char c = (char)i, want[4] = {c, 0};
        struct str key = STR_NULL, query = STR_NULL;
        if (!strchr(plain, c))
            snprintf(want, sizeof(want), "%%%02X", i);
        assert_int_equal(uri_encode(&query, &c, 1), 0);
        assert_string_equal(query.s, want);
        assert_int_equal(uri_encode_key(&key, &c, 1), 0);
        assert_string_equal(key.s, c == '/' ? "/" : want);

        for (int plus = 0; plus < 2; plus++) {
            char *back;
            size_t len;
            assert_int_equal(uri_decode(query.s, query.len, plus, 1, &back, &len), 0);
            assert_int_equal(len, 1);
            assert_int_equal((unsigned char)back[0], i);
            free(back);
        }
        str_fini(&key);
        str_fini(&query);
    }
}

static void test_a_long_key_is_encoded_in_full(void **state)
{
    (void)state;
    enum { LEN = 5000 };
    char *key = malloc(LEN + 1), *back;
    struct str out = STR_NULL;
    size_t len;

    assert_non_null(key);
    for (size_t i = 0; i < LEN; i++)
        key[i] = (char)(1 + i % 255);
    key[LEN] = '\0';
    assert_int_equal(uri_encode(&out, key, LEN), 0);
    assert_int_equal(uri_decode(out.s, out.len, false, LEN, &back, &len), 0);
    assert_int_equal(len, LEN);
    assert_memory_equal(back, key, LEN + 1);
    free(back);
    assert_int_equal(uri_decode(out.s, out.len, false, LEN - 1, &back, &len), -E2BIG);
    str_fini(&out);
    free(key);
}

static void test_nothing_is_normalised(void **state)
{
    (void)state;
    static const struct {
        const char *bucket, *key, *want;
    } rows[] = {
        {NULL, "a//b/../c/./d", "/a//b/../c/./d"},
        {NULL, "/lead", "//lead"},
        {NULL, "", "/"},
        {NULL, NULL, "/"},
        {"bucket", NULL, "/bucket"},
        {"bucket", "", "/bucket"},
        {"bucket", "dir/", "/bucket/dir/"},
        {"bucket", "a b+c=d&e?f#g%41", "/bucket/a%20b%2Bc%3Dd%26e%3Ff%23g%2541"},
        {NULL, "caf\xc3\xa9/\x01\n", "/caf%C3%A9/%01%0A"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct str out = STR_NULL;
        assert_int_equal(uri_path(&out, rows[i].bucket, rows[i].key), 0);
        assert_string_equal(out.s, rows[i].want);
        str_fini(&out);
    }
}

static void test_decoding_is_strict_and_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool plus;
        size_t max;
        int r;
        const char *want;
    } rows[] = {
        {"a%2Fb", false, 10, 0, "a/b"},     {"a%2fb", false, 10, 0, "a/b"},
        {"a+b", false, 10, 0, "a+b"},       {"a+b", true, 10, 0, "a b"},
        {"%2B+", true, 10, 0, "+ "},        {"", true, 0, 0, ""},
        {"%", false, 10, -EINVAL, NULL},    {"%4", false, 10, -EINVAL, NULL},
        {"%4g", false, 10, -EINVAL, NULL},  {"100%", false, 10, -EINVAL, NULL},
        {"%%41", false, 10, -EINVAL, NULL}, {"a%00b", false, 10, -EILSEQ, NULL},
        {"abc", false, 2, -E2BIG, NULL},    {"%41%42", false, 2, 0, "AB"},
        {"%41%42", false, 1, -E2BIG, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *out = NULL;
        size_t len = 0;
        int r = uri_decode(rows[i].in, strlen(rows[i].in), rows[i].plus, rows[i].max, &out, &len);
        assert_int_equal(r, rows[i].r);
        if (rows[i].want) {
            assert_string_equal(out, rows[i].want);
            assert_int_equal(len, strlen(rows[i].want));
        } else {
            assert_null(out);
        }
        free(out);
    }
    char *out = NULL;
    size_t len;
    assert_int_equal(uri_decode("a\0b", 3, false, 9, &out, &len), -EILSEQ);
    assert_int_equal(uri_decode("%414", 2, false, 9, &out, &len), -EINVAL); /* cut inside */
}

static void test_query_is_sorted_by_encoded_name_then_value(void **state)
{
    (void)state;
    struct uri_query q = URI_QUERY_NULL;
    struct str out = STR_NULL;

    assert_int_equal(uri_query_build(&q, &out), 0);
    assert_null(out.s);
    assert_int_equal(uri_query_add(&q, "prefix", "a b/c+d"), 0);
    assert_int_equal(uri_query_add(&q, "uploads", NULL), 0);
    assert_int_equal(uri_query_add(&q, "a", "2"), 0);
    assert_int_equal(uri_query_add(&q, "a", "10"), 0);
    assert_int_equal(uri_query_add(&q, "a-", "x"), 0);
    assert_int_equal(uri_query_add(&q, "\xc3\xa4", "y"), 0); /* %C3… sorts before letters */
    assert_int_equal(uri_query_add(&q, "Z", ""), 0);
    assert_int_equal(uri_query_add(&q, "delimiter", "/"), 0);
    assert_int_equal(uri_query_add(&q, "list-type", "2"), 0);
    assert_int_equal(uri_query_build(&q, &out), 0);
    assert_string_equal(out.s, "%C3%A4=y&Z=&a=10&a=2&a-=x&delimiter=%2F&list-type=2&"
                               "prefix=a%20b%2Fc%2Bd&uploads=");
    str_fini(&out);
    uri_query_fini(&q);
}

static void test_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        unsigned port;
        bool tls;
        const char *authority, *labelled;
    } good[] = {
        {"http://127.0.0.1:9000", "127.0.0.1", 9000, false, "127.0.0.1:9000", "b.127.0.0.1:9000"},
        {"https://S3.Example.COM", "s3.example.com", 443, true, "s3.example.com",
         "b.s3.example.com"},
        {"HTTPS://s3.example.com.:443/", "s3.example.com", 443, true, "s3.example.com",
         "b.s3.example.com"},
        {"https://x:80", "x", 80, true, "x:80", "b.x:80"},
        {"http://x:80/", "x", 80, false, "x", "b.x"},
        {"http://[::1]:9000", "::1", 9000, false, "[::1]:9000", "b.[::1]:9000"},
        {"http://[0:0:0::1]", "::1", 80, false, "[::1]", "b.[::1]"},
        {"http://my_host-1", "my_host-1", 80, false, "my_host-1", "b.my_host-1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct uri_endpoint e;
        const char *why = NULL;
        struct str a = STR_NULL, l = STR_NULL;
        assert_int_equal(uri_endpoint_parse(good[i].url, &e, &why), 0);
        assert_string_equal(e.host, good[i].host);
        assert_int_equal(e.port, good[i].port);
        assert_int_equal(e.tls, good[i].tls);
        assert_int_equal(uri_endpoint_authority(&e, NULL, &a), 0);
        assert_string_equal(a.s, good[i].authority);
        assert_int_equal(uri_endpoint_authority(&e, "b", &l), 0);
        assert_string_equal(l.s, good[i].labelled);
        str_fini(&a);
        str_fini(&l);
    }
}

static void test_bad_endpoints_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "s3.example.com",
        "//x",
        "ftp://x",
        "http:/x",
        "http://",
        "http://:80",
        "http://x:",
        "http://x:0",
        "http://x:65536",
        "http://x:80a",
        "http://x:-1",
        "http://x:999999999999",
        "http://x/path",
        "http://x//",
        "http://x?q",
        "http://x#f",
        "http://user@x",
        "http://u:p@x",
        "http://a b",
        "http://a\nb",
        "http://a..b",
        "http://a..",
        "http://.a",
        "http://.",
        "http://[::1",
        "http://[::1]x",
        "http://[zz]",
        "http://[]",
        "http://::1",
        "http://x\\y",
        "http://a%41",
        "http://[::1]:",
        "http://x/]",
        "http://[/]",
        "httpss://x",
        "http://[::1]/x",
        "http://[1111111111111111111111111111111111111111111111111111111111111111111111111]",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct uri_endpoint e;
        const char *why = NULL;
        if (uri_endpoint_parse(bad[i], &e, &why) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
    }
    char url[400] = "http://";
    struct uri_endpoint e;
    const char *why;
    memset(url + 7, 'a', 256);
    assert_int_equal(uri_endpoint_parse(url, &e, &why), -EINVAL);
    url[7 + 255] = '\0';
    assert_int_equal(uri_endpoint_parse(url, &e, &why), 0);
}

static void test_loopback_is_known_in_all_its_spellings(void **state)
{
    (void)state;
    static const char *const yes[] = {"127.0.0.1",       "127.255.3.4",      "::1",
                                      "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost",
                                      "LocalHost",       "minio.localhost"};
    static const char *const no[] = {"128.0.0.1",
                                     "1.127.0.0",
                                     "::2",
                                     "::ffff:10.0.0.1",
                                     "localhost.example.com",
                                     "notlocalhost",
                                     "127.0.0.1.nip.io",
                                     "127",
                                     "",
                                     "localhos",
                                     "::"};
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        assert_true(uri_host_is_loopback(yes[i]));
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        assert_false(uri_host_is_loopback(no[i]));
    assert_true(uri_host_is_address("10.1.2.3"));
    assert_true(uri_host_is_address("fe80::1"));
    assert_false(uri_host_is_address("s3.example.com"));
}

static void test_bucket_names_that_can_be_host_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool ok, dotted;
    } rows[] = {
        {"abc", true, false},
        {"a-b-1", true, false},
        {"my.bucket.name", true, true},
        {"ab", false, false},
        {"Abc", false, false},
        {"a_b", false, false},
        {"-abc", false, false},
        {"abc-", false, false},
        {".abc", false, false},
        {"abc.", false, false},
        {"a..b", false, false},
        {"a.-b", false, false},
        {"a-.b", false, false},
        {"10.1.2.3", false, false},
        {"1.2.3", true, true},
        {"a/b/c", false, false},
        {"a b", false, false},
        {"", false, false},
        {"0123456789012345678901234567890123456789012345678901234567890123", false, false},
        {"012345678901234567890123456789012345678901234567890123456789012", true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bool dotted = false;
        assert_int_equal(uri_bucket_is_dns(rows[i].name, &dotted), rows[i].ok);
        assert_int_equal(dotted, rows[i].dotted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_is_encoded_as_signed),
        cmocka_unit_test(test_a_long_key_is_encoded_in_full),
        cmocka_unit_test(test_nothing_is_normalised),
        cmocka_unit_test(test_decoding_is_strict_and_bounded),
        cmocka_unit_test(test_query_is_sorted_by_encoded_name_then_value),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_bad_endpoints_are_refused_with_a_reason),
        cmocka_unit_test(test_loopback_is_known_in_all_its_spellings),
        cmocka_unit_test(test_bucket_names_that_can_be_host_names),
    };
    return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}
