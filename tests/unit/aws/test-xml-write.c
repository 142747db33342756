/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Bodies we send: what XML can carry is escaped so that it arrives unchanged, the rest is refused.
 */
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

#define NS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static void test_complete(void **state)
{
    (void)state;
    static const char *const etags[] = {"\"a\"", "b&c"};
    struct str out = STR_NULL;

    assert_int_equal(str_add(&out, "before"), 0);
    assert_int_equal(xml_write_complete(&out, etags, 2), 0);
    assert_string_equal(out.s,
                        "before<CompleteMultipartUpload" NS "><Part><PartNumber>1</PartNumber>"
                        "<ETag>&quot;a&quot;</ETag></Part><Part><PartNumber>2</PartNumber>"
                        "<ETag>b&amp;c</ETag></Part></CompleteMultipartUpload>");
    str_fini(&out);
}

static void test_delete(void **state)
{
    (void)state;
    static const char *const keys[] = {"plain/key", "<&>'\"", "tab\tlf\ncr\r", "\xe2\x82\xac"};
    struct str out = STR_NULL;

    assert_int_equal(xml_write_delete(&out, keys, 4), 0);
    assert_string_equal(out.s, "<Delete" NS "><Quiet>true</Quiet><Object><Key>plain/key</Key>"
                               "</Object><Object><Key>&lt;&amp;&gt;&apos;&quot;</Key></Object>"
                               "<Object><Key>tab&#9;lf&#10;cr&#13;</Key></Object><Object><Key>"
                               "\xe2\x82\xac</Key></Object></Delete>");
    str_fini(&out);
}

static void test_what_xml_cannot_carry(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 256; i++) {
        char key[2] = {(char)i, 0};
        bool want = i < 0x80 && (i >= 0x20 || i == 9 || i == 10 || i == 13);
        const char *const keys[] = {"fine", key};
        struct str out = STR_NULL;
        assert_int_equal(xml_can_carry(key), want);
        assert_int_equal(str_add(&out, "x"), 0);
        assert_int_equal(xml_write_delete(&out, keys, 2), want ? 0 : -EILSEQ);
        assert_int_equal(xml_write_complete(&out, keys, 2), want ? 0 : -EILSEQ);
        if (!want)
            assert_string_equal(out.s, "x");
        str_fini(&out);
    }
    assert_true(xml_can_carry(""));
    assert_true(xml_can_carry("\xf0\x9f\x98\x80"));
    assert_true(xml_can_carry("\xef\xbf\xbd"));
    assert_false(xml_can_carry("a\xef\xbf\xbe")); /* U+FFFE */
    assert_false(xml_can_carry("\xef\xbf\xbf"));  /* U+FFFF */
    assert_false(xml_can_carry("\xed\xa0\x80"));  /* a surrogate */
    assert_false(xml_can_carry("\xc0\xaf"));      /* overlong */
    assert_false(xml_can_carry("\xe2\x82"));      /* cut */
}

/* Written keys come back from our own reader as they were. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const keys[] = {" a\t\n\r&<>\"' ]]> &amp; \x7f",
                                       "\xe2\x82\xac/\xf0\x9f\x98\x80"};
    struct str body = STR_NULL, reply = STR_NULL;
    struct xml_reply r = XML_REPLY_NULL;
    struct xml *x;

    assert_int_equal(xml_write_delete(&body, keys, 2), 0);
    assert_int_equal(str_add(&reply, "<DeleteResult>"), 0);
    for (const char *p = body.s; (p = strstr(p, "<Key>")); p++) {
        const char *end = strstr(p, "</Key>");
        assert_int_equal(str_addf(&reply, "<Error>%.*s</Key></Error>", (int)(end - p), p), 0);
    }
    assert_int_equal(str_add(&reply, "</DeleteResult>"), 0);
    assert_int_equal(xml_new(XML_DELETE, &x), 0);
    assert_int_equal(xml_feed(x, reply.s, reply.len), 0);
    assert_int_equal(xml_finish(x, &r), 0);
    assert_int_equal(r.nfailed, 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(r.failed[i].key, keys[i]);
    xml_free(x);
    xml_reply_fini(&r);
    str_fini(&body);
    str_fini(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_what_xml_cannot_carry),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests_name("xml-write", tests, NULL, NULL);
}
