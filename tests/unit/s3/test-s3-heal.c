/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A wrong region and a wrong clock are mended once and remembered; more than once is a failure. */
#include "tests/unit/s3/scene.h"

#include "proto/base/clock.h"
#include "s3proxyd/aws/date.h"

#define FOUND                            \
    {                                    \
        .status = 200, .head = ETAG("e") \
    }

static void head_ok(struct scene *s, int error)
{
    struct store_req req = {.op = STORE_HEAD, .key = "k"};

    assert_int_equal(s3_bench_run(&s->bench, &req), error);
    store_req_fini(&req);
}

static void test_region_from_header_is_remembered(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 301, .head = "x-amz-bucket-region: there-2\r\n"}, FOUND, FOUND};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    head_ok(&s, 0);
    head_ok(&s, 0);
    scene_had(&s, 0, "/here-1/s3/aws4_request");
    scene_had(&s, 1, "/there-2/s3/aws4_request");
    scene_had(&s, 2, "/there-2/s3/aws4_request");
    scene_close(&s, 3);
}

static void test_region_from_document(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 400,
         .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>there-2</Region>"
                 "<Message>m</Message></Error>"},
        {.status = 200,
         .body = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"}};
    struct store_req req = {.op = STORE_CHECK};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    scene_had(&s, 1, "/there-2/s3/aws4_request");
    store_req_fini(&req);
    scene_close(&s, 2);
}

static void test_second_redirect_is_final(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 301, .head = "x-amz-bucket-region: there-2\r\n"},
        {.status = 301, .head = "x-amz-bucket-region: here-1\r\n"}};
    static const struct fake_step evil[] = {
        {.status = 301, .head = "x-amz-bucket-region: evil.example/x?\r\n"}};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    head_ok(&s, -EIO);
    scene_close(&s, 2);
    SCENE(&s, evil);
    head_ok(&s, -EIO);
    scene_close(&s, 1);
}

static void test_clock_is_taken_from_the_server(void **state)
{
    char head[64], date[DATE_HTTP_SIZE], amz[DATE_AMZ_SIZE], want[40];
    int64_t there = clock_real_ns() + 1200 * (int64_t)NS_PER_S;
    struct store_req req = {.op = STORE_CHECK};
    struct fake_step steps[] = {
        {.status = 403, .head = head, .body = S3_ERROR("RequestTimeTooSkewed")},
        {.status = 200,
         .body = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"},
        FOUND};
    struct scene s;

    (void)state;
    date_format_http(there, date);
    date_format_amz(there, amz);
    snprintf(head, sizeof(head), "Date: %s\r\n", date);
    snprintf(want, sizeof(want), "x-amz-date: %.12s", amz); /* the seconds move */
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    head_ok(&s, 0);
    scene_had_not(&s, 0, want);
    scene_had(&s, 1, want);
    scene_had(&s, 2, want);
    store_req_fini(&req);
    scene_close(&s, 3);
}

/* Plain http across a network signs the bytes themselves; here the name makes it look like one. */
static void payload(const char *host, bool insecure, const char *want)
{
    static const struct fake_step steps[] = {{.status = 200, .head = ETAG("e")}};
    struct fake_http *server = fake_http_start(steps, 1);
    struct store_req req = scene_put("k");
    char endpoint[64];
    struct s3_bench_config config = {
        .s3 = {.endpoint = endpoint, .bucket = "bkt", .insecure_http = insecure},
        .access_key = "AK",
        .secret_key = "SK"};
    struct s3_bench b;

    snprintf(endpoint, sizeof(endpoint), "http://%s:%u", host, fake_http_port(server));
    assert_int_equal(s3_bench_init(&b, &config), 0);
    assert_int_equal(s3_bench_run(&b, &req), 0);
    assert_non_null(strstr(fake_http_head(server, 0), want));
    store_req_fini(&req);
    s3_bench_fini(&b);
    fake_http_stop(server);
}

static void test_payload_is_signed_across_a_network(void **state)
{
    (void)state;
    payload("127.0.0.1", false, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
    payload("0", true, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
    payload(
        "0", false,
        "x-amz-content-sha256: 09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_region_from_header_is_remembered),
        cmocka_unit_test(test_region_from_document),
        cmocka_unit_test(test_second_redirect_is_final),
        cmocka_unit_test(test_clock_is_taken_from_the_server),
        cmocka_unit_test(test_payload_is_signed_across_a_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
