/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Where a directory's keys are cut: guesses go on as the names do, or there are none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/fs/split.h"

static const char *guess_from(const char *first, const char *last, size_t n, const char *from,
                              size_t ahead)
{
    static char out[256];
    struct split_model model = {first, last, n};
    char *s;
    int r = split_guess(&model, from, ahead, &s);
    if (r < 0)
        return NULL;
    assert_true(strcmp(s, from) > 0);
    assert_true(strlen(s) < sizeof(out));
    memcpy(out, s, strlen(s) + 1);
    free(s);
    return out;
}

static const char *guess(const char *first, const char *last, size_t n, size_t ahead)
{
    return guess_from(first, last, n, last, ahead);
}

static void test_counters_go_on_at_their_pace(void **state)
{
    (void)state;
    assert_string_equal(guess("d/file-00000", "d/file-00999", 1000, 900), "d/file-01899");
    assert_string_equal(guess("d/file-00000.txt", "d/file-00999.txt", 1000, 1), "d/file-01000");
    assert_string_equal(guess("d/000", "d/099", 100, 450), "d/549");
    /* every second number */
    assert_string_equal(guess("f0000", "f1998", 1000, 1000), "f3998");
    assert_string_equal(guess_from("f0000", "f0999", 1000, "f4999", 1000), "f5999");
}

static void test_behind_the_last_number_there_is_no_guess(void **state)
{
    (void)state;
    assert_null(guess("file-99000", "file-99999", 1000, 900));
    assert_null(guess("x-01", "x-31", 31, 100));
}

static void test_digests_and_letters(void **state)
{
    (void)state;
    const char *hex = guess("00012ab9", "0a3f1c77", 1000, 1000);
    assert_non_null(hex);
    assert_true(strcmp(hex, "14") > 0 && strcmp(hex, "15") < 0);
    const char *low = guess("aaaa", "abzz", 1000, 1000);
    assert_non_null(low);
    assert_true(strcmp(low, "ad") >= 0 && strcmp(low, "ae") < 0);
    assert_non_null(guess("Img7abQ", "Img8zzz", 500, 500));
}

static void test_what_cannot_be_counted_is_not_guessed(void **state)
{
    (void)state;
    assert_null(guess("a", "a", 1000, 900));
    assert_null(guess("b", "a", 1000, 900));
    assert_null(guess("a", "b", 1, 900));
    assert_null(guess("", "", 1000, 900));
    assert_null(guess("\xc3\xa9", "\xc3\xb6", 1000, 900));
    assert_null(guess("d/\x01", "d/\x02", 1000, 900));
    assert_null(guess_from("a/file-000", "a/file-999", 1000, "b", 900));
}

/* Whatever the names are, a guess is behind them, or there is none. */
static void test_any_names(void **state)
{
    (void)state;
    static const char chars[] = "0123456789abcdefABCz-_./\xc3 ~";
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        char names[3][24];
        for (int k = 0; k < 3; k++) {
            size_t same = k ? (size_t)rand_r(&seed) % 12 : 0, len = (size_t)rand_r(&seed) % 23;
            if (k)
                memcpy(names[k], names[0], sizeof(names[k]));
            for (size_t i = same; i < len; i++)
                names[k][i] = chars[(size_t)rand_r(&seed) % (sizeof(chars) - 1)];
            names[k][len] = 0;
        }
        struct split_model model = {names[0], names[1], 2 + (size_t)rand_r(&seed) % 1000};
        _cleanup_(freep) char *out = NULL;
        if (split_guess(&model, names[2], 1 + (size_t)rand_r(&seed) % 2000, &out) == 0)
            assert_true(strcmp(out, names[2]) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_go_on_at_their_pace),
        cmocka_unit_test(test_behind_the_last_number_there_is_no_guess),
        cmocka_unit_test(test_digests_and_letters),
        cmocka_unit_test(test_what_cannot_be_counted_is_not_guessed),
        cmocka_unit_test(test_any_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
