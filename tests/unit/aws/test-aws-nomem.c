/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Every allocation of our own fails in turn, until all goes well: each failure is -ENOMEM, nothing
 * leaks and nothing is freed twice (the sanitizers watch). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3proxyd/aws/sigv4.h"
#include "s3proxyd/aws/uri.h"
#include "s3proxyd/aws/xml.h"
#include "tests/unit/nomem.h"

/* Runs fn with the n-th allocation failing, for n = 1, 2, … until none is left to fail. */
static void each_allocation_fails(int (*fn)(void))
{
    long n = 0, failed = 0;

    for (;;) {
        nomem_begin(++n, false);
        int r = fn();
        if (!nomem_end()) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        failed++;
    }
    assert_true(failed > 0);
}

static int read_doc(enum xml_want want, const char *doc)
{
    struct xml_reply reply = XML_REPLY_NULL;
    struct xml *x;
    int r = xml_new(want, &x);

    if (r < 0)
        return r;
    xml_feed(x, doc, strlen(doc));
    r = xml_finish(x, &reply);
    if (r < 0)
        assert_true(!reply.entries && !reply.failed && !reply.next_token);
    xml_free(x);
    xml_reply_fini(&reply);
    return r;
}

#define ENTRY(k) "<Contents><Key>" k "</Key><Size>1</Size><ETag>e</ETag></Contents>"
#define URL "<EncodingType>url</EncodingType>"

static int read_list(void)
{
    return read_doc(XML_LIST,
                    "<ListBucketResult>" URL "<IsTruncated>true</IsTruncated>"
                    "<NextContinuationToken>t</NextContinuationToken>" ENTRY("a%20") ENTRY("%zz")
                        ENTRY("b") ENTRY("") ENTRY("c") "</ListBucketResult>");
}

static int read_list_v1(void)
{
    return read_doc(XML_LIST_V1, "<ListBucketResult>" URL "<IsTruncated>true</IsTruncated>"
                                 "<NextMarker>a%20b</NextMarker>" ENTRY("a") "</ListBucketResult>");
}

static int read_list_v1_without_marker(void)
{
    return read_doc(XML_LIST_V1, "<ListBucketResult><IsTruncated>true</IsTruncated>" ENTRY(
                                     "a") "</ListBucketResult>");
}

static int read_delete(void)
{
    return read_doc(XML_DELETE, "<DeleteResult><Error><Key>a</Key><Code>c</Code></Error>"
                                "<Error><Key>b</Key></Error></DeleteResult>");
}

static int read_copy(void)
{
    return read_doc(XML_COPY, "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>");
}

static int write_bodies(void)
{
    static const char *const texts[] = {"a&b", "\"etag-of-some-length-so-that-it-grows\"", "c\n"};
    struct str out = STR_NULL;
    int r = xml_write_delete(&out, texts, 3);

    if (r == 0)
        r = xml_write_complete(&out, texts, 3);
    else
        assert_int_equal(out.len, 0);
    str_fini(&out);
    return r;
}

static int sign(void)
{
    static const struct sigv4_header headers[] = {{"Range", "bytes=0-9"}};
    struct sigv4_request req = {.method = "GET",
                                .host = "h",
                                .path = "/k",
                                .headers = headers,
                                .nheaders = 1,
                                .payload_hash = SIGV4_EMPTY_SHA256,
                                .region = "r",
                                .access_key = "a",
                                .secret = "s",
                                .secret_len = 1,
                                .session_token = "t"};
    struct sigv4_result result = SIGV4_RESULT_NULL;
    int r = sigv4_sign(&req, true, &result);

    if (r < 0)
        assert_true(!result.authorization && !result.canonical && !result.string_to_sign);
    sigv4_result_fini(&result);
    return r;
}

static int spell(void)
{
    struct uri_query q = URI_QUERY_NULL;
    struct str out = STR_NULL;
    char *back = NULL;
    size_t len;
    int r = 0;

    for (int i = 0; i < 9 && r == 0; i++)
        r = uri_query_add(&q, "name", i % 2 ? NULL : "a value");
    if (r == 0)
        r = uri_query_build(&q, &out);
    if (r == 0)
        r = uri_path(&out, "bucket", "key");
    if (r == 0)
        r = uri_decode(out.s, out.len, true, out.len, &back, &len);
    free(back);
    str_fini(&out);
    uri_query_fini(&q);
    return r;
}

static void test_reading(void **state)
{
    (void)state;
    each_allocation_fails(read_list);
    each_allocation_fails(read_list_v1);
    each_allocation_fails(read_list_v1_without_marker);
    each_allocation_fails(read_delete);
    each_allocation_fails(read_copy);
}

static void test_writing(void **state)
{
    (void)state;
    each_allocation_fails(write_bodies);
}

static void test_signing(void **state)
{
    (void)state;
    each_allocation_fails(sign);
}

static void test_spelling(void **state)
{
    (void)state;
    each_allocation_fails(spell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_signing),
        cmocka_unit_test(test_spelling),
    };
    return cmocka_run_group_tests_name("aws-nomem", tests, NULL, NULL);
}
