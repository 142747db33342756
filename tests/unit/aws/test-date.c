/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Dates as servers write them, and nonsense that looks like them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/aws/date.h"

#define S 1000000000ll

static void test_iso_dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:00.001Z", 1000000},
        {"2013-05-24T00:00:00.000Z", 1369353600 * S},
        {"2013-05-24T01:02:03.123456789Z", 1369357323 * S + 123456789},
        {"2013-05-24T01:02:03.1234567891234Z", 1369357323 * S + 123456789},
        {"2013-05-24T02:00:00+02:00", 1369353600 * S},
        {"2013-05-23T18:30:00-05:30", 1369353600 * S},
        {"2000-02-29T12:00:00Z", 951825600 * S},
        {"2016-12-31T23:59:60Z", 1483228800 * S},
        {"1969-12-31T23:59:59Z", -1 * S},
        {"2261-12-31T23:59:59Z", 9214646399 * S},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int64_t ns = -7;
        assert_int_equal(date_parse_iso(rows[i].text, &ns), 0);
        assert_true(ns == rows[i].ns);
    }
}

static void test_http_dates(void **state)
{
    (void)state;
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        int64_t ns = -7;
        assert_int_equal(date_parse_http(same[i], &ns), 0);
        assert_true(ns == 784111777 * S);
    }
    int64_t ns;
    assert_int_equal(date_parse_http("Fri Nov 16 08:49:37 2068", &ns), 0);
    assert_int_equal(date_parse_http("Tuesday, 01-Jan-69 00:00:00 GMT", &ns), 0);
    assert_true(ns == 3124224000 * S);
}

static void test_nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const iso[] = {"",
                                      "Z",
                                      "2013",
                                      "2013-05-24",
                                      "2013-05-24T00:00:00",
                                      "2013-05-24 00:00:00Z",
                                      "2013-13-24T00:00:00Z",
                                      "2013-00-24T00:00:00Z",
                                      "2013-05-32T00:00:00Z",
                                      "2013-02-29T00:00:00Z",
                                      "1900-02-29T00:00:00Z",
                                      "2013-05-24T24:00:00Z",
                                      "2013-05-24T00:60:00Z",
                                      "2013-05-24T00:00:61Z",
                                      "2013-05-24T00:00:00Zx",
                                      "2013-05-24T00:00:00+0200",
                                      "2013-05-24T00:00:00+24:00",
                                      "99999-05-24T00:00:00Z",
                                      "9999-05-24T00:00:00Z",
                                      "0001-01-01T00:00:00Z",
                                      "2013-05-24T00:00:0/Z",
                                      "-013-05-24T0:0:0Z"};
    static const char *const http[] = {"",
                                       "Sun",
                                       "Sun,",
                                       "Sun, 6 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 Nov 1994 08:49:37 CET",
                                       "Sun, 06 Nov 1994 08:49:37 GMT ",
                                       "Sun, 06 Nix 1994 08:49:37 GMT",
                                       "Sun, 31 Feb 1994 08:49:37 GMT",
                                       "Sunday, 06 Nov 1994 08:49:37 GMT",
                                       "Sun Nov 6 08:49:37 1994",
                                       "Sun, 06 Nov 1994",
                                       "06 Nov 1994 08:49:37 GMT"};
    int64_t ns = 42;

    for (size_t i = 0; i < ARRAY_SIZE(iso); i++)
        assert_int_equal(date_parse_iso(iso[i], &ns), -EINVAL);
    for (size_t i = 0; i < ARRAY_SIZE(http); i++)
        assert_int_equal(date_parse_http(http[i], &ns), -EINVAL);
    assert_true(ns == 42);
}

static void test_formats_agree_with_the_c_library(void **state)
{
    (void)state;
    char amz[DATE_AMZ_SIZE], http[DATE_HTTP_SIZE], want[64];

    date_format_amz(1369353600 * S + 999999999, amz);
    assert_string_equal(amz, "20130524T000000Z");
    date_format_http(784111777 * S, http);
    assert_string_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT");
    date_format_amz(-5 * S, amz);
    assert_string_equal(amz, "19700101T000000Z");
    date_format_amz(INT64_MIN, amz);
    date_format_http(INT64_MAX, http);
    for (int64_t t = 0; t < 9214646399; t += 86400 * 11 + 4711) {
        time_t clock = (time_t)t;
        struct tm tm;
        int64_t back;
        assert_non_null(gmtime_r(&clock, &tm));
        strftime(want, sizeof(want), "%Y%m%dT%H%M%SZ", &tm);
        date_format_amz(t * S, amz);
        assert_string_equal(amz, want);
        strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        date_format_http(t * S, http);
        assert_string_equal(http, want);
        assert_int_equal(date_parse_http(http, &back), 0);
        assert_true(back == t * S);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iso_dates),
        cmocka_unit_test(test_http_dates),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_formats_agree_with_the_c_library),
    };
    return cmocka_run_group_tests_name("date", tests, NULL, NULL);
}
