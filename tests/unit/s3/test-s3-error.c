/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Every row of s3-error.tbl is found and means what it says; the rows whose meaning depends on the
 * request are spelled out; and the arithmetic of retries keeps its bounds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "s3proxyd/s3/s3-error.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CAS (S3_CTX_WRITE | S3_CTX_MUTATION | S3_CTX_IF_MATCH)
#define CREATE (S3_CTX_WRITE | S3_CTX_MUTATION | S3_CTX_IF_NONE_MATCH)
#define PUT S3_CTX_WRITE
#define PINNED S3_CTX_IF_MATCH
#define COMPLETE (S3_CTX_WRITE | S3_CTX_MUTATION | S3_CTX_COMPLETE)

enum { PLAIN, FAIL, COND, GONE, CONFLICT, UPLOAD, REFUSE, HEAD };

static const struct {
    const char *code;
    unsigned status;
    enum s3_retry retry;
    int error;
    unsigned tries;
    int variant;
} codes[] = {
#define S3_CODE(code, status, retry, error, tries, variant) \
    {code, status, S3_RETRY_##retry, error, tries, variant},
#include "s3proxyd/s3/s3-error.tbl"
};

/* errno.tbl: what may cross the socket. ERANGE stays in the store, see the row. */
static const int errnos[] = {
#define ERR(name, number) name,
#include "proto/errno.tbl"
};

static bool crosses_the_socket(int error)
{
    for (size_t i = 0; i < COUNT(errnos); i++)
        if (errnos[i] == error)
            return true;
    return false;
}

static void test_every_code_is_found_whatever_the_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(codes); i++) {
        char code[80];
        snprintf(code, sizeof(code), "%s", codes[i].code);
        char *star = strchr(code, '*');
        if (star)
            memcpy(star, "Anything", sizeof("Anything"));
        const unsigned statuses[] = {codes[i].status, 200, 400, 503};
        for (size_t s = 0; s < COUNT(statuses); s++) {
            struct s3_verdict v = s3_error_classify(statuses[s], code, 0);
            assert_int_equal(v.error, -codes[i].error);
            assert_int_equal(v.retry, codes[i].retry);
            assert_int_equal(v.tries_max, codes[i].tries);
            assert_false(v.unknown);
            assert_false(v.maybe_applied);
        }
        assert_true(crosses_the_socket(codes[i].error));
        assert_int_not_equal(codes[i].error, EAGAIN); /* breaks programs on blocking files */
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(codes[i].code, codes[j].code);
    }
}

static void test_every_row_reacts_to_circumstances(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(codes); i++) {
        struct s3_verdict v = s3_error_classify(codes[i].status, codes[i].code, CAS);
        switch (codes[i].variant) {
        case FAIL:
            assert_true(v.maybe_applied);
            assert_int_equal(v.retry, codes[i].retry == S3_RETRY_TRANSIENT ? S3_RETRY_QUERY
                                                                           : codes[i].retry);
            v = s3_error_classify(codes[i].status, codes[i].code, PUT);
            assert_true(v.maybe_applied);
            assert_int_equal(v.retry, codes[i].retry);
            break;
        case COND:
        case GONE:
            assert_int_equal(v.retry, S3_RETRY_QUERY);
            assert_int_equal(v.error, -ESTALE);
            assert_false(v.maybe_applied);
            break;
        case REFUSE:
            assert_int_equal(v.error, -EIO);
            v = s3_error_classify(codes[i].status, codes[i].code, S3_CTX_ATTACH);
            assert_int_equal(v.error, -EINVAL);
            break;
        default:
            assert_int_equal(v.error, -codes[i].error);
            assert_int_equal(v.retry, codes[i].retry);
            assert_false(v.maybe_applied);
        }
    }
}

static const struct {
    unsigned status;
    const char *code;
    unsigned ctx;
    int error;
    enum s3_retry retry;
} cases[] = {
    /* whose condition it was */
    {412, "PreconditionFailed", PINNED, -ESTALE, S3_RETRY_NEVER},
    {412, "PreconditionFailed", CREATE, -EEXIST, S3_RETRY_QUERY},
    {412, "PreconditionFailed", CAS, -ESTALE, S3_RETRY_QUERY},
    {412, NULL, CREATE, -EEXIST, S3_RETRY_QUERY},
    {412, NULL, S3_CTX_HEAD | PINNED, -ESTALE, S3_RETRY_NEVER},
    {409, "ConditionalRequestConflict", CAS, -ESTALE, S3_RETRY_TRANSIENT},
    {409, "ConditionalRequestConflict", CAS | S3_CTX_COMPLETE, -ESTALE, S3_RETRY_NEVER},
    {409, "OperationAborted", CAS, -EBUSY, S3_RETRY_TRANSIENT},
    /* what is gone */
    {404, "NoSuchKey", 0, -ENOENT, S3_RETRY_NEVER},
    {404, "NoSuchKey", PINNED, -ESTALE, S3_RETRY_NEVER},
    {404, "NoSuchKey", CAS, -ESTALE, S3_RETRY_QUERY},
    {404, "NoSuchKey", CAS | S3_CTX_COPY, -ENOENT, S3_RETRY_QUERY},
    {404, "NoSuchKey", PUT | S3_CTX_COPY, -ENOENT, S3_RETRY_NEVER},
    {404, "NoSuchBucket", PINNED, -ENXIO, S3_RETRY_NEVER},
    {404, "NoSuchUpload", COMPLETE, -EIO, S3_RETRY_QUERY},
    {404, "NoSuchUpload", PUT, -EIO, S3_RETRY_NEVER},
    /* HEAD: the status alone */
    {404, NULL, S3_CTX_HEAD, -ENOENT, S3_RETRY_NEVER},
    {403, NULL, S3_CTX_HEAD, -EACCES, S3_RETRY_NEVER},
    {301, NULL, S3_CTX_HEAD, -EIO, S3_RETRY_REROUTE},
    {307, "", S3_CTX_HEAD, -EIO, S3_RETRY_REROUTE},
    {400, NULL, S3_CTX_HEAD, -EIO, S3_RETRY_REROUTE},
    {400, NULL, S3_CTX_HEAD | S3_CTX_ATTACH, -EIO, S3_RETRY_REROUTE},
    {503, NULL, S3_CTX_HEAD, -EIO, S3_RETRY_THROTTLE},
    {500, NULL, S3_CTX_HEAD, -EIO, S3_RETRY_TRANSIENT},
    /* success that is none */
    {200, "InternalError", COMPLETE, -EIO, S3_RETRY_QUERY},
    {200, "SomethingNew", PUT, -EIO, S3_RETRY_TRANSIENT},
    {200, "SlowDown", PUT, -EIO, S3_RETRY_THROTTLE},
    {200, NULL, COMPLETE, -EIO, S3_RETRY_QUERY},
    /* no Code, or an unknown one */
    {400, NULL, 0, -EIO, S3_RETRY_NEVER},
    {400, "SomethingNew", S3_CTX_ATTACH, -EINVAL, S3_RETRY_NEVER},
    {401, NULL, 0, -EACCES, S3_RETRY_CREDENTIALS},
    {403, "SomethingNew", 0, -EACCES, S3_RETRY_NEVER},
    {405, NULL, 0, -EOPNOTSUPP, S3_RETRY_NEVER},
    {408, NULL, 0, -ETIMEDOUT, S3_RETRY_TRANSIENT},
    {409, "SomethingNew", PUT, -EIO, S3_RETRY_NEVER},
    {413, NULL, PUT, -EFBIG, S3_RETRY_NEVER},
    {414, NULL, PUT, -ENAMETOOLONG, S3_RETRY_NEVER},
    {416, NULL, 0, -ERANGE, S3_RETRY_NEVER},
    {425, NULL, 0, -EIO, S3_RETRY_TRANSIENT},
    {429, NULL, 0, -EIO, S3_RETRY_THROTTLE},
    {431, NULL, 0, -ENAMETOOLONG, S3_RETRY_NEVER},
    {418, NULL, 0, -EIO, S3_RETRY_NEVER},
    {304, NULL, 0, -EIO, S3_RETRY_NEVER},
    {302, NULL, 0, -EIO, S3_RETRY_REROUTE},
    {500, "SomethingNew", CAS, -EIO, S3_RETRY_QUERY},
    {501, NULL, PUT, -EOPNOTSUPP, S3_RETRY_NEVER},
    {502, NULL, PUT, -EIO, S3_RETRY_TRANSIENT},
    {504, NULL, CREATE, -EIO, S3_RETRY_QUERY},
    {503, NULL, CREATE, -EIO, S3_RETRY_THROTTLE},
    {507, NULL, PUT, -ENOSPC, S3_RETRY_NEVER},
    {509, NULL, PUT, -EIO, S3_RETRY_THROTTLE},
    {522, NULL, PUT, -EIO, S3_RETRY_TRANSIENT},
    {0, NULL, 0, -EIO, S3_RETRY_TRANSIENT},
    {99, NULL, 0, -EIO, S3_RETRY_TRANSIENT},
    {999, NULL, 0, -EIO, S3_RETRY_TRANSIENT},
    {70000, NULL, CAS, -EIO, S3_RETRY_QUERY},
    /* beginnings */
    {400, "KMS.DisabledException", PUT, -EACCES, S3_RETRY_NEVER},
    {400, "KMS.ThrottlingException", PUT, -EIO, S3_RETRY_THROTTLE},
    {400, "ThrottlingException", PUT, -EIO, S3_RETRY_THROTTLE},
    {400, "Throttled", PUT, -EIO, S3_RETRY_THROTTLE},
    {400, "Throttl*", PUT, -EIO, S3_RETRY_THROTTLE},
    {400, "KMS", PUT, -EIO, S3_RETRY_NEVER},
    {403, "accessdenied", 0, -EACCES, S3_RETRY_NEVER},
};

static void test_circumstances(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct s3_verdict v = s3_error_classify(cases[i].status, cases[i].code, cases[i].ctx);
        if (v.error != cases[i].error || v.retry != cases[i].retry)
            fail_msg("%u %s in %x: %d %s", cases[i].status, cases[i].code ? cases[i].code : "-",
                     cases[i].ctx, v.error, s3_retry_name(v.retry));
    }
}

static void test_unknown_codes_are_marked(void **state)
{
    (void)state;
    assert_true(s3_error_classify(400, "SomethingNew", 0).unknown);
    assert_false(s3_error_classify(400, "", 0).unknown);
    assert_false(s3_error_classify(404, NULL, 0).unknown);
    assert_false(s3_error_classify(404, "NoSuchKey", 0).unknown);
}

static void test_once_is_enough_for_what_does_not_heal(void **state)
{
    (void)state;
    assert_int_equal(s3_error_classify(301, NULL, 0).tries_max, 1);
    assert_int_equal(s3_error_classify(401, NULL, 0).tries_max, 1);
    assert_int_equal(s3_error_classify(403, "RequestTimeTooSkewed", 0).tries_max, 1);
    assert_int_equal(s3_error_classify(400, "BadDigest", PUT).tries_max, 2);
    assert_int_equal(s3_error_classify(503, "SlowDown", PUT).tries_max, 0);
}

static void test_what_never_arrived_is_repeated_and_the_rest_is_asked_for(void **state)
{
    (void)state;
    static const struct {
        enum s3_retry retry;
        int error;
        unsigned tries;
        bool sent;
    } rows[] = {
#define S3_BROKEN(name, retry, error, tries, sent, text) {S3_RETRY_##retry, error, tries, sent},
#include "s3proxyd/s3/s3-error.tbl"
    };
    assert_int_equal(COUNT(rows), S3_BROKEN_COUNT);
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct s3_verdict read = s3_error_broken(i, 0), put = s3_error_broken(i, PUT),
                          cas = s3_error_broken(i, CAS);
        bool ask = rows[i].sent && rows[i].retry == S3_RETRY_TRANSIENT;
        assert_int_equal(read.error, -rows[i].error);
        assert_int_equal(read.retry, rows[i].retry);
        assert_int_equal(read.tries_max, rows[i].tries);
        assert_false(read.maybe_applied);
        assert_int_equal(put.retry, rows[i].retry);
        assert_int_equal(put.maybe_applied, rows[i].sent);
        assert_int_equal(cas.retry, ask ? S3_RETRY_QUERY : rows[i].retry);
        assert_int_equal(cas.maybe_applied, rows[i].sent);
        assert_true(crosses_the_socket(rows[i].error));
        assert_true(strlen(s3_error_broken_text(i)) > 5);
    }
    assert_int_equal(s3_error_broken(S3_BROKEN_CONNECT, CREATE).retry, S3_RETRY_TRANSIENT);
    assert_int_equal(s3_error_broken(S3_BROKEN_RECEIVE, CREATE).retry, S3_RETRY_QUERY);
    assert_int_equal(s3_error_broken(S3_BROKEN_COUNT, 0).error, -EIO);
    assert_int_equal(s3_error_broken(-1, 0).error, -EIO);
    assert_non_null(s3_error_broken_text(S3_BROKEN_COUNT));
}

static void test_names_of_retry_classes_differ(void **state)
{
    (void)state;
    for (unsigned i = S3_RETRY_NEVER; i <= S3_RETRY_QUERY; i++)
        for (unsigned j = S3_RETRY_NEVER; j < i; j++)
            assert_string_not_equal(s3_retry_name(i), s3_retry_name(j));
}

static void test_backoff_grows_to_a_bound(void **state)
{
    (void)state;
    const uint64_t ms = 1000000;

    assert_true(s3_backoff_ns(S3_RETRY_TRANSIENT, 0, UINT32_MAX, 0) == 50 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_QUERY, 3, UINT32_MAX, 0) == 400 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 0, UINT32_MAX, 0) == 1000 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 4, UINT32_MAX, 0) == 16000 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 5, UINT32_MAX, 0) == 20000 * ms);
    const unsigned late[] = {9, 15, 16, 31, 32, 63, 64, UINT32_MAX};
    for (size_t i = 0; i < COUNT(late); i++) {
        assert_true(s3_backoff_ns(S3_RETRY_TRANSIENT, late[i], UINT32_MAX, 0) == 20000 * ms);
        assert_true(s3_backoff_ns(S3_RETRY_TRANSIENT, late[i], 0, 0) == 0);
    }
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 0, UINT32_MAX / 2, 0) / ms == 499);

    uint64_t last = 0; /* the random number spreads it evenly */
    for (uint64_t r = 0; r <= UINT32_MAX; r += UINT32_MAX / 100) {
        uint64_t d = s3_backoff_ns(S3_RETRY_THROTTLE, 2, (uint32_t)r, 0);
        assert_true(d >= last && d <= 4000 * ms);
        last = d;
    }
}

static void test_the_server_may_ask_for_five_seconds_more(void **state)
{
    (void)state;
    const uint64_t ms = 1000000;

    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 0, 0, 300) == 300 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 0, UINT32_MAX, 300) == 1000 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 0, UINT32_MAX, 4000) == 4000 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 0, UINT32_MAX, 60000) == 6000 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 0, 0, UINT64_MAX) == 5000 * ms);
    assert_true(s3_backoff_ns(S3_RETRY_THROTTLE, 9, UINT32_MAX, UINT64_MAX) == 25000 * ms);
}

static void test_the_budget_ends_and_comes_back(void **state)
{
    (void)state;
    struct s3_budget b;
    unsigned fee = 0, n = 0;

    s3_budget_init(&b);
    s3_budget_refund(&b, 14);
    assert_int_equal(b.tokens, S3_BUDGET_MAX);
    for (; s3_budget_take(&b, S3_RETRY_TRANSIENT, &fee); n++)
        assert_int_equal(fee, 14);
    assert_int_equal(n, S3_BUDGET_MAX / 14);
    assert_true(s3_budget_take(&b, S3_RETRY_THROTTLE, &fee)); /* 500 = 35 · 14 + 10 */
    assert_int_equal(fee, 5);
    assert_true(s3_budget_take(&b, S3_RETRY_THROTTLE, &fee));
    fee = 77;
    assert_false(s3_budget_take(&b, S3_RETRY_THROTTLE, &fee));
    assert_int_equal(fee, 77);
    s3_budget_refund(&b, 0);
    assert_int_equal(b.tokens, 1);
    s3_budget_refund(&b, 14);
    assert_true(s3_budget_take(&b, S3_RETRY_QUERY, &fee));
    assert_int_equal(fee, 14);
    for (n = 0; n < 2 * S3_BUDGET_MAX; n++)
        s3_budget_refund(&b, 0);
    assert_int_equal(b.tokens, S3_BUDGET_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_is_found_whatever_the_status),
        cmocka_unit_test(test_every_row_reacts_to_circumstances),
        cmocka_unit_test(test_circumstances),
        cmocka_unit_test(test_unknown_codes_are_marked),
        cmocka_unit_test(test_once_is_enough_for_what_does_not_heal),
        cmocka_unit_test(test_what_never_arrived_is_repeated_and_the_rest_is_asked_for),
        cmocka_unit_test(test_names_of_retry_classes_differ),
        cmocka_unit_test(test_backoff_grows_to_a_bound),
        cmocka_unit_test(test_the_server_may_ask_for_five_seconds_more),
        cmocka_unit_test(test_the_budget_ends_and_comes_back),
    };
    return cmocka_run_group_tests_name("s3-error", tests, NULL, NULL);
}
