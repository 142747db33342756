/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Many requests at once on several transfer threads, some cancelled at any moment, one store: what
 * the thread sanitizer is for. */
#include "tests/unit/s3/scene.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define REQUESTS 120u
#define SIZE 700000u

static char object[SIZE];

static unsigned progressed;

static void on_progress(struct store_req *req, uint64_t got)
{
    assert_in_range(got, 1, req->length);
    progressed++;
}

static void make(struct store_req *req, unsigned i)
{
    *req = (struct store_req){.op = i % 3 ? STORE_GET : STORE_HEAD,
                              .key = "k",
                              .length = SIZE,
                              .sink = {.fd = memfd_create("sink", MFD_CLOEXEC),
                                       .object_size = SIZE,
                                       .progress = on_progress}};
}

static void check(struct store_req *req, bool cancelled)
{
    static char got[SIZE];

    if (!cancelled || req->error != -ECANCELED) {
        assert_int_equal(req->error, 0);
        assert_int_equal(req->meta.size, SIZE);
    }
    if (req->op == STORE_GET) {
        assert_true(req->got <= SIZE);
        assert_int_equal(pread(req->sink.fd, got, SIZE, 0), req->got);
        assert_memory_equal(got, object, req->got);
        assert_true(req->error || req->got == SIZE);
    }
    close(req->sink.fd);
    store_req_fini(req);
}

static void test_crowd(void **state)
{
    static struct fake_step steps[REQUESTS];
    static struct store_req reqs[REQUESTS];
    struct fake_http *server;
    char endpoint[64];
    struct s3_bench_config config = {.net = {.threads = 3, .connections_per_host = 5},
                                     .s3 = {.endpoint = endpoint, .bucket = "bkt"},
                                     .access_key = "AK",
                                     .secret_key = "SK"};
    struct s3_bench b;

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        object[i] = (char)(i * 31 + i / 1021);
    for (unsigned i = 0; i < REQUESTS; i++)
        steps[i] =
            (struct fake_step){.status = 200, .head = ETAG("e"), .body = object, .body_len = SIZE};
    server = fake_http_start(steps, REQUESTS);
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", fake_http_port(server));
    assert_int_equal(s3_bench_init(&b, &config), 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        make(&reqs[i], i);
        s3_bench_submit(&b, &reqs[i]);
        if (i % 5 == 4)
            store_cancel(&reqs[i - 3]);
    }
    s3_bench_wait(&b);
    for (unsigned i = 0; i < REQUESTS; i++)
        check(&reqs[i], i % 5 == 1);
    assert_true(progressed > 0);
    s3_bench_fini(&b);
    fake_http_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crowd)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
