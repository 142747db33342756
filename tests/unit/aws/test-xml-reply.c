/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Errors and the results of single calls, success and failure behind a 200 alike. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/aws/xml.h"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static int read_doc(enum xml_want want, const char *doc, struct xml_reply *ret)
{
    struct xml *x;

    assert_int_equal(xml_new(want, &x), 0);
    for (const char *p = doc; *p; p++)
        if (xml_feed(x, p, 1) < 0)
            break;
    int r = xml_finish(x, ret);
    xml_free(x);
    return r;
}

static void test_error_documents(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(
        read_doc(XML_ERROR,
                 HEAD "<Error><Code>PermanentRedirect</Code><Message>The bucket &lt;b&gt; is "
                      "elsewhere\n</Message><Endpoint>b.s3-eu-west-1.amazonaws.com</Endpoint>"
                      "<Bucket>b</Bucket><Region>eu-west-1</Region><RequestId>4442587FB7D0A2F9</"
                      "RequestId><HostId>x</HostId><Detail><Code>inner</Code></Detail></Error>",
                 &r),
        0);
    assert_true(r.is_error);
    assert_string_equal(r.error.code, "PermanentRedirect");
    assert_string_equal(r.error.message, "The bucket <b> is elsewhere");
    assert_string_equal(r.error.endpoint, "b.s3-eu-west-1.amazonaws.com");
    assert_string_equal(r.error.bucket, "b");
    assert_string_equal(r.error.region, "eu-west-1");
    assert_string_equal(r.error.request_id, "4442587FB7D0A2F9");
    xml_reply_fini(&r);

    assert_int_equal(read_doc(XML_ERROR, "<Error/>", &r), 0);
    assert_true(r.is_error);
    assert_string_equal(r.error.code, "");
    assert_int_equal(read_doc(XML_ERROR, "<Error><BucketName>bb</BucketName></Error>", &r), 0);
    assert_string_equal(r.error.bucket, "bb");
}

static void test_long_error_texts_are_cut_between_characters(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;
    struct str doc = STR_NULL;

    assert_int_equal(str_add(&doc, "<Error><Message>x"), 0);
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(str_add(&doc, "\xc3\xa9"), 0);
    assert_int_equal(str_add(&doc, "</Message><Code>InternalError</Code></Error>"), 0);
    assert_int_equal(read_doc(XML_ERROR, doc.s, &r), 0);
    assert_string_equal(r.error.code, "InternalError");
    assert_int_equal(strlen(r.error.message), 511); /* 1 + 255 · 2 */
    assert_true(str_utf8_ok(r.error.message, 511));
    str_fini(&doc);
}

static void test_results_of_multipart_and_copy(void **state)
{
    (void)state;
    static const struct {
        enum xml_want want;
        const char *doc, *upload_id, *etag;
        int64_t mtime_ns;
    } rows[] = {
        {XML_INITIATE,
         HEAD "<InitiateMultipartUploadResult" NS "><Bucket>b</Bucket><Key>k</Key>"
              "<UploadId>VXBsb2FkIElE</UploadId></InitiateMultipartUploadResult>",
         "VXBsb2FkIElE", NULL, 0},
        {XML_COMPLETE,
         HEAD "   \n\n  <CompleteMultipartUploadResult" NS "><Location>l</Location>"
              "<ETag>\"3858-2\"</ETag></CompleteMultipartUploadResult>",
         NULL, "\"3858-2\"", 0},
        {XML_COMPLETE,
         " \r\n\t   " HEAD "<CompleteMultipartUploadResult><ETag> &#34;x&#34;\n</ETag>"
         "</CompleteMultipartUploadResult>   ",
         NULL, "\"x\"", 0},
        {XML_COPY,
         HEAD "<CopyObjectResult" NS "><LastModified>2013-05-24T00:00:00Z</LastModified>"
              "<ETag>&quot;9b&quot;</ETag></CopyObjectResult>",
         NULL, "\"9b\"", 1369353600000000000ll},
        {XML_COPY, "<CopyPartResult><ETag>9b</ETag></CopyPartResult>", NULL, "9b", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct xml_reply r = XML_REPLY_NULL;
        assert_int_equal(read_doc(rows[i].want, rows[i].doc, &r), 0);
        assert_false(r.is_error);
        if (rows[i].upload_id)
            assert_string_equal(r.upload_id, rows[i].upload_id);
        if (rows[i].etag)
            assert_string_equal(r.etag, rows[i].etag);
        assert_true(r.mtime_ns == rows[i].mtime_ns);
        xml_reply_fini(&r);
    }
}

static void test_an_error_behind_a_200(void **state)
{
    (void)state;
    static const enum xml_want wants[] = {XML_LIST,     XML_LIST_V1, XML_ERROR, XML_INITIATE,
                                          XML_COMPLETE, XML_COPY,    XML_DELETE};
    for (size_t i = 0; i < ARRAY_SIZE(wants); i++) {
        struct xml_reply r = XML_REPLY_NULL;
        assert_int_equal(read_doc(wants[i],
                                  "      " HEAD "<Error" NS "><Code>InternalError</Code>"
                                  "</Error>",
                                  &r),
                         0);
        assert_true(r.is_error);
        assert_string_equal(r.error.code, "InternalError");
        xml_reply_fini(&r);
    }
}

static void test_results_without_what_they_are_about(void **state)
{
    (void)state;
    static const struct {
        enum xml_want want;
        const char *doc;
        int r;
    } rows[] = {
        {XML_INITIATE, "<InitiateMultipartUploadResult/>", -EBADMSG},
        {XML_INITIATE,
         "<InitiateMultipartUploadResult><UploadId> </UploadId>"
         "</InitiateMultipartUploadResult>",
         -EBADMSG},
        {XML_COMPLETE, "<CompleteMultipartUploadResult/>", -EBADMSG},
        {XML_COPY, "<CopyObjectResult><ETag></ETag></CopyObjectResult>", -EBADMSG},
        {XML_COPY, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
         -EBADMSG},
        {XML_ERROR, "<ListBucketResult/>", -EBADMSG},
        {XML_ERROR, "<html><body>502 Bad Gateway</body></html>", -EBADMSG},
        {XML_ERROR, "upstream connect error", -EBADMSG},
        {XML_ERROR, "{\"Code\":\"x\"}", -EBADMSG},
        {XML_ERROR, "", -ENODATA},
        {XML_COMPLETE, "  \n  ", -ENODATA},
        {XML_COMPLETE, HEAD "    ", -EBADMSG},
        {XML_DELETE, "<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>",
         -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct xml_reply r = XML_REPLY_NULL;
        assert_int_equal(read_doc(rows[i].want, rows[i].doc, &r), rows[i].r);
    }
}

static void test_deletions_report_each_failed_key(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(
        read_doc(XML_DELETE,
                 HEAD "<DeleteResult" NS "><Deleted><Key>fine</Key></Deleted><Error><Key>a &amp; b"
                      "</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                      "<Error><Code>InternalError</Code><Key>c</Key></Error></DeleteResult>",
                 &r),
        0);
    assert_false(r.is_error);
    assert_int_equal(r.nfailed, 2);
    assert_string_equal(r.failed[0].key, "a & b");
    assert_string_equal(r.failed[0].code, "AccessDenied");
    assert_string_equal(r.failed[0].message, "Access Denied");
    assert_string_equal(r.failed[1].key, "c");
    assert_string_equal(r.failed[1].code, "InternalError");
    assert_string_equal(r.failed[1].message, "");
    xml_reply_fini(&r);
    assert_int_equal(read_doc(XML_DELETE, HEAD "<DeleteResult" NS "></DeleteResult>", &r), 0);
    assert_int_equal(r.nfailed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_documents),
        cmocka_unit_test(test_long_error_texts_are_cut_between_characters),
        cmocka_unit_test(test_results_of_multipart_and_copy),
        cmocka_unit_test(test_an_error_behind_a_200),
        cmocka_unit_test(test_results_without_what_they_are_about),
        cmocka_unit_test(test_deletions_report_each_failed_key),
    };
    return cmocka_run_group_tests_name("xml-reply", tests, NULL, NULL);
}
