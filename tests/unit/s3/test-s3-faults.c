/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A server that fails, lies or keeps silent, and a user who loses patience. */
#include "tests/unit/s3/scene.h"

#include <unistd.h>

#include "proto/base/clock.h"

#define LIST(inner)                                             \
    "<?xml version=\"1.0\"?><ListBucketResult><Name>bkt</Name>" \
    "<EncodingType>url</EncodingType>" inner "</ListBucketResult>"
#define CONTENT(key)                                                       \
    "<Contents><Key>" key "</Key><Size>5</Size><ETag>&quot;e&quot;</ETag>" \
    "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
#define PAGE(token)                                         \
    LIST(CONTENT("a%20b") "<IsTruncated>true</IsTruncated>" \
                          "<NextContinuationToken>" token "</NextContinuationToken>")

static void test_throttled_then_served(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 503, .head = "x-amz-retry-after: 1\r\n", .body = S3_ERROR("SlowDown")},
        {.status = 200, .head = ETAG("e")}};
    struct store_req req = {.op = STORE_HEAD, .key = "k"};
    struct store_stats stats;
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    assert_string_equal(req.meta.etag, "\"e\"");
    assert_string_equal(req.error_text, "");
    s.bench.store->impl->stats(s.bench.store, &stats);
    assert_int_equal(stats.requests[STORE_HEAD], 2);
    assert_int_equal(stats.throttled, 1);
    assert_int_equal(stats.retries, 1);
    store_req_fini(&req);
    scene_close(&s, 2);
}

static void test_refusal_is_final_and_explained(void **state)
{
    static const struct fake_step steps[] = {{.status = 403, .body = S3_ERROR("AccessDenied")}};
    struct store_req req = {.op = STORE_LIST, .key = "p/"};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), -EACCES);
    assert_string_equal(req.error_text, "403 AccessDenied: no & no, request id R1");
    store_req_fini(&req);
    scene_close(&s, 1);
}

static void test_garbage_listing_is_asked_for_again(void **state)
{
    static const struct fake_step steps[] = {{.status = 200, .body = "<html><body>hi</body>"},
                                             {.status = 200, .body = "<ListBucketResult><Con"},
                                             {.status = 200, .body = PAGE("T2")}};
    struct store_req req = {.op = STORE_LIST, .key = "a", .list.max_keys = 7};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    scene_saw(&s, 0,
              "GET /bkt?delimiter=%2F&encoding-type=url&list-type=2&max-keys=7&prefix=a ");
    assert_int_equal(req.nentries, 1);
    assert_string_equal(req.entries[0].key, "a b");
    assert_string_equal(req.next_token, "T2");
    store_req_fini(&req);
    scene_close(&s, 3);
}

static void test_endless_garbage_ends(void **state)
{
    static const struct fake_step garbage = {.status = 200, .body = "nonsense"};
    struct fake_step steps[10];
    struct store_req req = {.op = STORE_LIST};
    struct scene s;

    (void)state;
    for (size_t i = 0; i < 10; i++)
        steps[i] = garbage;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), -EIO);
    assert_true(req.error_text[0]);
    store_req_fini(&req);
    scene_close(&s, 5); /* once and four retries */
}

static void test_token_loop_is_noticed(void **state)
{
    static const struct fake_step steps[] = {{.status = 200, .body = PAGE("T")}};
    struct store_req req = {.op = STORE_LIST, .list = {.token = "T", .recursive = true}};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(s3_bench_run(&s.bench, &req), -EIO);
    scene_had_not(&s, 0, "delimiter");
    scene_had(&s, 0, "continuation-token=T");
    store_req_fini(&req);
    scene_close(&s, 1);
}

static void test_silence_is_a_failure(void **state)
{
    static const struct fake_step steps[] = {{.hang = true}, {.status = 200, .head = ETAG("e")}};
    struct store_req req = {.op = STORE_HEAD, .key = "k"};
    struct scene s;

    (void)state;
    scene_open(&s, steps, 2, 5000, 50);
    assert_int_equal(s3_bench_run(&s.bench, &req), 0);
    store_req_fini(&req);
    scene_close(&s, 2);
}

static void test_deadline_cuts_silence_short(void **state)
{
    static const struct fake_step steps[] = {{.hang = true}};
    struct store_req req = {.op = STORE_HEAD, .key = "k"};
    uint64_t start = clock_mono_ns();
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    req.deadline_ns = start + 100 * NS_PER_MS;
    assert_int_equal(s3_bench_run(&s.bench, &req), -ETIMEDOUT);
    assert_in_range(clock_mono_ns() - start, 90 * NS_PER_MS, 2000 * NS_PER_MS);
    store_req_fini(&req);
    scene_close(&s, 1);
}

static void test_nobody_listens(void **state)
{
    struct store_req req = {.op = STORE_CHECK};
    struct s3_bench_config config = {
        .s3 = {.endpoint = "http://127.0.0.1:1", .bucket = "bkt", .retry_deadline_ms = 200}};
    struct s3_bench b;

    (void)state;
    assert_int_equal(s3_bench_init(&b, &config), 0);
    assert_int_equal(s3_bench_run(&b, &req), -EIO);
    assert_non_null(strstr(req.error_text, "cannot connect"));
    store_req_fini(&req);
    s3_bench_fini(&b);
}

struct canceller {
    struct scene *scene;
    struct store_req *req;
    struct loop_timer *timer;
};

static void cancel_now(void *arg)
{
    struct canceller *c = arg;

    if (fake_http_count(c->scene->server) == 0) { /* a busy machine: not at the server yet */
        loop_timer_set_ms(c->timer, 5);
        return;
    }
    store_cancel(c->req);
    store_cancel(c->req); /* twice is no harm */
}

static int run_and_cancel(struct scene *s, struct store_req *req, unsigned after_ms)
{
    struct canceller c = {s, req, NULL};

    assert_int_equal(loop_timer_new(s->bench.loop, cancel_now, &c, &c.timer), 0);
    s3_bench_submit(&s->bench, req);
    if (after_ms)
        loop_timer_set_ms(c.timer, after_ms);
    else
        store_cancel(req);
    s3_bench_wait(&s->bench);
    loop_timer_free(c.timer);
    return req->error;
}

static void test_cancelled_read_ends_at_once(void **state)
{
    static const struct fake_step steps[] = {{.hang = true}};
    struct store_req req = {.op = STORE_HEAD, .key = "k"};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(run_and_cancel(&s, &req, 30), -ECANCELED);
    store_req_fini(&req);
    scene_close(&s, 1);
}

/* Whether it gets as far as the server depends on which thread is quicker. */
static void test_cancelled_while_it_starts(void **state)
{
    static const struct fake_step steps[] = {{.hang = true}, {.hang = true}};
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    for (int i = 0; i < 2; i++) {
        struct store_req req = {.op = STORE_HEAD, .key = "k"};

        assert_int_equal(run_and_cancel(&s, &req, 0), -ECANCELED);
        store_req_fini(&req);
    }
    scene_close(&s, SCENE_ANY);
}

static void test_cancelled_backoff_ends_at_once(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 503, .head = "Retry-After: 4\r\n", .body = S3_ERROR("SlowDown")}};
    struct store_req req = {.op = STORE_HEAD, .key = "k"};
    uint64_t start = clock_mono_ns();
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(run_and_cancel(&s, &req, 50), -ECANCELED);
    assert_in_range(clock_mono_ns() - start, 0, 2000 * NS_PER_MS);
    store_req_fini(&req);
    scene_close(&s, 1);
}

static void test_sent_write_is_waited_for(void **state)
{
    static const struct fake_step steps[] = {{.status = 200, .head = ETAG("e"), .delay_ms = 100}};
    struct store_req req = scene_put("k");
    struct scene s;

    (void)state;
    SCENE(&s, steps);
    assert_int_equal(run_and_cancel(&s, &req, 30), 0);
    assert_string_equal(req.meta.etag, "\"e\"");
    store_req_fini(&req);
    scene_close(&s, 1);
}

static void test_impossible_requests_never_leave(void **state)
{
    static char long_key[1100];
    struct scene s;
    struct store_req reqs[] = {{.op = STORE_HEAD, .key = ""},
                               {.op = STORE_HEAD, .key = long_key},
                               {.op = STORE_HEAD, .key = "\xff"},
                               {.op = STORE_MPU_PART, .key = "k", .part_number = 1},
                               {.op = STORE_DELETE_MANY}};
    const int errors[] = {-EINVAL, -ENAMETOOLONG, -EILSEQ, -EINVAL, -EINVAL};

    (void)state;
    memset(long_key, 'x', sizeof(long_key) - 1);
    scene_open(&s, NULL, 0, 0, 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(s3_bench_run(&s.bench, &reqs[i]), errors[i]);
        assert_true(reqs[i].error_text[0]);
        store_req_fini(&reqs[i]);
    }
    scene_close(&s, 0);
}

static void test_header_injection_is_refused(void **state)
{
    char name[] = "mtime", value[] = "1\r\nx-amz-acl: public-read";
    struct store_pair pair = {name, value};
    struct store_req req = scene_put("k");
    struct scene s;

    (void)state;
    req.user = &pair;
    req.nuser = 1;
    scene_open(&s, NULL, 0, 0, 0);
    assert_int_equal(s3_bench_run(&s.bench, &req), -EINVAL);
    store_req_fini(&req);
    scene_close(&s, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_throttled_then_served),
        cmocka_unit_test(test_refusal_is_final_and_explained),
        cmocka_unit_test(test_garbage_listing_is_asked_for_again),
        cmocka_unit_test(test_endless_garbage_ends),
        cmocka_unit_test(test_token_loop_is_noticed),
        cmocka_unit_test(test_silence_is_a_failure),
        cmocka_unit_test(test_deadline_cuts_silence_short),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_cancelled_read_ends_at_once),
        cmocka_unit_test(test_cancelled_while_it_starts),
        cmocka_unit_test(test_cancelled_backoff_ends_at_once),
        cmocka_unit_test(test_sent_write_is_waited_for),
        cmocka_unit_test(test_impossible_requests_never_leave),
        cmocka_unit_test(test_header_injection_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
