/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the broker takes from a daemon that lies, and the daemon from a broker that does. The kernel
 * is not asked here (a pipe stands for /dev/fuse); tests/mount/test_passthrough.py does that. */
#include "fused/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE 5000

static char name[] = "/tmp/hafiz-broker-XXXXXX";
static int file = -1, sock = -1, broker_sock = -1;
static int not_fuse[2];
static int served; /* what broker_serve() returned */
static pthread_t thread;

static void *serve(void *arg)
{
    (void)arg;
    served = broker_serve(broker_sock, not_fuse[0], geteuid());
    close(broker_sock);
    return NULL;
}

static int setup(void **state)
{
    int pair[2];

    (void)state;
    memcpy(name + sizeof(name) - 7, "XXXXXX", 6);
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    close(fd);
    file = open(name, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pipe2(not_fuse, O_CLOEXEC), 0);
    assert_int_equal(broker_pair(pair), 0);
    sock = pair[0];
    broker_sock = pair[1];
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(sock);
    pthread_join(thread, NULL);
    close(file);
    close(not_fuse[0]);
    close(not_fuse[1]);
    unlink(name);
    return 0;
}

static void test_only_a_whole_file_of_the_owner_opened_for_reading(void **state)
{
    int pipe_fds[2], rw = open(name, O_RDWR | O_CLOEXEC), path = open(name, O_PATH | O_CLOEXEC);
    int dir = open("/tmp", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(broker_check(file, SIZE, geteuid()), 0);
    assert_int_equal(broker_check(file, SIZE + 1, geteuid()), -EPERM);
    assert_int_equal(broker_check(file, SIZE, geteuid() + 1), -EPERM);
    assert_int_equal(broker_check(rw, SIZE, geteuid()), -EPERM);
    assert_int_equal(broker_check(path, SIZE, geteuid()), -EPERM);
    assert_int_equal(broker_check(dir, SIZE, geteuid()), -EPERM);
    assert_int_equal(broker_check(pipe_fds[0], 0, geteuid()), -EPERM);
    assert_int_equal(broker_check(-1, SIZE, geteuid()), -EBADF);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close(rw);
    close(path);
    close(dir);
}

static void test_refusals_do_not_end_it(void **state)
{
    uint32_t id = 7;
    int ring = memfd_create("ring", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(ring, SIZE), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(broker_open(sock, file, SIZE - 1, &id), -EPERM);
        assert_int_equal(broker_open(sock, ring, SIZE, &id), -EPERM); /* writable */
        assert_int_equal(broker_open(sock, -1, SIZE, &id), -EINVAL);
        /* Without the right it fails at the mount, with it at what is no /dev/fuse. */
        int r = broker_open(sock, file, SIZE, &id);
        assert_true(r == -EPERM || r == -ENOTTY || r == -EINVAL);
        assert_int_equal(broker_close(sock, 1), 0);
    }
    assert_int_equal(id, 7);
    close(ring);
}

static void say(const void *bytes, size_t len, unsigned nfds)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {(void *)bytes, len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nfds > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(nfds * sizeof(int));
        for (unsigned i = 0; i < nfds; i++)
            memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &file, sizeof(int));
    }
    assert_int_equal(sendmsg(sock, &m, MSG_NOSIGNAL), len);
}

static void expect_end(void)
{
    char c[64];

    assert_int_equal(recv(sock, c, sizeof(c), 0), 0);
    pthread_join(thread, NULL);
    assert_int_equal(served, -EPROTO);
    broker_sock = open("/dev/null", O_RDONLY | O_CLOEXEC); /* for teardown's join */
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
}

static const uint64_t ask[3] = {1, SIZE, 0}; /* kind 1, id 0 */

static void test_a_short_question_ends_it(void **state)
{
    (void)state;
    say(ask, 15, 0);
    expect_end();
}

static void test_a_long_question_ends_it(void **state)
{
    (void)state;
    say(ask, 17, 0);
    expect_end();
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Two fit into the room for one; none stays open. */
static void test_many_descriptors_end_it(void **state)
{
    const unsigned counts[] = {2, 3, 8};

    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        unsigned before = open_fds();
        say(ask, 16, counts[i]);
        expect_end();
        assert_true(open_fds() <= before);
        teardown(state);
        setup(state);
    }
}

static void test_unknown_and_odd_questions_are_refused(void **state)
{
    const uint64_t odd[2] = {99, 0}, close_with_file[2] = {2 | 1ull << 32, 0};
    int32_t answer[2];

    (void)state;
    say(odd, 16, 0);
    assert_int_equal(recv(sock, answer, sizeof(answer), 0), 8);
    assert_int_equal(answer[0], -EINVAL);
    say(close_with_file, 16, 1);
    assert_int_equal(recv(sock, answer, sizeof(answer), 0), 8);
    assert_int_equal(answer[0], -EINVAL);
}

static void test_a_broker_that_lies_is_not_believed(void **state)
{
    const struct {
        int32_t words[3];
        size_t len;
        int want;
    } lies[] = {
        {{0, 0}, 8, -EPROTO},       {{0, -1}, 8, -EPROTO},    {{5, 1}, 8, -EPROTO},
        {{-100000, 1}, 8, -EPROTO}, {{0, 1}, 4, -EPROTO},     {{0, 1, 1}, 12, -EPROTO},
        {{-EMFILE, 1}, 8, -EMFILE}, {{0, 12345}, 8, 0},
    };
    int pair[2];

    (void)state;
    assert_int_equal(broker_pair(pair), 0);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        uint32_t id = 7;
        assert_int_equal(send(pair[1], lies[i].words, lies[i].len, 0), lies[i].len);
        assert_int_equal(broker_open(pair[0], file, SIZE, &id), lies[i].want);
        assert_int_equal(id, lies[i].want ? 7 : 12345);
    }
    uint32_t id;
    assert_int_equal(broker_open(pair[0], file, SIZE, &id), -ETIMEDOUT);
    close(pair[1]);
    assert_int_equal(broker_open(pair[0], file, SIZE, &id), -EPIPE);
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_a_whole_file_of_the_owner_opened_for_reading,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_do_not_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_short_question_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_long_question_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_descriptors_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_and_odd_questions_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_broker_that_lies_is_not_believed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
