/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Start-up order matters: first what needs privileges or files, then the sandbox, then all threads
 * (held at a gate), then the seccomp filter for all of them, then the kernel's first request
 * (INIT), whose answer makes the mount work; only then the keeper is told. */
#include "fused/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "fused/known.h"
#include "fused/notify.h"
#include "fused/ops.h"
#include "fused/pass.h"
#include "fused/peer.h"
#include "fused/relay.h"
#include "fused/sandbox.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"

#define WORKERS 4
#define TICK_NS 100000000L

static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t clock_poked = PTHREAD_COND_INITIALIZER;
static atomic_bool clock_awake;
static pthread_barrier_t gate;
static int stop_fd = -1; /* for the signal handler */

void daemon_poke(void)
{
    if (atomic_exchange(&clock_awake, true))
        return;
    pthread_mutex_lock(&clock_lock);
    pthread_cond_signal(&clock_poked);
    pthread_mutex_unlock(&clock_lock);
}

static void *clock_thread(void *arg)
{
    const struct timespec tick = {0, TICK_NS};
    struct daemon *d = arg;

    pthread_barrier_wait(&gate);
    for (;;) {
        atomic_store(&clock_awake, false); /* whoever pokes from here on is heard */
        bool interrupts = req_tick(d), lost = peer_tick(d);
        if (!lost)
            ops_send_forgets(d);
        if (interrupts || lost) {
            nanosleep(&tick, NULL);
            continue;
        }
        pthread_mutex_lock(&clock_lock);
        while (!atomic_load(&clock_awake))
            pthread_cond_wait(&clock_poked, &clock_lock);
        pthread_mutex_unlock(&clock_lock);
        nanosleep(&tick, NULL); /* let FORGETs gather */
    }
    return NULL;
}

static void serve(struct daemon *d, const bool *until)
{
    struct fuse_buf buf = {.mem = NULL};

    while (!fuse_session_exited(d->session) && !(until && *until)) {
        int n = fuse_session_receive_buf(d->session, &buf);
        if (n > 0)
            fuse_session_process_buf(d->session, &buf);
        else if (n != -EINTR && n != -EAGAIN)
            break;
    }
    free(buf.mem);
}

static void *worker_thread(void *arg)
{
    pthread_barrier_wait(&gate);
    serve(arg, NULL);
    return NULL;
}

static void *gated_peer(void *arg)
{
    pthread_barrier_wait(&gate);
    return peer_thread(arg);
}

static void *gated_reader(void *arg)
{
    pthread_barrier_wait(&gate);
    return notify_reader_thread(arg);
}

static void *gated_apply(void *arg)
{
    pthread_barrier_wait(&gate);
    return notify_apply_thread(arg);
}

static void on_term(int signo)
{
    int saved = errno;

    (void)signo;
    (void)relay_send(stop_fd, RELAY_STOP, NULL);
    errno = saved;
}

static void set_signals(const struct daemon *d)
{
    struct sigaction act = {.sa_handler = on_term, .sa_flags = SA_RESTART};
    sigset_t none;

    stop_fd = d->relay_fd;
    sigaction(SIGTERM, &act, NULL);
    act.sa_handler = SIG_IGN; /* the keeper decides about the terminal's signals */
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    sigaction(SIGPIPE, &act, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((format(printf, 2, 0))) static void fuse_log_line(enum fuse_log_level level,
                                                                const char *fmt, va_list ap)
{
    char line[512];

    vsnprintf(line, sizeof(line), fmt, ap);
    if (level <= FUSE_LOG_WARNING)
        log_warn("fuse", "%s", log_esc(line));
    else
        log_debug("fuse", "%s", log_esc(line));
}

static int start_threads(struct daemon *d, pthread_t workers[WORKERS - 1])
{
    /* Several apply pushes: one may wait as long as a READ of its inode takes. */
    void *(*const others[])(void *) = {gated_peer,  gated_reader, gated_apply,
                                       gated_apply, gated_apply,  clock_thread};
    pthread_t id;
    int e = pthread_barrier_init(&gate, NULL, WORKERS + ARRAY_SIZE(others));

    for (size_t i = 0; e == 0 && i < ARRAY_SIZE(others); i++) {
        e = pthread_create(&id, NULL, others[i], d);
        if (e == 0)
            pthread_detach(id);
    }
    for (size_t i = 0; e == 0 && i < WORKERS - 1; i++)
        e = pthread_create(&workers[i], NULL, worker_thread, d);
    return -e;
}

static int set_up(struct daemon *d, struct attached *a, pthread_t workers[WORKERS - 1])
{
    _cleanup_(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int r = peer_init(d, a);

    if (r == 0)
        r = sandbox_enter();
    if (r == 0)
        r = start_threads(d, workers);
    if (r < 0) {
        log_error("daemon", "cannot start: error %d", -r);
        return r;
    }
    if (!d->foreground)
        for (int fd = 0; fd < 3; fd++)
            (void)dup2(null, fd);
    r = sandbox_lock();
    if (r < 0)
        log_error("daemon", "no seccomp filter: error %d", -r);
    return r;
}

int daemon_run(struct daemon *d, struct attached *a)
{
    pthread_t workers[WORKERS - 1];
    bool ready = false;

    set_signals(d);
    fuse_set_log_func(fuse_log_line);
    if (set_up(d, a, workers) < 0)
        return 2;
    d->ready = &ready;
    pass_prepare(d->session, d->broker_fd);
    serve(d, &ready);
    pass_start();
    if (!ready || relay_send(d->relay_fd, RELAY_READY, NULL) < 0)
        return 2;
    pthread_barrier_wait(&gate);
    serve(d, NULL);
    fuse_session_exit(d->session);
    for (size_t i = 0; i < WORKERS - 1; i++)
        pthread_join(workers[i], NULL);
    d->ending = true;
    ops_send_forgets(d);
    peer_detach(d);
    return 0;
}
