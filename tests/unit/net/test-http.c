/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Exchanges on real transfer threads against a scripted server: what each way to end looks like,
 * and above all that nothing is ever sent twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "s3proxyd/net/http.h"
#include "tests/unit/net/fake-http.h"

#define HOST "Host: unit"

#define NO_ANSWER_US 1500000u

/* What libcurl's resolver threads call: the name server of one name does not answer. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    if (!strcmp(name, "silent.invalid")) {
        usleep(NO_ANSWER_US);
        return EAI_AGAIN;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, hints, ret);
}

struct stage {
    struct fake_http *server;
    struct loop *loop;
    struct mailbox *home;
    struct net *net;
    char origin[64];
};

struct job {
    struct mail mail, cancel;
    struct http http;
    struct net_thread *thread;
    struct stage *stage;
    char body[256];
    size_t len;
    int refuse;
    bool started;
};

static void stage_open(struct stage *s, const struct fake_step *steps, size_t n, unsigned stall_ms)
{
    struct net_config config = {.threads = 1, .stall_timeout_ms = stall_ms};

    s->server = fake_http_start(steps, n);
    snprintf(s->origin, sizeof(s->origin), "http://127.0.0.1:%u", fake_http_port(s->server));
    assert_int_equal(loop_new(&s->loop), 0);
    assert_int_equal(mailbox_new(s->loop, &s->home), 0);
    assert_int_equal(net_new(s->home, &config, &s->net), 0);
}

static void stage_close(struct stage *s, size_t requests)
{
    net_free(s->net);
    mailbox_free(s->home);
    loop_free(s->loop);
    assert_int_equal(fake_http_count(s->server), requests);
    fake_http_stop(s->server);
}

static int job_data(struct http *x, const void *data, size_t len)
{
    struct job *j = container_of(x, struct job, http);

    if (j->refuse)
        return j->refuse;
    assert_in_range(j->len + len, 0, sizeof(j->body) - 1);
    memcpy(j->body + j->len, data, len);
    j->len += len;
    return 0;
}

static void job_home(struct mail *mail)
{
    loop_stop(container_of(mail, struct job, mail)->stage->loop);
}

static void job_done(struct http *x)
{
    struct job *j = container_of(x, struct job, http);

    assert_true(j->started); /* never from inside http_start() */
    net_thread_release(j->thread);
    j->mail.run = job_home;
    mailbox_post(net_home(j->stage->net), &j->mail);
}

static void job_start(struct mail *mail)
{
    struct job *j = container_of(mail, struct job, mail);

    j->thread = net_thread_self();
    assert_int_equal(http_start(net_thread_http(j->thread), &j->http), 0);
    j->started = true;
}

static void job_cancel(struct mail *mail)
{
    http_cancel(&container_of(mail, struct job, cancel)->http);
}

static void job_run(struct stage *s, struct job *j, bool cancel)
{
    static const char *const host[] = {HOST};
    struct net_thread *t;

    j->stage = s;
    j->http.origin = j->http.origin ? j->http.origin : s->origin;
    j->http.target = j->http.target ? j->http.target : "/";
    j->http.headers = j->http.headers ? j->http.headers : host;
    j->http.nheaders = j->http.nheaders ? j->http.nheaders : 1;
    j->http.on_data = job_data;
    j->http.done = job_done;
    j->mail.run = job_start;
    j->cancel.run = job_cancel;
    t = net_post(s->net, &j->mail, 0);
    if (cancel) {
        usleep(30000);
        net_thread_post(t, &j->cancel);
    }
    assert_int_equal(loop_run(s->loop), 0);
}

#define STAGE(s, steps) stage_open(&(s), steps, ARRAY_SIZE(steps), 5000)

static void test_reply_is_handed_over(void **state)
{
    static const struct fake_step steps[] = {
        {.status = 200, .head = "ETag:  \"x\" \r\nX-A: 1\r\nX-A: 2\r\nEmpty:\r\n", .body = "body"}};
    struct job j = {.http.target = "/a//../b%2F?x=%20&y="};
    const char *name, *value;
    size_t pos = 0, n = 0;
    struct stage s;

    (void)state;
    STAGE(s, steps);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, HTTP_FAIL_NONE);
    assert_int_equal(j.http.status, 200);
    assert_string_equal(j.body, "body");
    assert_string_equal(http_header(&j.http, "etag"), "\"x\"");
    assert_string_equal(http_header(&j.http, "X-A"), "1");
    assert_string_equal(http_header(&j.http, "Empty"), "");
    assert_null(http_header(&j.http, "absent"));
    while (http_header_next(&j.http, &pos, &name, &value))
        n++;
    assert_int_equal(n, 5);
    /* exactly the target that was signed, nothing that proxies may change */
    assert_memory_equal(fake_http_head(s.server, 0), "GET /a//../b%2F?x=%20&y= HTTP/1.1\r\n", 35);
    assert_non_null(strstr(fake_http_head(s.server, 0), HOST "\r\n"));
    assert_null(strstr(fake_http_head(s.server, 0), "Accept-Encoding"));
    http_fini(&j.http);
    stage_close(&s, 1);
}

static void test_redirect_is_not_followed(void **state)
{
    static const struct fake_step steps[] = {{.status = 301, .head = "Location: /elsewhere\r\n"}};
    struct job j = {0};
    struct stage s;

    (void)state;
    STAGE(s, steps);
    job_run(&s, &j, false);
    assert_int_equal(j.http.status, 301);
    http_fini(&j.http);
    stage_close(&s, 1);
}

static void test_body_from_file_and_interim_reply(void **state)
{
    static const struct fake_step steps[] = {{.status = 200, .head = "X: final\r\n"}};
    struct job j = {.http = {.method = HTTP_PUT}};
    struct stage s;
    int fd = memfd_create("body", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(fd, 3000000), 0);
    j.http.body = (struct http_body){.fd = fd, .offset = 1000, .length = 2500000};
    STAGE(s, steps);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, HTTP_FAIL_NONE);
    assert_int_equal(j.http.status, 200); /* not the 100 before it */
    assert_string_equal(http_header(&j.http, "X"), "final");
    assert_int_equal(j.http.bytes_out, 2500000);
    assert_non_null(strstr(fake_http_head(s.server, 0), "Expect: 100-continue"));
    assert_non_null(strstr(fake_http_head(s.server, 0), "Content-Length: 2500000"));
    close(fd);
    http_fini(&j.http);
    stage_close(&s, 1);
}

/* libcurl takes half a MiB at once, and the kernel more: bytes move although neither asks for any. */
static void test_a_slow_line_up_is_no_stall(void **state)
{
    static const struct fake_step steps[] = {{.status = 200, .read_us = 8000}};
    struct job j = {.http = {.method = HTTP_PUT}};
    struct stage s;
    int fd = memfd_create("body", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(fd, 3 << 20), 0);
    j.http.body = (struct http_body){.fd = fd, .length = 3 << 20};
    stage_open(&s, steps, 1, 200);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, HTTP_FAIL_NONE);
    assert_int_equal(j.http.status, 200);
    close(fd);
    http_fini(&j.http);
    stage_close(&s, 1);
}

static void test_truncated_file_is_a_source_failure(void **state)
{
    static const struct fake_step steps[] = {{.status = 200}};
    struct job j = {.http = {.method = HTTP_PUT}};
    struct stage s;
    int fd = memfd_create("body", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(fd, 100), 0);
    j.http.body = (struct http_body){.fd = fd, .length = 200};
    STAGE(s, steps);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, HTTP_FAIL_SOURCE);
    assert_int_equal(j.http.error, -EIO);
    close(fd);
    http_fini(&j.http);
    stage_close(&s, 0);
}

/* The trap: libcurl would send the body again on a new connection. */
static void test_body_is_never_sent_twice(void **state)
{
    static const struct fake_step steps[] = {{.status = 200}, {.close = true}, {.status = 200}};
    struct job warm = {0};
    struct job j = {.http = {.method = HTTP_PUT, .body = {-1, 0, 5, "12345"}}};
    struct stage s;

    (void)state;
    STAGE(s, steps);
    job_run(&s, &warm, false);
    job_run(&s, &j, false);
    assert_in_range(j.http.failure, HTTP_FAIL_SEND, HTTP_FAIL_RECEIVE);
    assert_true(j.http.stale);
    assert_true(j.http.sent);
    http_fini(&warm.http);
    http_fini(&j.http);
    stage_close(&s, 2);
}

static void test_fresh_is_a_new_connection(void **state)
{
    static const struct fake_step steps[] = {{.status = 200}, {.close = true}, {.status = 200}};
    struct job warm = {0};
    struct job j = {.http = {.method = HTTP_DELETE, .fresh = true}};
    struct stage s;

    (void)state;
    STAGE(s, steps);
    job_run(&s, &warm, false);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, HTTP_FAIL_RECEIVE);
    assert_false(j.http.stale);
    http_fini(&warm.http);
    http_fini(&j.http);
    stage_close(&s, 2);
}

static void expect_failure(const struct fake_step *step, enum http_failure failure,
                           unsigned stall_ms, size_t requests)
{
    struct job j = {0};
    struct stage s;

    stage_open(&s, step, 1, stall_ms);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, failure);
    assert_true(j.http.text[0]);
    http_fini(&j.http);
    stage_close(&s, requests);
}

static void test_ways_to_end(void **state)
{
    static char big[HTTP_HEAD_MAX_BYTES + 4096];
    struct fake_step step = {.status = 200, .body = "short", .announce = 100};

    (void)state;
    expect_failure(&step, HTTP_FAIL_SHORT, 5000, 1);
    step = (struct fake_step){.hang = true};
    expect_failure(&step, HTTP_FAIL_STALL, 50, 1);
    step = (struct fake_step){.raw = true, .body = "SSH-2.0-OpenSSH\r\n", .close = true};
    expect_failure(&step, HTTP_FAIL_REPLY, 5000, 1);
    step = (struct fake_step){.reset = true};
    expect_failure(&step, HTTP_FAIL_RECEIVE, 5000, 1);
    /* a header section above the bound: many lines, each of a size libcurl takes */
    snprintf(big, sizeof(big), "HTTP/1.1 200 OK\r\n");
    for (size_t n = strlen(big); n < sizeof(big) - 1100; n += 1002) {
        memset(big + n, 'a', 1000);
        big[n + 1] = ':';
        memcpy(big + n + 1000, "\r\n", 2);
    }
    memcpy(big + strlen(big), "\r\n", 3);
    step = (struct fake_step){.raw = true, .body = big, .close = true};
    expect_failure(&step, HTTP_FAIL_REPLY, 5000, 1);
}

static void test_refused_connection_and_name(void **state)
{
    struct job j = {.http.origin = "http://127.0.0.1:1"};
    struct job k = {.http.origin = "http://no-such-host.invalid"};
    struct stage s;

    (void)state;
    stage_open(&s, NULL, 0, 5000);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, HTTP_FAIL_CONNECT);
    assert_false(j.http.sent);
    job_run(&s, &k, false);
    assert_int_equal(k.http.failure, HTTP_FAIL_RESOLVE);
    http_fini(&j.http);
    http_fini(&k.http);
    stage_close(&s, 0);
}

static void test_sink_may_refuse(void **state)
{
    static const struct fake_step steps[] = {{.status = 200, .body = "unwanted"}};
    struct job j = {.refuse = -ENOSPC};
    struct stage s;

    (void)state;
    STAGE(s, steps);
    job_run(&s, &j, false);
    assert_int_equal(j.http.failure, HTTP_FAIL_SINK);
    assert_int_equal(j.http.error, -ENOSPC);
    http_fini(&j.http);
    stage_close(&s, 1);
}

static void test_cancel(void **state)
{
    static const struct fake_step steps[] = {{.hang = true}};
    struct job j = {0};
    struct stage s;

    (void)state;
    STAGE(s, steps);
    job_run(&s, &j, true);
    assert_int_equal(j.http.failure, HTTP_FAIL_CANCELLED);
    http_fini(&j.http);
    stage_close(&s, 1);
}

/* Neither ends an exchange that is looking up a name late, nor holds up all others of the thread. */
static void test_cancel_does_not_wait_for_a_name(void **state)
{
    struct job j = {.http.origin = "http://silent.invalid"};
    struct stage s;

    (void)state;
    stage_open(&s, NULL, 0, 5000);
    uint64_t begin = clock_mono_ns();
    job_run(&s, &j, true);
    assert_int_equal(j.http.failure, HTTP_FAIL_CANCELLED);
    assert_true(clock_mono_ns() - begin < NO_ANSWER_US / 2 * 1000ULL);
    http_fini(&j.http);
    stage_close(&s, 0);
    usleep(NO_ANSWER_US); /* its thread still wants to end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply_is_handed_over),
        cmocka_unit_test(test_redirect_is_not_followed),
        cmocka_unit_test(test_body_from_file_and_interim_reply),
        cmocka_unit_test(test_a_slow_line_up_is_no_stall),
        cmocka_unit_test(test_truncated_file_is_a_source_failure),
        cmocka_unit_test(test_body_is_never_sent_twice),
        cmocka_unit_test(test_fresh_is_a_new_connection),
        cmocka_unit_test(test_ways_to_end),
        cmocka_unit_test(test_refused_connection_and_name),
        cmocka_unit_test(test_sink_may_refuse),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_does_not_wait_for_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
