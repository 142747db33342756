/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The only file that knows libevent. Loops share nothing: one base per loop, no locks, cross-thread wake-ups
 * are a descriptor like any other.
 *
 * Setting a timer must not fail, for callers have no error path for it. So timers stay in libevent's heap
 * (which never shrinks) all their life, "unset" being ten years ahead; should the heap yet have to grow and
 * cannot, the timer fires early. */
#include "proto/base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/base/must.h"

#define FAR_S (10 * 365 * 86400L)

struct loop {
    struct event_base *base;
    bool stopped;
    bool in_tasks;
    struct event tasks_soon; /* runs the queue below */
    struct list tasks;
};

struct loop_io {
    struct event read, write;
    unsigned want;
    loop_io_fn *fn;
    void *arg;
};

struct loop_timer {
    struct event event;
    loop_fn *fn;
    void *arg;
};

struct loop_signal {
    struct event event;
    loop_fn *fn;
    void *arg;
};

static void libevent_log(int severity, const char *msg)
{
    if (severity >= EVENT_LOG_WARN)
        log_warn("loop", "libevent: %s", log_esc(msg));
}

static void libevent_init(void)
{
    event_set_log_callback(libevent_log);
}

static int arm_far(struct event *event)
{
    return event_add(event, &(struct timeval){FAR_S, 0}) < 0 ? -ENOMEM : 0;
}

static void arm_or_fire(struct event *event, time_t s, suseconds_t us)
{
    if (event_add(event, &(struct timeval){s, us}) == 0)
        return;
    event_del(event);
    if (s < FAR_S)
        event_active(event, EV_TIMEOUT, 0);
}

static void tasks_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;
    struct list batch = LIST_INIT(batch);

    (void)fd;
    (void)what;
    /* Only what is queued now: tasks that queue tasks must not keep descriptors waiting. */
    loop->in_tasks = true;
    list_splice_tail(&batch, &loop->tasks);
    while (!list_empty(&batch)) {
        struct loop_task *task = list_first(&batch, struct loop_task, link);
        list_del(&task->link);
        task->fn(task->arg);
        if (loop->stopped) { /* the rest waits for another run, or for loop_free() */
            list_splice_tail(&batch, &loop->tasks);
            list_splice_tail(&loop->tasks, &batch);
        }
    }
    loop->in_tasks = false;
    arm_or_fire(&loop->tasks_soon, list_empty(&loop->tasks) ? FAR_S : 0, 0);
}

int loop_new(struct loop **ret_loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct event_config *config;
    struct loop *loop = calloc(1, sizeof(*loop));

    pthread_once(&once, libevent_init);
    config = event_config_new();
    if (loop && config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
        loop->base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    if (!loop || !loop->base) {
        free(loop);
        return -ENOMEM;
    }
    list_init(&loop->tasks);
    if (evtimer_assign(&loop->tasks_soon, loop->base, tasks_cb, loop) < 0 ||
        arm_far(&loop->tasks_soon) < 0) {
        event_base_free(loop->base);
        free(loop);
        return -ENOMEM;
    }
    *ret_loop = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    while (!list_empty(&loop->tasks)) /* unlinked, so that a later cancel is harmless */
        list_del(loop->tasks.next);
    event_del(&loop->tasks_soon);
    event_base_free(loop->base);
    free(loop);
}

int loop_run(struct loop *loop)
{
    int r = 0;

    /* libevent forgets a break asked for while it does not run; ours is kept in `stopped`. */
    while (!loop->stopped && r >= 0)
        r = event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    loop->stopped = false;
    return r < 0 ? -EIO : 0;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
    event_base_loopbreak(loop->base);
}

static void io_read_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop_io *io = arg;

    (void)fd;
    (void)what;
    io->fn(io->arg, LOOP_READ);
}

static void io_write_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop_io *io = arg;

    (void)fd;
    (void)what;
    io->fn(io->arg, LOOP_WRITE);
}

int loop_io_new(struct loop *loop, int fd, loop_io_fn *fn, void *arg, struct loop_io **ret_io)
{
    struct loop_io *io = calloc(1, sizeof(*io));

    if (!io)
        return -ENOMEM;
    io->fn = fn;
    io->arg = arg;
    must(fd >= 0);
    must(event_assign(&io->read, loop->base, fd, EV_READ | EV_PERSIST, io_read_cb, io) == 0);
    must(event_assign(&io->write, loop->base, fd, EV_WRITE | EV_PERSIST, io_write_cb, io) == 0);
    *ret_io = io;
    return 0;
}

static int io_switch(struct loop_io *io, struct event *event, unsigned bit, bool on)
{
    int r;

    if (on == ((io->want & bit) != 0))
        return 0;
    errno = 0;
    r = on ? event_add(event, NULL) : event_del(event);
    if (r < 0)
        return errno > 0 ? -errno : -ENOMEM;
    io->want ^= bit;
    return 0;
}

int loop_io_want(struct loop_io *io, unsigned events)
{
    int r = io_switch(io, &io->read, LOOP_READ, (events & LOOP_READ) != 0);
    int w = io_switch(io, &io->write, LOOP_WRITE, (events & LOOP_WRITE) != 0);

    return r < 0 ? r : w;
}

void loop_io_free(struct loop_io *io)
{
    if (!io)
        return;
    event_del(&io->read);
    event_del(&io->write);
    free(io);
}

static void timer_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop_timer *timer = arg;

    (void)fd;
    (void)what;
    loop_timer_clear(timer);
    timer->fn(timer->arg);
}

int loop_timer_new(struct loop *loop, loop_fn *fn, void *arg, struct loop_timer **ret_timer)
{
    struct loop_timer *timer = calloc(1, sizeof(*timer));

    if (!timer)
        return -ENOMEM;
    timer->fn = fn;
    timer->arg = arg;
    must(evtimer_assign(&timer->event, loop->base, timer_cb, timer) == 0);
    if (arm_far(&timer->event) < 0) {
        free(timer);
        return -ENOMEM;
    }
    *ret_timer = timer;
    return 0;
}

void loop_timer_set_ms(struct loop_timer *timer, uint64_t delay_ms)
{
    if (delay_ms / 1000 < (uint64_t)FAR_S)
        arm_or_fire(&timer->event, (time_t)(delay_ms / 1000),
                    (suseconds_t)(delay_ms % 1000 * 1000));
    else
        loop_timer_clear(timer);
}

void loop_timer_clear(struct loop_timer *timer)
{
    arm_or_fire(&timer->event, FAR_S, 0);
}

void loop_timer_free(struct loop_timer *timer)
{
    if (!timer)
        return;
    event_del(&timer->event);
    free(timer);
}

static void signal_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop_signal *s = arg;

    (void)fd;
    (void)what;
    s->fn(s->arg);
}

int loop_signal_new(struct loop *loop, int signo, loop_fn *fn, void *arg,
                    struct loop_signal **ret_signal)
{
    struct loop_signal *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->fn = fn;
    s->arg = arg;
    if (evsignal_assign(&s->event, loop->base, signo, signal_cb, s) < 0 ||
        event_add(&s->event, NULL) < 0) {
        free(s);
        return -ENOMEM;
    }
    *ret_signal = s;
    return 0;
}

void loop_signal_free(struct loop_signal *s)
{
    if (!s)
        return;
    event_del(&s->event);
    free(s);
}

void loop_task_init(struct loop_task *task, loop_fn *fn, void *arg)
{
    list_init(&task->link);
    task->fn = fn;
    task->arg = arg;
}

void loop_task_add(struct loop *loop, struct loop_task *task)
{
    if (!list_empty(&task->link))
        return;
    if (list_empty(&loop->tasks) && !loop->in_tasks)
        event_active(&loop->tasks_soon, EV_TIMEOUT, 0);
    list_add_tail(&loop->tasks, &task->link);
}

void loop_task_cancel(struct loop_task *task)
{
    list_del(&task->link);
}
