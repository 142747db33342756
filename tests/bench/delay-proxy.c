/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Puts a server on this machine far away: every connection to the proxy is a line to the server
 * with a round-trip time and, if asked, a rate of its own in each direction; opening it costs one
 * round trip. It counts what passes. There is no loss and no slow start, as on a line that has been
 * in use for a while.
 *
 *   delay-proxy --target PORT [--listen PORT] [--rtt-ms N] [--rate-mb N] [--count] [--stats FILE]
 *
 * All of it is on 127.0.0.1. It says "listening on PORT" once it does. SIGUSR1: writes the figures
 * since the last time into FILE, as a whole (rename), and begins anew. SIGTERM: writes them and
 * ends. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/list.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "tests/bench/flow.h"

#define EVENTS 256
#define BULK_BYTES \
    (64u * 1024) /* moving more than this in one round, it is worth waiting for more */
#define BULK_TICK_NS (NS_PER_MS / 2)
#define LINE_HOLDS_MAX (1024u * 1024)
#define SERVER_RCVBUF (1 << 20) /* what the server may send ahead of the line */

struct conn;

struct end { /* of a connection: what an event is about */
    struct conn *conn;
    int fd;
    struct flow *in, *out;
};

struct conn {
    struct list link;
    struct end client, server;
    struct flow up, down;
};

struct proxy {
    struct list conns;
    int epoll, listener, signals;
    uint16_t target;
    uint64_t rtt_ns;
    struct flow_line up, down;
    bool count;
    const char *stats;
    uint64_t sequence, opened, open, peak_open, begin_ns, down_bytes, up_bytes;
    double begin_cpu;
    bool stop;
};

/* ---- connections */

static void conn_free(struct proxy *p, struct conn *c)
{
    p->up_bytes += c->up.delivered;
    p->down_bytes += c->down.delivered;
    p->open--;
    list_del(&c->link);
    flow_fini(&c->up);
    flow_fini(&c->down);
    closep(&c->client.fd);
    closep(&c->server.fd);
    free(c);
}

static int watch(struct proxy *p, struct end *end)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = end};
    int one = 1;
    setsockopt(end->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, end->fd, &ev) < 0 ? -errno : 0;
}

static int connect_target(const struct proxy *p)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(p->target),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int size = SERVER_RCVBUF;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

static int conn_begin(struct proxy *p, struct conn *c, int client)
{
    c->client = (struct end){c, client, &c->up, &c->down};
    c->server = (struct end){c, connect_target(p), &c->down, &c->up};
    if (c->server.fd < 0)
        return c->server.fd;
    int r = flow_init(&c->up, &p->up, client, c->server.fd);
    if (r == 0)
        r = flow_init(&c->down, &p->down, c->server.fd, client);
    c->up.counted = p->count;
    c->up.free_ns = clock_mono_ns() + p->rtt_ns; /* the handshake */
    if (r == 0)
        r = watch(p, &c->client);
    return r == 0 ? watch(p, &c->server) : r;
}

static void accept_all(struct proxy *p)
{
    int fd;
    while ((fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof(*c));
        if (!c) {
            close(fd);
            return;
        }
        c->up = c->down = (struct flow){.pipe = {-1, -1}};
        list_add_tail(&p->conns, &c->link);
        p->opened++;
        p->peak_open = MAX(p->peak_open, ++p->open);
        int r = conn_begin(p, c, fd);
        if (r < 0) {
            fprintf(stderr, "delay-proxy: a connection failed: %s\n", strerror(-r));
            conn_free(p, c);
        }
    }
}

static void end_event(struct end *end, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        end->in->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        end->out->writable = true;
    if (events & EPOLLERR)
        end->in->broken = true;
}

/* Moves what is due on all connections; returns when the next thing is. */
static uint64_t run_all(struct proxy *p, uint64_t now_ns)
{
    struct conn *c, *next;
    uint64_t wake = FLOW_NEVER;
    list_for_each_safe (c, next, &p->conns, link) {
        flow_run(&c->up, now_ns);
        flow_run(&c->down, now_ns);
        if (c->up.broken || c->down.broken || (c->up.ended && c->down.ended)) {
            conn_free(p, c);
            continue;
        }
        wake = MIN(wake, flow_next_ns(&c->up));
        wake = MIN(wake, flow_next_ns(&c->down));
    }
    return wake;
}

/* ---- figures */

static double cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void print_figures(const struct proxy *p, FILE *out)
{
    const struct conn *c;
    uint64_t up = p->up_bytes, down = p->down_bytes;
    list_for_each (c, &p->conns, link) {
        up += c->up.delivered;
        down += c->down.delivered;
    }
    fprintf(out, "{\"sequence\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f,",
            (unsigned long long)p->sequence, (double)(clock_mono_ns() - p->begin_ns) / 1e9,
            cpu_seconds() - p->begin_cpu);
    fprintf(out, " \"opened\": %llu, \"open\": %llu, \"peak_open\": %llu,",
            (unsigned long long)p->opened, (unsigned long long)p->open,
            (unsigned long long)p->peak_open);
    fprintf(out, " \"bytes_up\": %llu, \"bytes_down\": %llu, \"requests\": {",
            (unsigned long long)up, (unsigned long long)down);
    for (int i = 0; i < HTTP_KINDS; i++)
        fprintf(out, "%s\"%s\": %llu", i ? ", " : "", http_kind_names[i],
                (unsigned long long)p->up.requests[i]);
    fputs("}}\n", out);
}

static void begin_figures(struct proxy *p)
{
    struct conn *c;
    list_for_each (c, &p->conns, link)
        c->up.delivered = c->down.delivered = 0;
    memset(p->up.requests, 0, sizeof(p->up.requests));
    p->up_bytes = p->down_bytes = p->opened = 0;
    p->peak_open = p->open;
    p->begin_ns = clock_mono_ns();
    p->begin_cpu = cpu_seconds();
    p->sequence++;
}

static void say_figures(struct proxy *p)
{
    _cleanup_(freep) char *part = p->stats ? str_dup_printf("%s.part", p->stats) : NULL;
    FILE *out = part ? fopen(part, "w") : stdout;
    if (!out) {
        perror("delay-proxy: stats");
        return;
    }
    print_figures(p, out);
    fflush(out);
    if (part && (fclose(out) || rename(part, p->stats) < 0))
        perror("delay-proxy: stats");
    begin_figures(p);
}

static void signal_event(struct proxy *p)
{
    struct signalfd_siginfo info;
    while (read(p->signals, &info, sizeof(info)) == sizeof(info)) {
        say_figures(p);
        p->stop = p->stop || info.ssi_signo != SIGUSR1;
    }
}

/* ---- the loop */

static void sleep_ns(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    nanosleep(&ts, NULL);
}

static void loop(struct proxy *p)
{
    struct epoll_event events[EVENTS];
    uint64_t wake = FLOW_NEVER, moved = 0;
    while (!p->stop) {
        /* While much is moving every packet would be an event: let some gather. */
        if (p->up.moved + p->down.moved - moved >= BULK_BYTES)
            sleep_ns(BULK_TICK_NS);
        moved = p->up.moved + p->down.moved;
        uint64_t now = clock_mono_ns(), left = wake > now ? wake - now : 0;
        struct timespec ts = {.tv_sec = (time_t)(left / NS_PER_S),
                              .tv_nsec = (long)(left % NS_PER_S)};
        int n = epoll_pwait2(p->epoll, events, EVENTS, wake == FLOW_NEVER ? NULL : &ts, NULL);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &p->listener)
                accept_all(p);
            else if (events[i].data.ptr == &p->signals)
                signal_event(p);
            else
                end_event(events[i].data.ptr, events[i].events);
        }
        wake = run_all(p, clock_mono_ns());
    }
}

static int add(struct proxy *p, int *fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};
    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, *fd, &ev) < 0 ? -errno : 0;
}

static int start(struct proxy *p, uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit files;
    socklen_t len = sizeof(at);
    sigset_t set;
    int one = 1;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    p->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->signals < 0 || p->epoll < 0 || p->listener < 0)
        return -errno;
    setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(p->listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(p->listener, 1024) < 0 || getsockname(p->listener, (struct sockaddr *)&at, &len) < 0)
        return -errno;
    if (add(p, &p->signals) < 0 || add(p, &p->listener) < 0)
        return -errno;
    printf("listening on %d\n", ntohs(at.sin_port));
    fflush(stdout);
    return 0;
}

static int usage(void)
{
    fputs("usage: delay-proxy --target PORT [--listen PORT] [--rtt-ms N] [--rate-mb N] [--count]\n"
          "                   [--stats FILE]\n",
          stderr);
    return 1;
}

/* 0, or the exit code. */
static int parse(struct proxy *p, int argc, char **argv, uint16_t *ret_port)
{
    static const struct option longs[] = {{"target", 1, NULL, 't'}, {"listen", 1, NULL, 'l'},
                                          {"rtt-ms", 1, NULL, 'd'}, {"rate-mb", 1, NULL, 'r'},
                                          {"count", 0, NULL, 'c'},  {"stats", 1, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    uint64_t n[256] = {0};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'c')
            p->count = true;
        else if (c == 's')
            p->stats = optarg;
        else if (c == '?' || str_to_u64(optarg, 10, &n[c]) < 0 || n[c] > UINT16_MAX)
            return usage();
    }
    if (!n['t'] || optind < argc)
        return usage();
    p->target = (uint16_t)n['t'];
    p->rtt_ns = n['d'] * NS_PER_MS;
    p->up.delay_ns = p->down.delay_ns = p->rtt_ns / 2;
    p->up.bytes_per_s = p->down.bytes_per_s = n['r'] * 1000 * 1000;
    *ret_port = (uint16_t)n['l'];
    if (n['r'] * 1000 * n['d'] / 2 > LINE_HOLDS_MAX) {
        fprintf(stderr,
                "delay-proxy: such a line holds more than %u bytes each way, which is too much\n",
                LINE_HOLDS_MAX);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct proxy p = {.conns = LIST_INIT(p.conns)};
    uint16_t port;
    struct conn *c, *next;
    if (parse(&p, argc, argv, &port))
        return 1;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int r = start(&p, port);
    if (r < 0) {
        fprintf(stderr, "delay-proxy: %s\n", strerror(-r));
        return 1;
    }
    begin_figures(&p);
    loop(&p);
    list_for_each_safe (c, next, &p.conns, link)
        conn_free(&p, c);
    return 0;
}
