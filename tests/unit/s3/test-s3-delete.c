/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Deleting many keys: which go together, which alone, and whose failure is whose. */
#include "tests/unit/s3/scene.h"

static const char *const keys[] = {"a", "b\001", "c", "d"};

static void delete_many(const struct fake_step *steps, size_t nsteps, int error, const int want[4])
{
    struct store_req req = {.op = STORE_DELETE_MANY, .keys = keys, .nkeys = 4};
    struct scene s;

    scene_open(&s, steps, nsteps, 0, 0);
    assert_int_equal(s3_bench_run(&s.bench, &req), error);
    scene_saw(&s, 0, "POST /bkt?delete= ");
    scene_had(&s, 0, "Content-MD5: ");
    if (nsteps > 1)
        scene_saw(&s, nsteps - 1, nsteps == 5 ? "DELETE /bkt/d " : "DELETE /bkt/");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(req.key_errors[i], want[i]);
    store_req_fini(&req);
    scene_close(&s, nsteps);
}
#define DELETE(steps, error, ...) \
    delete_many(steps, sizeof(steps) / sizeof((steps)[0]), error, (const int[4]){__VA_ARGS__})

#define RESULT(inner)                                                   \
    {                                                                   \
        .status = 200, .body = "<DeleteResult>" inner "</DeleteResult>" \
    }
#define KEY_ERROR(key, code) \
    "<Error><Key>" key "</Key><Code>" code "</Code><Message>m</Message></Error>"
#define DELETED       \
    {                 \
        .status = 204 \
    }

static void test_what_xml_cannot_carry_goes_alone(void **state)
{
    static const struct fake_step steps[] = {RESULT(""), DELETED};

    (void)state;
    DELETE(steps, 0, 0, 0, 0, 0);
}

static void test_each_key_has_its_own_error(void **state)
{
    static const struct fake_step steps[] = {
        RESULT(KEY_ERROR("a", "AccessDenied") KEY_ERROR("c", "NoSuchKey")),
        {.status = 403, .body = S3_ERROR("AccessDenied")}};

    (void)state;
    DELETE(steps, 0, -EACCES, -EACCES, 0, 0);
}

static void test_passing_failures_are_repeated(void **state)
{
    static const struct fake_step steps[] = {RESULT(KEY_ERROR("d", "InternalError")),
                                             DELETED,
                                             {.status = 500, .body = S3_ERROR("InternalError")},
                                             DELETED};

    (void)state;
    DELETE(steps, 0, 0, 0, 0, 0);
}

static void test_store_without_batches(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 501, .body = S3_ERROR("NotImplemented")}, DELETED, DELETED, DELETED, DELETED};

    (void)state;
    DELETE(steps, 0, 0, 0, 0, 0);
}

static void test_refused_batch_is_everybodys(void **state)
{
    static const struct fake_step steps[] = {{.status = 403, .body = S3_ERROR("AccessDenied")}};

    (void)state;
    DELETE(steps, -EACCES, -EACCES, -EACCES, -EACCES, -EACCES);
}

static void test_absent_is_deleted(void **state)
{
    static const struct fake_step steps[] = {{.status = 404, .body = S3_ERROR("NoSuchKey")}};
    struct store_req req = {.op = STORE_DELETE, .key = "k"};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    store_req_fini(&req);
    scene_close(&s, 1);
}

static void test_abort_of_what_is_gone(void **state)
{
    static const struct fake_step steps[] = {{.status = 404, .body = S3_ERROR("NoSuchUpload")}};
    struct store_req req = {.op = STORE_MPU_ABORT, .key = "k", .upload_id = "U/+"};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    scene_saw(&s, 0, "DELETE /bkt/k?uploadId=U%2F%2B ");
    store_req_fini(&req);
    scene_close(&s, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_xml_cannot_carry_goes_alone),
        cmocka_unit_test(test_each_key_has_its_own_error),
        cmocka_unit_test(test_passing_failures_are_repeated),
        cmocka_unit_test(test_store_without_batches),
        cmocka_unit_test(test_refused_batch_is_everybodys),
        cmocka_unit_test(test_absent_is_deleted),
        cmocka_unit_test(test_abort_of_what_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
