/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What a hostile server may try with XML: each ends at its bound, with little memory and time. */
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

static int read_doc(const char *doc)
{
    struct xml_reply r = XML_REPLY_NULL;
    struct xml *x;

    assert_int_equal(xml_new(XML_LIST, &x), 0);
    int fed = xml_feed(x, doc, strlen(doc)), end = xml_finish(x, &r);
    if (fed < 0)
        assert_int_equal(end, fed);
    xml_free(x);
    xml_reply_fini(&r);
    return end;
}

/* head, then `piece` until the reader stops or `max` bytes are through; the reader's answer. */
static int flood(const char *head, const char *piece, size_t max, size_t *ret_fed)
{
    struct xml *x;
    size_t fed = strlen(head), len = strlen(piece);

    assert_int_equal(xml_new(XML_LIST, &x), 0);
    int r = xml_feed(x, head, fed);
    for (; r == 0 && fed < max; fed += len)
        r = xml_feed(x, piece, len);
    xml_free(x);
    *ret_fed = fed;
    return r;
}

static void test_doctype_and_entities_end_it(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "<!DOCTYPE ListBucketResult><ListBucketResult/>",
        "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><ListBucketResult>&b;"
        "</ListBucketResult>",
        "<!DOCTYPE l SYSTEM \"file:///etc/passwd\"><ListBucketResult/>",
        "<!DOCTYPE l [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><ListBucketResult>&x;"
        "</ListBucketResult>",
        "<ListBucketResult>&unknown;</ListBucketResult>",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(read_doc(bad[i]), -EBADMSG);
}

static void test_broken_documents(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "<ListBucketResult>",
        "<ListBucketResult></Other>",
        "<ListBucketResult/><ListBucketResult/>",
        "<ListBucketResult/>x",
        "x<ListBucketResult/>",
        "<listbucketresult/>",
        "<ListBucketResult>\x01</ListBucketResult>",
        "<ListBucketResult>\xff</ListBucketResult>",
        "<ListBucketResult>\xc0\xaf</ListBucketResult>",
        "<ListBucketResult>\xed\xa0\x80</ListBucketResult>",
        "<ListBucketResult>&#1;</ListBucketResult>",
        "<ListBucketResult>&#0;</ListBucketResult>",
        "<ListBucketResult a=1/>",
        "<<",
        "\xff\xfe<\0",
        "<?xml version=\"1.0\"?>",
        "<ListBucketResult><![CDATA[",
        "<ListBucketResult><!-- ",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (read_doc(bad[i]) != -EBADMSG)
            fail_msg("accepted: %s", bad[i]);
    /* Odd, and fine. */
    assert_int_equal(read_doc("\xef\xbb\xbf<ListBucketResult/>"), 0);
    assert_int_equal(read_doc("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><!-- c -->"
                              "<ListBucketResult><![CDATA[x]]></ListBucketResult><!-- d -->"),
                     0);
    assert_int_equal(read_doc("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>"
                              "<ListBucketResult>\xe9</ListBucketResult>"),
                     -EBADMSG);
}

static void test_nesting_is_bounded(void **state)
{
    (void)state;
    size_t fed;

    assert_int_equal(read_doc("<ListBucketResult><a><b><c><d><e><f><g/></f></e></d></c></b></a>"
                              "</ListBucketResult>"),
                     0);
    assert_int_equal(read_doc("<ListBucketResult><a><b><c><d><e><f><g><h/></g></f></e></d></c></b>"
                              "</a></ListBucketResult>"),
                     -EMSGSIZE);
    assert_int_equal(flood("<ListBucketResult>", "<a>", 1 << 20, &fed), -EMSGSIZE);
    assert_true(fed < 200);
}

static void test_one_text_is_bounded(void **state)
{
    (void)state;
    static char piece[4097];
    size_t fed;

    memset(piece, 'k', sizeof(piece) - 1);
    assert_int_equal(flood("<ListBucketResult><Contents><Key>", piece, 1 << 20, &fed), -EMSGSIZE);
    assert_true(fed < 2 * XML_TEXT_MAX_BYTES);
    assert_int_equal(flood("<ListBucketResult><NextContinuationToken>", piece, 1 << 20, &fed),
                     -EMSGSIZE);
    /* What nobody reads may be longer, and is not kept. */
    assert_int_equal(flood("<ListBucketResult><Other>", piece, 1 << 20, &fed), 0);
}

static void test_one_tag_is_bounded(void **state)
{
    (void)state;
    static char piece[4097];
    static const char *const heads[] = {"<ListBucketResult a=\"",
                                        "<ListBucketResult><",
                                        "<ListBucketResult><!--",
                                        "<ListBucketResult><?x ",
                                        "<ListBucketResult></",
                                        "<?xml ",
                                        "<!--"};
    memset(piece, 'n', sizeof(piece) - 1);
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        size_t fed;
        int r = flood(heads[i], piece, 1 << 20, &fed);
        assert_true(r == -EMSGSIZE || r == -EBADMSG);
        assert_true(fed < 200000);
    }
}

static void test_the_document_is_bounded(void **state)
{
    (void)state;
    enum { LEN = 1 << 20 };
    char *piece = malloc(LEN + 1);
    size_t fed;

    assert_non_null(piece);
    memset(piece, ' ', LEN);
    piece[LEN] = '\0';
    assert_int_equal(flood("<ListBucketResult>", piece, 64u << 20, &fed), -EMSGSIZE);
    assert_true(fed <= XML_TOTAL_MAX_BYTES + 2 * LEN);

    /* One feed of more than the bound; and blanks before the document, which are none of it. */
    struct xml *x;
    assert_int_equal(xml_new(XML_LIST, &x), 0);
    /* the length is judged before a byte is looked at */
    assert_int_equal(xml_feed(x, piece, (size_t)XML_TOTAL_MAX_BYTES + 1), -EMSGSIZE);
    xml_free(x);
    assert_int_equal(flood("   ", piece, 40u << 20, &fed), 0);
    free(piece);
}

static void test_entries_are_bounded(void **state)
{
    (void)state;
    static const char entry[] = "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>";
    size_t fed;

    assert_int_equal(flood("<ListBucketResult>", entry, 16u << 20, &fed), -EMSGSIZE);
    assert_true(fed < (XML_ENTRIES_MAX * 2 + 100) * strlen(entry));
}

static void test_errors_stick_and_results_are_given_once(void **state)
{
    (void)state;
    struct xml_reply r = XML_REPLY_NULL;
    struct xml *x;

    assert_int_equal(xml_new(XML_LIST, &x), 0);
    assert_int_equal(xml_feed(x, "<x>", 3), -EBADMSG);
    assert_int_equal(xml_feed(x, "<ListBucketResult/>", 19), -EBADMSG);
    assert_int_equal(xml_finish(x, &r), -EBADMSG);
    xml_free(x);
    assert_int_equal(xml_new(XML_LIST, &x), 0);
    assert_int_equal(xml_feed(x, "<ListBucketResult/>", 19), 0);
    assert_int_equal(xml_feed(x, "", 0), 0);
    assert_int_equal(xml_finish(x, &r), 0);
    assert_int_equal(xml_finish(x, &r), -EBADMSG);
    assert_int_equal(xml_feed(x, " ", 1), -EBADMSG);
    xml_free(x);
    xml_free(NULL);
    xml_reply_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doctype_and_entities_end_it),
        cmocka_unit_test(test_broken_documents),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_one_text_is_bounded),
        cmocka_unit_test(test_one_tag_is_bounded),
        cmocka_unit_test(test_the_document_is_bounded),
        cmocka_unit_test(test_entries_are_bounded),
        cmocka_unit_test(test_errors_stick_and_results_are_given_once),
    };
    return cmocka_run_group_tests_name("xml-bounds", tests, NULL, NULL);
}
