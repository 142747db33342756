/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The four examples of AWS's page "Signature Calculations for the Authorization Header" for S3;
 * what they do not reach is compared with botocore in tests/rpc/test_sigv4_botocore.py. */
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
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/aws/sigv4.h"

static const char secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

static struct sigv4_request example(void)
{
    return (struct sigv4_request){
        .method = "GET",
        .host = "examplebucket.s3.amazonaws.com",
        .path = "/",
        .payload_hash = SIGV4_EMPTY_SHA256,
        .time_ns = 1369353600ll * 1000000000, /* 20130524T000000Z */
        .region = "us-east-1",
        .access_key = "AKIAIOSFODNN7EXAMPLE",
        .secret = secret,
        .secret_len = sizeof(secret) - 1,
    };
}

static void expect(const struct sigv4_request *req, const char *names, const char *signature)
{
    struct sigv4_result r = SIGV4_RESULT_NULL;
    char want[1024];

    assert_int_equal(sigv4_sign(req, false, &r), 0);
    assert_null(r.canonical);
    assert_string_equal(r.amz_date, "20130524T000000Z");
    snprintf(want, sizeof(want),
             "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
             "SignedHeaders=%s, Signature=%s",
             names, signature);
    assert_string_equal(r.authorization, want);
    sigv4_result_fini(&r);
}

static void test_get_object_with_range(void **state)
{
    (void)state;
    static const struct sigv4_header headers[] = {{"Range", "bytes=0-9"}};
    struct sigv4_request req = example();
    struct sigv4_result r = SIGV4_RESULT_NULL;
    char hash[DIGEST_SHA256_HEX_SIZE];

    req.path = "/test.txt";
    req.headers = headers;
    req.nheaders = 1;
    expect(&req, "host;range;x-amz-content-sha256;x-amz-date",
           "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

    assert_int_equal(sigv4_sign(&req, true, &r), 0);
    assert_string_equal(
        r.canonical, "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
                     "x-amz-content-sha256:" SIGV4_EMPTY_SHA256 "\nx-amz-date:20130524T000000Z\n\n"
                     "host;range;x-amz-content-sha256;x-amz-date\n" SIGV4_EMPTY_SHA256);
    assert_int_equal(digest_sha256_hex(r.canonical, strlen(r.canonical), hash), 0);
    assert_string_equal(hash, "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
    assert_string_equal(r.string_to_sign,
                        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
                        "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
    sigv4_result_fini(&r);
}

static void test_put_object(void **state)
{
    (void)state;
    static const struct sigv4_header headers[] = {
        {"Date", "Fri, 24 May 2013 00:00:00 GMT"},
        {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
    };
    struct sigv4_request req = example();
    char hash[DIGEST_SHA256_HEX_SIZE];

    assert_int_equal(digest_sha256_hex("Welcome to Amazon S3.", 21, hash), 0);
    req.method = "PUT";
    req.path = "/test%24file.text";
    req.headers = headers;
    req.nheaders = 2;
    req.payload_hash = hash;
    expect(&req, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
           "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void test_valueless_parameter(void **state)
{
    (void)state;
    struct sigv4_request req = example();

    req.query = "lifecycle=";
    expect(&req, "host;x-amz-content-sha256;x-amz-date",
           "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

static void test_list_objects(void **state)
{
    (void)state;
    struct sigv4_request req = example();

    req.query = "max-keys=2&prefix=J";
    expect(&req, "host;x-amz-content-sha256;x-amz-date",
           "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void test_headers_are_sorted_joined_and_trimmed(void **state)
{
    (void)state;
    static const struct sigv4_header headers[] = {
        {"X-Amz-Meta-B", "  two\t  words  "},
        {"x-amz-meta-a", ""},
        {"x-amz-meta-B", "second"},
        {"X-AMZ-meta-a-b", "\t"},
        {"If-Match", "\"a b\""},
    };
    struct sigv4_request req = example();
    struct sigv4_result r = SIGV4_RESULT_NULL;

    req.headers = headers;
    req.nheaders = ARRAY_SIZE(headers);
    req.session_token = "to/ken==";
    assert_int_equal(sigv4_sign(&req, true, &r), 0);
    assert_non_null(strstr(r.canonical, "\nif-match:\"a b\"\n"));
    assert_non_null(strstr(r.canonical, "\nx-amz-meta-a:\nx-amz-meta-a-b:\n"
                                        "x-amz-meta-b:two words,second\n"
                                        "x-amz-security-token:to/ken==\n\n"));
    assert_non_null(strstr(r.authorization,
                           "SignedHeaders=host;if-match;x-amz-content-sha256;x-amz-date;"
                           "x-amz-meta-a;x-amz-meta-a-b;x-amz-meta-b;x-amz-security-token,"));
    sigv4_result_fini(&r);
}

static void test_bad_input_is_refused(void **state)
{
    (void)state;
    static const struct sigv4_header bad[] = {
        {"x-a", "a\r\nb"},   {"x-a", "a\nb"},
        {"", "v"},           {"x a", "v"},
        {"x:", "v"},         {"x-a", NULL},
        {NULL, "v"},         {"Host", "h"},
        {"X-Amz-Date", "d"}, {"x-amz-content-SHA256", "h"},
    };
    static struct sigv4_header many[SIGV4_HEADERS_MAX + 1];
    struct sigv4_result r = SIGV4_RESULT_NULL;
    struct sigv4_request req = example();

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        req = example();
        req.headers = &bad[i];
        req.nheaders = 1;
        assert_int_equal(sigv4_sign(&req, false, &r), -EINVAL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = (struct sigv4_header){"x-amz-meta-x", "v"};
    req.headers = many;
    req.nheaders = ARRAY_SIZE(many);
    assert_int_equal(sigv4_sign(&req, false, &r), -EINVAL);
    req.nheaders--;
    assert_int_equal(sigv4_sign(&req, false, &r), 0);
    sigv4_result_fini(&r);

    const char **fields[] = {&req.method, &req.host,       &req.path,
                             &req.region, &req.access_key, &req.payload_hash};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        static const char *const values[] = {NULL, "", "a\nb"};
        for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
            req = example();
            *fields[i] = values[v];
            assert_int_equal(sigv4_sign(&req, false, &r), -EINVAL);
        }
    }
    req = example();
    req.path = "no-slash";
    assert_int_equal(sigv4_sign(&req, false, &r), -EINVAL);
    req = example();
    req.query = "a=\r";
    assert_int_equal(sigv4_sign(&req, false, &r), -EINVAL);
    assert_null(r.authorization);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_object_with_range),
        cmocka_unit_test(test_put_object),
        cmocka_unit_test(test_valueless_parameter),
        cmocka_unit_test(test_list_objects),
        cmocka_unit_test(test_headers_are_sorted_joined_and_trimmed),
        cmocka_unit_test(test_bad_input_is_refused),
    };
    return cmocka_run_group_tests_name("sigv4", tests, NULL, NULL);
}
