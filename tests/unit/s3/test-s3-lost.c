/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Writes whose answer was lost: done once, and only once, and reported as what they were. */
#include "tests/unit/s3/scene.h"

#define OURS                                                                                       \
    {                                                                                              \
        .status = 200, .head = ETAG(HELLO_MD5) "Last-Modified: Fri, 24 May 2013 00:00:00 GMT\r\n", \
        .announce = sizeof(HELLO) - 1                                                              \
    }
#define OTHERS                                                           \
    {                                                                    \
        .status = 200, .head = ETAG("ffffffffffffffffffffffffffffffff"), \
        .announce = sizeof(HELLO) - 1                                    \
    }
#define ABSENT        \
    {                 \
        .status = 404 \
    }
#define FAILED                                           \
    {                                                    \
        .status = 500, .body = S3_ERROR("InternalError") \
    }
#define DROPPED       \
    {                 \
        .close = true \
    }
#define REFUSED                                               \
    {                                                         \
        .status = 412, .body = S3_ERROR("PreconditionFailed") \
    }
#define TAKEN                                  \
    {                                          \
        .status = 200, .head = ETAG(HELLO_MD5) \
    }

static void put(const struct fake_step *steps, size_t nsteps, int error)
{
    struct store_req req = scene_put("k");
    struct scene s;

    scene_open(&s, steps, nsteps, 0, 0);
    assert_int_equal(s3_bench_run(&s.bench, &req), error);
    scene_saw(&s, 0, "PUT /bkt/k HTTP/1.1");
    scene_had(&s, 0, "If-None-Match: *");
    for (size_t i = 1; i < nsteps; i++) /* a look after each attempt */
        scene_saw(&s, i, i % 2 ? "HEAD /bkt/k " : "PUT /bkt/k ");
    if (error == 0) {
        assert_string_equal(req.meta.etag, "\"" HELLO_MD5 "\"");
        assert_int_equal(req.meta.size, strlen(HELLO));
        assert_string_equal(req.error_text, "");
    } else {
        assert_non_null(strstr(req.error_text, "PreconditionFailed"));
        assert_null(req.meta.etag);
    }
    store_req_fini(&req);
    scene_close(&s, nsteps);
}
#define PUT(steps, error) put(steps, sizeof(steps) / sizeof((steps)[0]), error)

static void test_500_after_the_effect_is_success(void **state)
{
    static const struct fake_step steps[] = {FAILED, OURS};

    (void)state;
    PUT(steps, 0);
}

static void test_500_without_effect_is_sent_again(void **state)
{
    static const struct fake_step steps[] = {FAILED, ABSENT, TAKEN};

    (void)state;
    PUT(steps, 0);
}

static void test_412_of_our_own_is_success(void **state)
{
    static const struct fake_step steps[] = {DROPPED, ABSENT, REFUSED, OURS};

    (void)state;
    PUT(steps, 0);
}

static void test_412_of_somebody_else_stands(void **state)
{
    static const struct fake_step steps[] = {DROPPED, ABSENT, REFUSED, OTHERS};

    (void)state;
    PUT(steps, -EEXIST);
}

static void test_412_at_once_needs_no_look(void **state)
{
    static const struct fake_step steps[] = {REFUSED};

    (void)state;
    PUT(steps, -EEXIST);
}

/* A kept connection that closes without a byte: libcurl would have sent the PUT again. */
static void test_reused_connection_dies(void **state)
{
    static const struct fake_step steps[] = {TAKEN, DROPPED, OURS};
    struct store_req first = scene_put("a"), second = scene_put("b");
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &first), 0);
    assert_int_equal(s3_bench_run(&s.bench, &second), 0);
    scene_saw(&s, 1, "PUT /bkt/b ");
    scene_saw(&s, 2, "HEAD /bkt/b ");
    store_req_fini(&first);
    store_req_fini(&second);
    scene_close(&s, 3);
}

static void test_plain_put_is_just_sent_again(void **state)
{
    static const struct fake_step steps[] = {FAILED, TAKEN};
    struct store_req req = scene_put("k");
    struct scene s;

    (void)state;
    req.if_none_match = false;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    scene_saw(&s, 1, "PUT /bkt/k ");
    scene_had_not(&s, 1, "If-None-Match");
    store_req_fini(&req);
    scene_close(&s, 2);
}

#define PART_MD5 "00112233445566778899aabbccddeeff"
#define WHOLE_MD5 "99556f33a844eb186c38a2f61f5350d3-2"
#define LATE_ERROR                                                 \
    {                                                              \
        .status = 200, .body = "\n   \n" S3_ERROR("InternalError") \
    } /* blanks, then it failed after all */
#define WHOLE                                                  \
    {                                                          \
        .status = 200, .head = ETAG(WHOLE_MD5), .announce = 10 \
    }
#define GONE                                            \
    {                                                   \
        .status = 404, .body = S3_ERROR("NoSuchUpload") \
    }

static void complete(const struct fake_step *steps, size_t nsteps, int error)
{
    static const char *const etags[] = {"\"" PART_MD5 "\"", "\"" PART_MD5 "\""};
    struct store_req req = {.op = STORE_MPU_COMPLETE,
                            .key = "k",
                            .upload_id = "U",
                            .part_etags = etags,
                            .nparts = 2,
                            .length = 10};
    struct scene s;

    scene_open(&s, steps, nsteps, 0, 0);
    assert_int_equal(s3_bench_run(&s.bench, &req), error);
    scene_saw(&s, 0, "POST /bkt/k?uploadId=U ");
    if (error == 0)
        assert_string_equal(req.meta.etag, "\"" WHOLE_MD5 "\"");
    store_req_fini(&req);
    scene_close(&s, nsteps);
}
#define COMPLETE(steps, error) complete(steps, sizeof(steps) / sizeof((steps)[0]), error)

static void test_complete_error_behind_200(void **state)
{
    static const struct fake_step landed[] = {LATE_ERROR, WHOLE};
    static const struct fake_step again[] = {
        LATE_ERROR,
        ABSENT,
        {.status = 200,
         .body = "<CompleteMultipartUploadResult><ETag>\"" WHOLE_MD5
                 "\"</ETag></CompleteMultipartUploadResult>"}};

    (void)state;
    COMPLETE(landed, 0);
    COMPLETE(again, 0);
}

static void test_upload_gone_after_lost_complete(void **state)
{
    static const struct fake_step ours[] = {DROPPED, ABSENT, GONE, WHOLE};
    static const struct fake_step never[] = {GONE};
    static const struct fake_step lost[] = {DROPPED, ABSENT, GONE, ABSENT};

    (void)state;
    COMPLETE(ours, 0);
    COMPLETE(never, -EIO);
    COMPLETE(lost, -EIO);
}

static void test_copy_reads_the_whole_answer(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 200, .body = "  " S3_ERROR("SlowDown")},
        {.status = 200,
         .body = "<CopyObjectResult><LastModified>2024-01-01T00:00:00Z</LastModified>"
                 "<ETag>&quot;new&quot;</ETag></CopyObjectResult>"}};
    struct store_req req = {.op = STORE_COPY,
                            .key = "to",
                            .src_key = "fr om/\xc3\xbc+",
                            .src_if_match = "\"old\"",
                            .length = 7};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    assert_string_equal(req.meta.etag, "\"new\"");
    assert_int_equal(req.meta.size, 7);
    scene_had(&s, 0, "x-amz-copy-source: /bkt/fr%20om/%C3%BC%2B\r\n");
    scene_had(&s, 0, "x-amz-copy-source-if-match: \"old\"\r\n");
    scene_had_not(&s, 0, "metadata-directive");
    store_req_fini(&req);
    scene_close(&s, 2);
}

static void test_conditional_delete_lost(void **state)
{
    static const struct fake_step steps[] = {DROPPED, ABSENT};
    struct store_req req = {.op = STORE_DELETE, .key = "k", .if_match = "\"e\""};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    store_req_fini(&req);
    scene_close(&s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_500_after_the_effect_is_success),
        cmocka_unit_test(test_500_without_effect_is_sent_again),
        cmocka_unit_test(test_412_of_our_own_is_success),
        cmocka_unit_test(test_412_of_somebody_else_stands),
        cmocka_unit_test(test_412_at_once_needs_no_look),
        cmocka_unit_test(test_reused_connection_dies),
        cmocka_unit_test(test_plain_put_is_just_sent_again),
        cmocka_unit_test(test_complete_error_behind_200),
        cmocka_unit_test(test_upload_gone_after_lost_complete),
        cmocka_unit_test(test_copy_reads_the_whole_answer),
        cmocka_unit_test(test_conditional_delete_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
