/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The event loop; loop.c is the only file that includes libevent. Every object belongs to the thread
 * that runs its loop, and is created, changed and freed only there (or before the loop runs).
 * Callbacks may free the object they were called for. All creators: 0 | -ENOMEM. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/list.h"

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

#define LOOP_READ 1u
#define LOOP_WRITE 2u

typedef void loop_io_fn(void *arg, unsigned events);
typedef void loop_fn(void *arg);

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);
int loop_run(struct loop *loop); /* until loop_stop(); 0 | -EIO */
void loop_stop(struct loop *loop); /* from its own thread; before loop_run(): that returns at once */

/* The caller keeps the fd and closes it after loop_io_free(). Level-triggered; nothing is wanted until
 * loop_io_want() says so. fn may be called once for LOOP_READ and once for LOOP_WRITE. */
int loop_io_new(struct loop *loop, int fd, loop_io_fn *fn, void *arg, struct loop_io **ret_io);
int loop_io_want(struct loop_io *io, unsigned events); /* 0: none. 0 | -errno of epoll_ctl */
void loop_io_free(struct loop_io *io);

int loop_timer_new(struct loop *loop, loop_fn *fn, void *arg, struct loop_timer **ret_timer);
void loop_timer_set_ms(struct loop_timer *timer, uint64_t delay_ms); /* one shot, replaces */
void loop_timer_clear(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

int loop_signal_new(struct loop *loop, int signo, loop_fn *fn, void *arg,
                    struct loop_signal **ret_signal);
void loop_signal_free(struct loop_signal *signal);

/* Runs task->fn once, later, from the loop. Adding a queued task again is a no-op. */
struct loop_task {
    struct list link;
    loop_fn *fn;
    void *arg;
};
void loop_task_init(struct loop_task *task, loop_fn *fn, void *arg);
void loop_task_add(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop_task *task);
