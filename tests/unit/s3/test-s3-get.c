/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Ranges: every byte in its place or none, whatever the server makes of the request. */
#include "tests/unit/s3/scene.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/limits.h"
#include "s3proxyd/aws/digest.h"

#define SIZE 600000u
#define FROM 100000u
#define LENGTH 400000u
#define TAG ETAG("v1")

static char object[SIZE];
static unsigned progress_calls;
static uint64_t progress_last;

static int fill_object(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        object[i] = (char)(i * 7 + i / 251);
    return 0;
}

static void on_progress(struct store_req *req, uint64_t got)
{
    assert_true(got >= progress_last && got <= req->length);
    progress_last = got;
    progress_calls++;
}

static struct store_req range_request(uint32_t *crcs)
{
    progress_calls = 0;
    progress_last = 0;
    return (struct store_req){.op = STORE_GET,
                              .key = "k",
                              .if_match = "\"v1\"",
                              .offset = FROM,
                              .length = LENGTH,
                              .sink = {.fd = memfd_create("sink", MFD_CLOEXEC),
                                       .fd_offset = FROM,
                                       .object_size = SIZE,
                                       .block_crcs = crcs,
                                       .progress = on_progress}};
}

static void check_range(const struct store_req *req)
{
    static char got[LENGTH];

    assert_int_equal(req->got, LENGTH);
    assert_int_equal(pread(req->sink.fd, got, LENGTH, FROM), LENGTH);
    assert_memory_equal(got, object + FROM, LENGTH);
    assert_int_equal(lseek(req->sink.fd, 0, SEEK_END), FROM + LENGTH);
    for (uint64_t b = FROM / BLOCK_BYTES; b * BLOCK_BYTES < FROM + LENGTH; b++) {
        uint32_t crc = req->sink.block_crcs[b - FROM / BLOCK_BYTES];

        if (b * BLOCK_BYTES < FROM || (b + 1) * BLOCK_BYTES > FROM + LENGTH)
            assert_int_equal(crc, 0xabababab); /* lies only partly in the range */
        else
            assert_int_equal(crc, digest_crc32c(0, object + b * BLOCK_BYTES, BLOCK_BYTES));
    }
}

static void get(const struct fake_step *steps, size_t nsteps, int error)
{
    uint32_t crcs[LENGTH / BLOCK_BYTES + 2];
    struct store_req req = range_request(crcs);
    struct scene s;

    memset(crcs, 0xab, sizeof(crcs));
    scene_open(&s, steps, nsteps, 0, 0);
    assert_int_equal(s3_bench_run(&s.bench, &req), error);
    scene_had(&s, 0, "If-Match: \"v1\"\r\n");
    scene_had(&s, 0, "Range: bytes=100000-499999\r\n");
    if (nsteps == 2) {
        scene_had(&s, 1, "If-Match: \"v1\"\r\n");
        scene_had(&s, 1, "Range: bytes=200000-499999\r\n");
    }
    if (error == 0)
        check_range(&req);
    else
        assert_true(strstr(req.error_text, "object") || strstr(req.error_text, "no & no"));
    close(req.sink.fd);
    store_req_fini(&req);
    scene_close(&s, nsteps);
}

static void test_one_reply(void **state)
{
    const struct fake_step step = {.status = 206,
                                   .head = TAG "Content-Range: bytes 100000-499999/600000\r\n",
                                   .body = object + FROM,
                                   .body_len = LENGTH};

    (void)state;
    get(&step, 1, 0);
    assert_true(progress_calls >= 1);
}

static void in_two(bool announced)
{
    const struct fake_step steps[] = {
        {.status = 206,
         .head = announced ? TAG "Content-Range: bytes 100000-199999/600000\r\n"
                           : TAG "Content-Range: bytes 100000-499999/600000\r\n",
         .body = object + FROM,
         .body_len = 100000,
         .announce = announced ? 0 : LENGTH},
        {.status = 206,
         .head = TAG "Content-Range: bytes 200000-499999/600000\r\n",
         .body = object + 200000,
         .body_len = 300000}};

    get(steps, 2, 0);
}

static void test_short_body_goes_on_where_it_ended(void **state)
{
    (void)state;
    in_two(false);
}

static void test_less_than_asked_for_goes_on(void **state)
{
    (void)state;
    in_two(true);
}

/* All that was wanted has come: how the reply ends is no concern of ours. Asking for the nothing that is
 * left would be refused, and taken for another version. */
static void test_a_broken_end_is_none(void **state)
{
    const struct fake_step step = {.status = 206,
                                   .head = TAG "Content-Range: bytes 100000-499999/600000\r\n",
                                   .body = object + FROM,
                                   .body_len = LENGTH,
                                   .announce = LENGTH + 1};

    (void)state;
    get(&step, 1, 0);
}

static void test_ignored_range_is_cut_out(void **state)
{
    const struct fake_step step = {
        .status = 200, .head = TAG, .body = object, .body_len = SIZE, .close = true};

    (void)state;
    get(&step, 1, 0);
}

static void stale(const char *head, int status, const char *body)
{
    const struct fake_step step = {.status = status,
                                   .head = head,
                                   .body = body ? body : object,
                                   .body_len = body ? 0 : LENGTH,
                                   .close = true};

    get(&step, 1, -ESTALE);
}

static void test_another_version_is_stale(void **state)
{
    (void)state;
    stale(ETAG("v2") "Content-Range: bytes 100000-499999/600000\r\n", 206, NULL);
    stale(TAG "Content-Range: bytes 100000-499999/700000\r\n", 206, NULL);
    stale(TAG, 200, NULL); /* a whole of another size */
    stale("", 412, S3_ERROR("PreconditionFailed"));
    stale("", 404, S3_ERROR("NoSuchKey"));
    stale("", 416, S3_ERROR("InvalidRange"));
}

static void test_wrong_range_is_not_believed(void **state)
{
    const struct fake_step wrong = {.status = 206,
                                    .head = TAG "Content-Range: bytes 0-399999/600000\r\n",
                                    .body = object,
                                    .body_len = LENGTH,
                                    .close = true};
    const struct fake_step steps[] = {wrong, wrong, wrong, wrong};
    struct store_req req = range_request(NULL);
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), -EIO);
    assert_int_equal(req.got, 0);
    assert_int_equal(lseek(req.sink.fd, 0, SEEK_END), 0);
    close(req.sink.fd);
    store_req_fini(&req);
    scene_close(&s, 3);
}

/* Without a version from the caller, the first reply's pins the rest. */
static void test_pins_what_it_began_with(void **state)
{
    const struct fake_step steps[] = {{.status = 206,
                                       .head = TAG "Content-Range: bytes 100000-499999/600000\r\n",
                                       .body = object + FROM,
                                       .body_len = 100000,
                                       .announce = LENGTH},
                                      {.status = 412, .body = S3_ERROR("PreconditionFailed")}};
    struct store_req req = range_request(NULL);
    struct scene s;

    (void)state;
    req.if_match = NULL;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), -ESTALE);
    assert_int_equal(req.got, 100000); /* what came is good, and counted */
    scene_had_not(&s, 0, "If-Match");
    scene_had(&s, 1, "If-Match: \"v1\"\r\n");
    close(req.sink.fd);
    store_req_fini(&req);
    scene_close(&s, 2);
}

static void test_empty_range_needs_no_server(void **state)
{
    struct store_req req = range_request(NULL);
    struct scene s;

    (void)state;
    req.sink.object_size = 0;
    scene_open(&s, NULL, 0, 0, 0);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    assert_int_equal(req.got, 0);
    close(req.sink.fd);
    store_req_fini(&req);
    scene_close(&s, 0);
}

static void test_full_disk_is_said(void **state)
{
    const struct fake_step step = {.status = 206,
                                   .head = TAG "Content-Range: bytes 100000-499999/600000\r\n",
                                   .body = object + FROM,
                                   .body_len = LENGTH,
                                   .close = true};
    struct store_req req = range_request(NULL);
    struct scene s;

    (void)state;
    close(req.sink.fd);
    req.sink.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    scene_open(&s, &step, 1, 0, 0);
    assert_int_equal(s3_bench_run(&s.bench, &req), -ENOSPC);
    assert_non_null(strstr(req.error_text, "No space left"));
    assert_int_equal(req.got, 0);
    close(req.sink.fd);
    store_req_fini(&req);
    scene_close(&s, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_reply),
        cmocka_unit_test(test_short_body_goes_on_where_it_ended),
        cmocka_unit_test(test_less_than_asked_for_goes_on),
        cmocka_unit_test(test_a_broken_end_is_none),
        cmocka_unit_test(test_ignored_range_is_cut_out),
        cmocka_unit_test(test_another_version_is_stale),
        cmocka_unit_test(test_wrong_range_is_not_believed),
        cmocka_unit_test(test_pins_what_it_began_with),
        cmocka_unit_test(test_empty_range_needs_no_server),
        cmocka_unit_test(test_full_disk_is_said),
    };

    return cmocka_run_group_tests(tests, fill_object, NULL);
}
