/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What SOURCE may be, and what it may not. */
#include "fused/source.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_source(const char *text, enum source_kind kind, const char *bucket,
                          const char *prefix)
{
    struct source s;
    char *why = NULL;

    if (source_parse(text, &s, &why) < 0)
        fail_msg("%s: %s", text, why);
    assert_int_equal(s.kind, kind);
    assert_string_equal(s.bucket, bucket);
    assert_string_equal(s.prefix, prefix);
    source_fini(&s);
}

static void test_what_is_a_source(void **state)
{
    (void)state;
    assert_source("s3://bucket", SOURCE_S3, "bucket", "");
    assert_source("s3://bucket/", SOURCE_S3, "bucket", "");
    assert_source("s3://bucket/a/b", SOURCE_S3, "bucket", "a/b/");
    assert_source("s3://bucket/a/b/", SOURCE_S3, "bucket", "a/b/");
    assert_source("gs://b.c-d/x y", SOURCE_GS, "b.c-d", "x y/");
    assert_source("file:///", SOURCE_FILE, "/", "");
    assert_source("file:///srv/data", SOURCE_FILE, "/srv/data", "");
    assert_source("file:///srv/data/", SOURCE_FILE, "/srv/data", "");
    assert_source("file:///srv/a b,c", SOURCE_FILE, "/srv/a b,c", "");
    assert_source("bucket", SOURCE_WORD, "bucket", "");
    assert_source("bucket:/pre/fix", SOURCE_WORD, "bucket", "pre/fix/");
    assert_source("Bucket_1:pre", SOURCE_WORD, "Bucket_1", "pre/");
}

static void test_nothing_is_decoded(void **state)
{
    (void)state;
    assert_source("s3://bucket/100%25/a%2Fb", SOURCE_S3, "bucket", "100%25/a%2Fb/");
}

static void test_odd_sources_are_refused_with_a_line(void **state)
{
    static const char *const bad[] = {
        "",
        "s3://",
        "s3:///key",
        "s3://buc ket",
        "s3://AK:SK@bucket",
        "s3://bucket/a//b",
        "s3://bucket//",
        "s3://bucket/a/../b",
        "s3://bucket/.",
        "s3://bucket/a\nb",
        "s3://bucket/\x01",
        "s3://bucket/\xff",
        "http://host/bucket",
        "file://relative",
        "file:///a/../b",
        "file:///a//b",
        "/srv/data",
        "./data",
        "bucket/prefix",
        "file:dir",
        "s3:bucket",
        ".hidden",
        "-o",
        ":/prefix",
        "bucket:/a//b",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct source s;
        char *why = NULL;
        if (source_parse(bad[i], &s, &why) != -EINVAL)
            fail_msg("'%s' is taken", bad[i]);
        assert_non_null(why);
        for (const char *c = why; *c; c++)
            assert_true((unsigned char)*c >= 0x20);
        free(why);
        source_fini(&s);
    }
}

static void test_long_parts_are_refused(void **state)
{
    char text[5000];
    struct source s;
    char *why = NULL;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "s3://b/", 7);
    text[7 + 256] = '\0'; /* one component too long */
    assert_int_equal(source_parse(text, &s, &why), -EINVAL);
    source_fini(&s);
    free(why);
    text[7 + 256] = 'a';
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(source_parse(text, &s, &why), -EINVAL);
    source_fini(&s);
    free(why);
    for (size_t i = 7 + 200; i < 4000; i += 201)
        text[i] = '/';
    text[7 + 1030] = '\0'; /* good components, too long a key */
    assert_int_equal(source_parse(text, &s, &why), -EINVAL);
    source_fini(&s);
    free(why);
}

static void test_keys_in_source_are_not_repeated(void **state)
{
    struct source s;
    char *why = NULL;

    (void)state;
    assert_int_equal(source_parse("s3://AK:SECRET@bucket", &s, &why), -EINVAL);
    assert_null(strstr(why, "SECRET"));
    source_fini(&s);
    free(why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_a_source),
        cmocka_unit_test(test_nothing_is_decoded),
        cmocka_unit_test(test_odd_sources_are_refused_with_a_line),
        cmocka_unit_test(test_long_parts_are_refused),
        cmocka_unit_test(test_keys_in_source_are_not_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
