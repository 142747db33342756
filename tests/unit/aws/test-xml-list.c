/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Listings: what real servers write, what they may leave out, and what must not pass for a listing.
 * Every document is read whole and byte by byte. */
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
#include "s3proxyd/aws/xml.h"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define LIST "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
#define END "</ListBucketResult>"
#define URL "<EncodingType>url</EncodingType>"
#define ENTRY(key)                                                                      \
    "<Contents><Key>" key "</Key><LastModified>2013-05-24T00:00:00.000Z</LastModified>" \
    "<ETag>&quot;e&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>"
#define PREFIX(key) "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"

static int read_in_pieces(enum xml_want want, const char *doc, size_t piece, struct xml_reply *ret)
{
    struct xml *x;
    size_t len = strlen(doc);
    int r = 0;

    assert_int_equal(xml_new(want, &x), 0);
    for (size_t at = 0; at < len && r == 0; at += piece)
        r = xml_feed(x, doc + at, MIN(piece, len - at));
    int end = xml_finish(x, ret);
    if (r < 0)
        assert_int_equal(end, r);
    xml_free(x);
    return end;
}

static int read_list(enum xml_want want, const char *doc, struct xml_reply *ret)
{
    struct xml_reply other = XML_REPLY_NULL;
    int r = read_in_pieces(want, doc, SIZE_MAX / 2, ret);

    assert_int_equal(read_in_pieces(want, doc, 1, &other), r);
    if (r == 0) {
        assert_int_equal(other.nentries, ret->nentries);
        assert_int_equal(other.nhidden, ret->nhidden);
        for (size_t i = 0; i < other.nentries; i++)
            assert_string_equal(other.entries[i].key, ret->entries[i].key);
    }
    xml_reply_fini(&other);
    return r;
}

static void test_a_page_as_aws_writes_it(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(
        read_list(XML_LIST,
                  HEAD LIST
                  "<Name>b</Name><Prefix>d%2F</Prefix><StartAfter>x</StartAfter>"
                  "<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</"
                  "NextContinuationToken><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys>"
                  "<Delimiter>%2F</Delimiter>" URL "<IsTruncated>true</IsTruncated>" ENTRY(
                      "d%2Fa") "<Contents><Size> 5368709120 </Size><Key>d%2Fb+c</Key>"
                               "<Owner><ID>o</ID><DisplayName>n</DisplayName></Owner>"
                               "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm></Contents>" PREFIX(
                                   "d%2Fsub%2F") END "\n",
                  &r),
        0);
    assert_false(r.is_error);
    assert_true(r.truncated);
    assert_string_equal(r.next_token, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=");
    assert_int_equal(r.nentries, 3);
    assert_string_equal(r.entries[0].key, "d/a");
    assert_int_equal(r.entries[0].key_len, 3);
    assert_int_equal(r.entries[0].size, 7);
    assert_true(r.entries[0].mtime_ns == 1369353600000000000ll);
    assert_string_equal(r.entries[0].etag, "\"e\"");
    assert_false(r.entries[0].is_prefix);
    assert_string_equal(r.entries[1].key, "d/b c");
    assert_true(r.entries[1].size == 5368709120);
    assert_true(r.entries[1].mtime_ns == 0);
    assert_null(r.entries[1].etag);
    assert_string_equal(r.entries[2].key, "d/sub/");
    assert_true(r.entries[2].is_prefix);
    assert_null(r.entries[2].etag);
    assert_int_equal(r.nhidden, 0);
    xml_reply_fini(&r);
}

static void test_keys_are_decoded_only_when_the_reply_says_so(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(read_list(XML_LIST, LIST ENTRY("a+b%20c") END, &r), 0);
    assert_string_equal(r.entries[0].key, "a+b%20c");
    xml_reply_fini(&r);
    /* It may also come last, or mean something we do not know. */
    assert_int_equal(read_list(XML_LIST, LIST ENTRY("a+b%20c%2Bd") URL END, &r), 0);
    assert_string_equal(r.entries[0].key, "a b c+d");
    xml_reply_fini(&r);
    assert_int_equal(
        read_list(XML_LIST, LIST "<EncodingType>x</EncodingType>" ENTRY("a%20b") END, &r), 0);
    assert_string_equal(r.entries[0].key, "a%20b");
    xml_reply_fini(&r);
}

static void test_keys_may_hold_any_byte(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(
        read_list(XML_LIST,
                  LIST URL ENTRY("a%01%0A%1F%7F%FFb") ENTRY("%E2%82%AC") PREFIX("%02%2F") END, &r),
        0);
    assert_int_equal(r.nentries, 3);
    assert_string_equal(r.entries[0].key, "a\x01\n\x1f\x7f\xff"
                                          "b");
    assert_int_equal(r.entries[0].key_len, 7);
    assert_string_equal(r.entries[1].key, "\xe2\x82\xac");
    assert_string_equal(r.entries[2].key, "\x02/");
    xml_reply_fini(&r);
    assert_int_equal(read_list(XML_LIST, LIST ENTRY(" a&amp;&lt;b&gt;&#10;&#x20AC; ") END, &r), 0);
    assert_string_equal(r.entries[0].key, " a&<b>\n\xe2\x82\xac "); /* blanks are part of a key */
    xml_reply_fini(&r);
}

static void test_names_that_name_nothing_are_hidden_and_counted(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(read_list(XML_LIST,
                               LIST URL ENTRY("") ENTRY("a") ENTRY("b%00c") ENTRY("100%") PREFIX("")
                                   PREFIX("%zz%2F") ENTRY("d") END,
                               &r),
                     0);
    assert_int_equal(r.nentries, 2);
    assert_string_equal(r.entries[0].key, "a");
    assert_string_equal(r.entries[1].key, "d");
    assert_int_equal(r.nhidden, 5);
    xml_reply_fini(&r);
}

static void test_an_empty_page_may_be_truncated(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(read_list(XML_LIST,
                               LIST "<IsTruncated>true</IsTruncated>"
                                    "<NextContinuationToken> t </NextContinuationToken>" END,
                               &r),
                     0);
    assert_true(r.truncated);
    assert_int_equal(r.nentries, 0);
    assert_string_equal(r.next_token, " t ");
    xml_reply_fini(&r);
    assert_int_equal(read_list(XML_LIST,
                               LIST "<IsTruncated>false</IsTruncated>"
                                    "<NextContinuationToken>t</NextContinuationToken>" END,
                               &r),
                     0);
    assert_false(r.truncated);
    assert_null(r.next_token);
    xml_reply_fini(&r);
    assert_int_equal(read_list(XML_LIST, "<ListBucketResult/>", &r), 0);
    assert_int_equal(r.nentries, 0);
    xml_reply_fini(&r);
}

static void test_truncated_without_a_way_on_is_no_page(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(read_list(XML_LIST, LIST "<IsTruncated>true</IsTruncated>" ENTRY("a") END, &r),
                     -EBADMSG);
    assert_int_equal(read_list(XML_LIST,
                               LIST "<IsTruncated>true</IsTruncated>"
                                    "<NextContinuationToken></NextContinuationToken>" ENTRY("a")
                                        END,
                               &r),
                     -EBADMSG);
}

static void test_version_1_goes_on_behind_the_greatest_name(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(read_list(XML_LIST_V1,
                               LIST URL "<IsTruncated>true</IsTruncated>"
                                        "<NextMarker>a%2F+</NextMarker>" ENTRY("a%2F") END,
                               &r),
                     0);
    assert_string_equal(r.next_token, "a/ ");
    xml_reply_fini(&r);
    assert_int_equal(read_list(XML_LIST_V1,
                               LIST URL "<IsTruncated>true</IsTruncated>" ENTRY("b") ENTRY("a")
                                   PREFIX("b%2F") ENTRY("b!") END,
                               &r),
                     0);
    assert_string_equal(r.next_token, "b/");
    xml_reply_fini(&r);
    assert_int_equal(read_list(XML_LIST_V1, LIST "<IsTruncated>true</IsTruncated>" END, &r),
                     -EBADMSG);
    assert_int_equal(read_list(XML_LIST_V1, LIST ENTRY("a") END, &r), 0);
    assert_null(r.next_token);
    xml_reply_fini(&r);
}

static void test_entries_that_lack_or_repeat_something_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        LIST "<Contents><Key>a</Key></Contents>" END,
        LIST "<Contents><Size>1</Size></Contents>" END,
        LIST "<CommonPrefixes></CommonPrefixes>" END,
        LIST "<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents>" END,
        LIST "<Contents><Key>a</Key><Size>1</Size><Size>2</Size></Contents>" END,
        LIST "<Contents><Key>a<b/></Key><Size>1</Size></Contents>" END,
        LIST "<Contents><Key>a</Key><Size></Size></Contents>" END,
        LIST "<Contents><Key>a</Key><Size>-1</Size></Contents>" END,
        LIST "<Contents><Key>a</Key><Size>1 2</Size></Contents>" END,
        LIST "<Contents><Key>a</Key><Size>0x10</Size></Contents>" END,
        LIST "<Contents><Key>a</Key><Size>9223372036854775808</Size></Contents>" END,
        LIST "<Contents><Key>a</Key><Size>99999999999999999999</Size></Contents>" END,
        LIST "<CommonPrefixes><Prefix>a/</Prefix><Prefix>b/</Prefix></CommonPrefixes>" END,
        LIST "<NextContinuationToken>a</NextContinuationToken>"
             "<NextContinuationToken>b</NextContinuationToken>" END,
    };
    struct xml_reply r = XML_REPLY_NULL;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (read_list(XML_LIST, bad[i], &r) != -EBADMSG)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(read_list(XML_LIST,
                               LIST "<Contents><Key>a</Key><Size>9223372036854775807"
                                    "</Size><LastModified>yesterday</LastModified>"
                                    "</Contents>" END,
                               &r),
                     0);
    assert_true(r.entries[0].size == INT64_MAX);
    assert_true(r.entries[0].mtime_ns == 0);
    xml_reply_fini(&r);
}

static void test_what_is_cut_off_is_no_listing(void **state)
{
    (void)state;
    static const char doc[] =
        HEAD LIST URL "<IsTruncated>false</IsTruncated>" ENTRY("a") ENTRY("b") PREFIX("c%2F") END;
    struct xml_reply r = XML_REPLY_NULL;
    char part[sizeof(doc)];

    for (size_t len = 0; len < sizeof(doc) - 1; len++) {
        memcpy(part, doc, len);
        part[len] = '\0';
        assert_int_equal(read_in_pieces(XML_LIST, part, 7, &r), len ? -EBADMSG : -ENODATA);
    }
    assert_int_equal(read_in_pieces(XML_LIST, doc, 7, &r), 0);
    xml_reply_fini(&r);
}

static void test_an_error_instead_of_a_listing(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;

    assert_int_equal(read_list(XML_LIST, HEAD "<Error><Code>SlowDown</Code></Error>", &r), 0);
    assert_true(r.is_error);
    assert_string_equal(r.error.code, "SlowDown");
    xml_reply_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_as_aws_writes_it),
        cmocka_unit_test(test_keys_are_decoded_only_when_the_reply_says_so),
        cmocka_unit_test(test_keys_may_hold_any_byte),
        cmocka_unit_test(test_names_that_name_nothing_are_hidden_and_counted),
        cmocka_unit_test(test_an_empty_page_may_be_truncated),
        cmocka_unit_test(test_truncated_without_a_way_on_is_no_page),
        cmocka_unit_test(test_version_1_goes_on_behind_the_greatest_name),
        cmocka_unit_test(test_entries_that_lack_or_repeat_something_are_refused),
        cmocka_unit_test(test_what_is_cut_off_is_no_listing),
        cmocka_unit_test(test_an_error_instead_of_a_listing),
    };
    return cmocka_run_group_tests_name("xml-list", tests, NULL, NULL);
}
