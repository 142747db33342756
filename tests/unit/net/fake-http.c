/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One thread, poll(), blocking reads of whole requests: enough for a client that we wrote. */
#include "tests/unit/net/fake-http.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/must.h"

#define CONNS_MAX 32

struct fake_http {
    const struct fake_step *steps;
    size_t nsteps;
    int listener, stop_pipe[2];
    unsigned port;
    pthread_t thread;
    struct pollfd fds[2 + CONNS_MAX];
    nfds_t nfds;
    pthread_mutex_t lock;
    size_t count;
    char seen[FAKE_SEEN_MAX][FAKE_HEAD_SIZE];
};

static void send_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

/* The head, byte by byte up to the blank line, then the body is thrown away. False: the client hung
 * up. */
static bool read_request(int fd, char head[FAKE_HEAD_SIZE], unsigned pause_us)
{
    size_t len = 0, body = 0;
    const char *length;

    while (len + 1 < FAKE_HEAD_SIZE) {
        if (recv(fd, head + len, 1, 0) != 1)
            return false;
        head[++len] = '\0';
        if (len >= 4 && !memcmp(head + len - 4, "\r\n\r\n", 4))
            break;
    }
    length = strcasestr(head, "\r\nContent-Length:");
    if (length)
        body = strtoul(length + 17, NULL, 10);
    if (strcasestr(head, "\r\nExpect: 100-continue"))
        send_all(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    while (body) {
        char buf[16384];
        ssize_t n = recv(fd, buf, MIN(body, sizeof(buf)), 0);

        if (n <= 0)
            return false;
        body -= (size_t)n;
        if (pause_us)
            usleep(pause_us);
    }
    return true;
}

static void drop(struct fake_http *f, nfds_t i, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (reset)
        setsockopt(f->fds[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(f->fds[i].fd);
    f->fds[i] = f->fds[--f->nfds];
}

static void answer(int fd, const struct fake_step *step, bool head_only)
{
    size_t len = step->body_len ? step->body_len : step->body ? strlen(step->body) : 0;
    char head[1024];
    int n;

    if (!step->raw) {
        n = snprintf(head, sizeof(head), "HTTP/1.1 %d Scripted\r\nContent-Length: %zu\r\n%s\r\n",
                     step->status, step->announce ? step->announce : len,
                     step->head ? step->head : "");
        must(n > 0 && (size_t)n < sizeof(head));
        send_all(fd, head, (size_t)n);
    }
    if (!head_only)
        send_all(fd, step->body, len);
}

static void serve(struct fake_http *f, nfds_t i)
{
    static const struct fake_step surprise = {.status = 418, .body = "not in the script"};
    const struct fake_step *step = &surprise;
    char head[FAKE_HEAD_SIZE];
    int fd = f->fds[i].fd;
    bool head_only;

    if (!read_request(fd, head, f->count < f->nsteps ? f->steps[f->count].read_us : 0)) {
        drop(f, i, false);
        return;
    }
    pthread_mutex_lock(&f->lock);
    if (f->count < f->nsteps)
        step = &f->steps[f->count];
    if (f->count < FAKE_SEEN_MAX)
        memcpy(f->seen[f->count], head, sizeof(head));
    f->count++;
    pthread_mutex_unlock(&f->lock);
    head_only = !strncmp(head, "HEAD ", 5);
    if (step->hang)
        return;
    if (step->delay_ms)
        usleep(step->delay_ms * 1000);
    if (step->status || step->raw)
        answer(fd, step, head_only);
    if (step->close || step->reset || (!step->status && !step->raw) ||
        (step->announce && !head_only))
        drop(f, i, step->reset);
}

static void *fake_main(void *arg)
{
    struct fake_http *f = arg;

    for (;;) {
        poll(f->fds, f->nfds, -1);
        if (f->fds[0].revents)
            return NULL;
        for (nfds_t i = f->nfds; i-- > 2;) {
            if (f->fds[i].revents)
                serve(f, i);
        }
        if (f->fds[1].revents && f->nfds < ARRAY_SIZE(f->fds)) {
            f->fds[f->nfds].fd = accept(f->listener, NULL, NULL);
            f->fds[f->nfds].revents = 0;
            f->fds[f->nfds++].events = POLLIN;
        }
    }
}

struct fake_http *fake_http_start(const struct fake_step *steps, size_t nsteps)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    struct fake_http *f = calloc(1, sizeof(*f));

    must(f);
    f->steps = steps;
    f->nsteps = nsteps;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (nsteps && steps[0].read_us)
        setsockopt(f->listener, SOL_SOCKET, SO_RCVBUF, &(int){16384}, sizeof(int));
    must(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    must(listen(f->listener, 64) == 0);
    must(getsockname(f->listener, (struct sockaddr *)&addr, &len) == 0);
    must(pipe(f->stop_pipe) == 0);
    f->port = ntohs(addr.sin_port);
    f->fds[0] = (struct pollfd){f->stop_pipe[0], POLLIN, 0};
    f->fds[1] = (struct pollfd){f->listener, POLLIN, 0};
    f->nfds = 2;
    pthread_mutex_init(&f->lock, NULL);
    must(pthread_create(&f->thread, NULL, fake_main, f) == 0);
    return f;
}

void fake_http_stop(struct fake_http *f)
{
    must(write(f->stop_pipe[1], "", 1) == 1);
    pthread_join(f->thread, NULL);
    for (nfds_t i = 0; i < f->nfds; i++)
        close(f->fds[i].fd);
    close(f->stop_pipe[1]);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

unsigned fake_http_port(const struct fake_http *f)
{
    return f->port;
}

size_t fake_http_count(struct fake_http *f)
{
    size_t n;

    pthread_mutex_lock(&f->lock);
    n = f->count;
    pthread_mutex_unlock(&f->lock);
    return n;
}

const char *fake_http_head(struct fake_http *f, size_t n)
{
    must(n < fake_http_count(f) && n < FAKE_SEEN_MAX);
    return f->seen[n];
}
