/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Both ends at full speed: several threads call through one client, a channel on a loop answers in any
 * order, some replies large, some with descriptors, while calls expire and connections are lost. For
 * ThreadSanitizer above all. */
#include "tests/unit/proto/raw-peer.h"

#include <pthread.h>
#include <stdatomic.h>

#include "proto/base/clock.h"
#include "proto/chan.h"
#include "proto/client.h"

#define CALLERS 4u
#define CALLS 1500u /* of each caller */
#define WINDOW 40u  /* in flight of each caller */

/* --- the server: its own thread, its own loop --- */

struct held { /* a reply kept back, to be sent later and in another order */
    uint64_t id, offset;
};

struct server {
    struct loop *loop;
    struct chan *chan;
    struct loop_timer *timer;
    struct held held[64];
    unsigned nheld, seed;
    unsigned drop_after; /* frames until the connection is dropped; 0: never */
    int fd;
    pthread_t thread;
};

static void send_reply(struct server *s, const struct held *h)
{
    static uint8_t page[200000];
    struct str out = STR_NULL;
    const struct msg_read_rep rep = {.inline_data = 1, .size = h->offset};
    unsigned nfds = h->offset % 16 == 0 ? 1 + (unsigned)(h->offset / 16 % 4) : 0;
    size_t len = h->offset % 64 == 5 ? sizeof(page) : 8;
    int fds[4] = {-1, -1, -1, -1};

    must(msg_head_pack(&out, MSG_KIND_REPLY, h->id, MSG_READ) == 0);
    must(msg_pack_read_rep(&out, &rep) == 0);
    memcpy(page, &h->offset, sizeof(h->offset));
    for (unsigned i = 0; i < nfds; i++)
        fds[i] = numbered_fd(h->offset);
    int r = chan_send(s->chan, &out, page, len, fds, nfds);
    must(r == 0 || r == -EPIPE);
    rx_close_fds(fds, nfds);
    str_fini(&out);
}

static void send_held(void *arg)
{
    struct server *s = arg;

    while (s->nheld > 0) {
        unsigned k = (unsigned)rand_r(&s->seed) % s->nheld;
        send_reply(s, &s->held[k]);
        s->held[k] = s->held[--s->nheld];
    }
}

static void server_frame(void *arg, const struct msg_head *head, struct frame *frame)
{
    struct server *s = arg;
    struct msg_read_req m;

    (void)frame;
    if (s->drop_after > 0 && --s->drop_after == 0) {
        chan_shutdown(s->chan);
        return;
    }
    if (head->method != MSG_READ)
        return; /* RELEASE */
    must(msg_unpack_read_req(head->fields, head->fields_len, &m) == 0);
    if (s->nheld == ARRAY_SIZE(s->held))
        send_held(s);
    s->held[s->nheld++] = (struct held){head->id, m.offset};
    if (rand_r(&s->seed) % 3 == 0)
        send_held(s);
    loop_timer_set_ms(s->timer, 1);
}

static void server_closed(void *arg, int error)
{
    struct server *s = arg;

    (void)error;
    chan_free(s->chan);
    loop_stop(s->loop);
}

static void *server_thread(void *arg)
{
    static const struct chan_ops ops = {server_frame, server_closed};
    struct server *s = arg;

    must(loop_new(&s->loop) == 0);
    must(loop_timer_new(s->loop, send_held, s, &s->timer) == 0);
    must(chan_new(s->loop, s->fd, &ops, s, &s->chan) == 0);
    must(loop_run(s->loop) == 0);
    loop_timer_free(s->timer);
    loop_free(s->loop);
    return NULL;
}

static int server_start(struct server *s, unsigned drop_after)
{
    int p[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) == 0);
    *s = (struct server){.fd = p[0], .seed = 7 + drop_after, .drop_after = drop_after};
    must(pthread_create(&s->thread, NULL, server_thread, s) == 0);
    return p[1];
}

/* --- the callers --- */

struct caller {
    struct client *c;
    pthread_t thread;
    uint64_t base;
    atomic_uint in_flight;
    unsigned answered, expired; /* by done, which runs on several threads: under lock */
    pthread_mutex_t lock;
    bool deadlines;
};

struct call {
    struct client_call base;
    struct caller *caller;
    uint64_t offset;
};

static void call_done(struct client_call *base, const struct client_reply *reply)
{
    struct call *call = container_of(base, struct call, base);
    struct caller *caller = call->caller;
    struct msg_read_rep rep;
    uint64_t first;

    if (reply->error == 0) {
        must(msg_unpack_read_rep(reply->fields, reply->fields_len, &rep) == 0);
        must(rep.size == call->offset);
        memcpy(&first, reply->payload, sizeof(first));
        must(first == call->offset);
        must(reply->nfds == (call->offset % 16 == 0 ? 1 + call->offset / 16 % 4 : 0));
        for (unsigned i = 0; i < reply->nfds; i++)
            must(number_of_fd(reply->fds[i]) == call->offset);
    } else {
        must(reply->error == -ETIMEDOUT);
    }
    pthread_mutex_lock(&caller->lock);
    caller->answered += reply->error == 0;
    caller->expired += reply->error != 0;
    pthread_mutex_unlock(&caller->lock);
    free(call);
    atomic_fetch_sub(&caller->in_flight, 1);
}

static void call_one(struct caller *caller, uint64_t i)
{
    struct call *call = calloc(1, sizeof(*call));
    struct str fields = STR_NULL;

    must(call != NULL);
    call->caller = caller;
    call->offset = caller->base + i;
    if (caller->deadlines)
        call->base.deadline_ns = clock_mono_ns() + (i % 7) * NS_PER_MS / 4 + 1;
    must(msg_pack_read_req(&fields, &(struct msg_read_req){
        .fh = 1, .offset = call->offset, .size = 8, .want_inline = 1}) == 0);
    atomic_fetch_add(&caller->in_flight, 1);
    must(client_start(caller->c, &call->base, MSG_READ, &fields, NULL, 0, call_done) == 0);
    if (i % 10 == 0)
        must(client_send_oneway(caller->c, MSG_RELEASE, &fields, NULL, 0) == 0);
    str_fini(&fields);
}

static void *caller_thread(void *arg)
{
    struct caller *caller = arg;

    for (uint64_t i = 0; i < CALLS; i++) {
        while (atomic_load(&caller->in_flight) >= WINDOW)
            usleep(50);
        call_one(caller, i);
        if (caller->deadlines && i % 5 == 0)
            client_expire(caller->c);
    }
    while (atomic_load(&caller->in_flight) > 0)
        usleep(100);
    return NULL;
}

static void *runner_thread(void *arg)
{
    return (void *)(intptr_t)client_run(arg);
}

static void start_callers(struct client *c, struct caller callers[CALLERS], bool deadlines)
{
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.c = c, .base = (uint64_t)i << 32, .deadlines = deadlines};
        pthread_mutex_init(&callers[i].lock, NULL);
        must(pthread_create(&callers[i].thread, NULL, caller_thread, &callers[i]) == 0);
    }
}

static void finish_callers(struct caller callers[CALLERS])
{
    for (unsigned i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].answered + callers[i].expired, CALLS);
        pthread_mutex_destroy(&callers[i].lock);
    }
}

static void talk(bool deadlines)
{
    struct caller callers[CALLERS];
    unsigned before = open_fds();
    struct server server;
    struct client *c;
    pthread_t runner;
    void *result;

    must(client_new(server_start(&server, 0), &c) == 0);
    must(pthread_create(&runner, NULL, runner_thread, c) == 0);
    start_callers(c, callers, deadlines);
    finish_callers(callers);
    client_stop(c);
    pthread_join(runner, &result);
    assert_int_equal((intptr_t)result, 0);
    pthread_join(server.thread, NULL);
    client_free(c);
    assert_int_equal(open_fds(), before);
}

static void test_many_threads(void **state)
{
    (void)state;
    talk(false);
}

static void test_many_threads_and_deadlines(void **state)
{
    (void)state;
    talk(true);
}

static void test_many_threads_and_lost_connections(void **state)
{
    struct caller callers[CALLERS];
    unsigned before = open_fds();
    struct server server;
    struct client *c;
    int r;

    (void)state;
    must(client_new(server_start(&server, 100), &c) == 0);
    start_callers(c, callers, false);
    for (unsigned life = 1; life <= 12; life++) {
        r = client_run(c);
        assert_true(r <= 0);
        assert_false(client_connected(c));
        pthread_join(server.thread, NULL);
        must(client_replace_fd(c, server_start(&server, life < 12 ? 50 * life : 0)) == 0);
    }
    pthread_t runner;
    must(pthread_create(&runner, NULL, runner_thread, c) == 0);
    finish_callers(callers);
    client_stop(c);
    pthread_join(runner, NULL);
    pthread_join(server.thread, NULL);
    client_free(c);
    assert_int_equal(open_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_many_threads_and_deadlines),
        cmocka_unit_test(test_many_threads_and_lost_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
