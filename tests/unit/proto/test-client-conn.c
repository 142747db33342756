/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The start of a conversation: who listens, hello, one question at a time. */
#include "tests/unit/proto/raw-peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "proto/base/clock.h"
#include "proto/client.h"

static const struct str no_fields = {(char *)"\x80", 1, 0};

/* A server that answers one request with prepared bytes and descriptors, then hangs up. */
struct server {
    struct raw raw;
    struct str bytes;
    int fds[4];
    unsigned nfds;
    bool keep; /* does not hang up */
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    struct raw_frame f;

    if (raw_recv(&s->raw, &f) == 1)
        raw_frame_fini(&f);
    if (s->nfds > 0)
        raw_send_fds(&s->raw, MSG_KIND_REPLY, 1, MSG_ATTACH, s->nfds, s->fds, s->nfds);
    raw_write(&s->raw, s->bytes.s, s->bytes.len);
    if (!s->keep)
        raw_close(&s->raw);
    return NULL;
}

static int start(struct server *s)
{
    int p[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) == 0);
    s->raw.fd = p[1];
    must(pthread_create(&s->thread, NULL, serve, s) == 0);
    return p[0];
}

static void finish(struct server *s)
{
    pthread_join(s->thread, NULL);
    raw_close(&s->raw);
    str_fini(&s->bytes);
}

static void prepare(struct server *s, uint64_t kind, uint64_t id, uint64_t method,
                    const struct str *fields)
{
    raw_pack(&s->bytes, kind, id, method, fields, NULL, 0, 0);
}

static int hello(struct server *s, struct msg_hello_rep *rep)
{
    int fd = start(s), r = client_hello(fd, "test", 2000, rep);

    finish(s);
    close(fd);
    return r;
}

static int hello_answered(uint64_t version)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;
    struct server s = {0};
    struct msg_hello_rep rep = {0};
    int r;

    msg_pack_hello_rep(&fields, &(struct msg_hello_rep){
        .version = version, .program = msg_str_of("x"), .backend_uid = 7});
    prepare(&s, MSG_KIND_REPLY, 1, MSG_HELLO, &fields);
    r = hello(&s, &rep);
    if (r == 0)
        assert_true(rep.backend_uid == 7 && rep.program.len == 0);
    return r;
}

static int hello_refused(int error)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;
    struct server s = {0};
    struct msg_hello_rep rep;

    msg_error_pack(&fields, error, "no");
    prepare(&s, MSG_KIND_ERROR, 1, MSG_HELLO, &fields);
    return hello(&s, &rep);
}

static void test_hello(void **state)
{
    (void)state;
    assert_int_equal(hello_answered(PROTO_VERSION_MAX), 0);
    assert_int_equal(hello_answered(PROTO_VERSION_MAX + 1), -EPROTONOSUPPORT);
    assert_int_equal(hello_answered(0), -EPROTONOSUPPORT);
    assert_int_equal(hello_refused(-EPROTONOSUPPORT), -EPROTONOSUPPORT);
    assert_int_equal(hello_refused(-EPROTO), -EPROTONOSUPPORT);
    assert_int_equal(hello_refused(-EACCES), -EACCES);
}

static void test_hello_to_something_else(void **state)
{
    struct server http = {0}, silent = {.keep = true}, gone = {0}, other = {0};
    struct msg_hello_rep rep;
    uint64_t begin = clock_mono_ns();
    int fd;

    (void)state;
    str_add(&http.bytes, "HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_int_equal(hello(&http, &rep), -EPROTO);
    assert_int_equal(hello(&gone, &rep), -ECONNRESET);
    prepare(&other, MSG_KIND_REPLY, 2, MSG_HELLO, NULL); /* of another call */
    assert_int_equal(hello(&other, &rep), -EPROTO);
    fd = start(&silent);
    assert_int_equal(client_hello(fd, "test", 50, &rep), -ETIMEDOUT);
    assert_true(clock_mono_ns() - begin < 5 * NS_PER_S);
    finish(&silent);
    close(fd);
}

/* What follows the reply in the same packet is still there for client_run(). */
static int push_cb(void *arg, const struct msg_head *head, const struct frame *frame)
{
    (void)frame;
    *(uint64_t *)arg += head->method == MSG_INVALIDATE;
    return 0;
}

static void test_ask_reads_no_further_than_its_reply(void **state)
{
    struct server s = {0};
    struct client_answer a;
    struct client *c;
    uint64_t pushes = 0;
    int fd;

    (void)state;
    prepare(&s, MSG_KIND_REPLY, 1, MSG_BIND, NULL);
    prepare(&s, MSG_KIND_REQUEST, 0, MSG_INVALIDATE, NULL);
    prepare(&s, MSG_KIND_REQUEST, 0, MSG_INVALIDATE, NULL);
    fd = start(&s);
    assert_int_equal(client_ask(fd, MSG_BIND, &no_fields, NULL, 0, 2000, &a), 0);
    assert_int_equal(a.error, 0);
    client_answer_fini(&a);
    finish(&s);
    assert_int_equal(client_new(fd, &c), 0);
    client_on_push(c, push_cb, &pushes);
    assert_int_equal(client_run(c), 0);
    assert_int_equal(pushes, 2);
    client_free(c);
}

static void test_ask_brings_descriptors(void **state)
{
    struct server s = {.nfds = 2, .keep = true};
    struct client_answer a;
    unsigned before;
    int fd, taken;

    (void)state;
    s.fds[0] = numbered_fd(10);
    s.fds[1] = numbered_fd(11);
    before = open_fds();
    fd = start(&s);
    assert_int_equal(client_ask(fd, MSG_ATTACH, &no_fields, NULL, 0, 2000, &a), 0);
    finish(&s);
    close(fd);
    assert_int_equal(a.nfds, 2);
    assert_int_equal(number_of_fd(a.fds[0]), 10);
    taken = take_fd(&a.fds[1]);
    client_answer_fini(&a);
    assert_int_equal(number_of_fd(taken), 11);
    close(taken);
    assert_int_equal(open_fds(), before);
    close(s.fds[0]);
    close(s.fds[1]);
}

static void test_ask_with_a_large_payload(void **state)
{
    _cleanup_(freep) char *big = calloc(1, PROTO_PAYLOAD_MAX_BYTES + 1);
    struct server s = {0};
    struct client_answer a;
    int fd;

    (void)state;
    prepare(&s, MSG_KIND_REPLY, 1, MSG_SETXATTR, NULL);
    fd = start(&s);
    int r = client_ask(fd, MSG_SETXATTR, &no_fields, big, PROTO_PAYLOAD_MAX_BYTES + 1, 2000, &a);
    assert_int_equal(r, -EMSGSIZE);
    r = client_ask(fd, MSG_SETXATTR, &no_fields, big, PROTO_PAYLOAD_MAX_BYTES, 2000, &a);
    assert_int_equal(r, 0);
    client_answer_fini(&a);
    finish(&s);
    close(fd);
}

static void test_connect_looks_who_listens(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/hafiz-test-XXXXXX", file[64], longer[200];
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, n;

    (void)state;
    assert_non_null(mkdtemp(dir));
    n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    assert_true(n > 0);
    snprintf(file, sizeof(file), "%s/file", dir);
    assert_int_equal(close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
    assert_int_equal(client_connect(addr.sun_path, getuid(), 1000, &fd), -ENOENT);
    assert_int_equal(client_connect(file, getuid(), 1000, &fd), -ENOTSOCK);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(client_connect(longer, getuid(), 1000, &fd), -ENAMETOOLONG);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(client_connect(addr.sun_path, getuid(), 1000, &fd), -ECONNREFUSED);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(client_connect(addr.sun_path, getuid(), 1000, &fd), 0);
    close(fd);
    if (geteuid() == 0 && chown(addr.sun_path, 12345, 12345) == 0) {
        assert_int_equal(client_connect(addr.sun_path, 0, 1000, &fd), -EPERM);
        chown(addr.sun_path, 0, 0) == 0 ? (void)0 : fail();
    }
    /* The backlog is full: no waiting for ever. */
    uint64_t begin = clock_mono_ns();
    int full[8], r = 0;
    size_t k = 0;
    for (; k < 8 && r == 0; k++)
        r = client_connect(addr.sun_path, getuid(), 50, &full[k]);
    assert_int_equal(r, -ETIMEDOUT);
    assert_true(clock_mono_ns() - begin < 5 * NS_PER_S);
    for (size_t i = 0; i + 1 < k; i++)
        close(full[i]);
    close(listener);
    unlink(addr.sun_path);
    unlink(file);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_hello_to_something_else),
        cmocka_unit_test(test_ask_reads_no_further_than_its_reply),
        cmocka_unit_test(test_ask_brings_descriptors),
        cmocka_unit_test(test_ask_with_a_large_payload),
        cmocka_unit_test(test_connect_looks_who_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
