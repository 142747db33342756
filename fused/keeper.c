/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
#include "fused/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fused/broker.h"
#include "fused/daemon.h"
#include "fused/ops.h"
#include "fused/point.h"
#include "fused/relay.h"
#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/str.h"

struct keeper {
    struct attach *attach;
    const char *path;
    char dev[POINT_DEV_BYTES];
    struct daemon daemon;
    int signals, relay, report;
    pid_t pid;      /* of the daemon */
    unsigned asked; /* how often we were told to stop */
    bool ready, failing, ended;
    int status;
};

static int complain(const struct keeper *k, const char *why)
{
    fprintf(stderr, "hafiz-mount: cannot mount %s on %s: %s\n", log_esc(k->attach->opts->source),
            log_esc(k->path), why ? why : strerror(ENOMEM));
    return KEEPER_FAILED;
}

/* --- mounting --- */

/* Commas and backslashes of the source must survive libfuse's own option parser. */
static int add_escaped(struct str *out, const char *s)
{
    int r = 0;
    for (; r == 0 && *s; s++)
        r = str_addf(out, *s == ',' || *s == '\\' ? "\\%c" : "%c", *s);
    return r;
}

static int mount_words(const struct keeper *k, struct str *out)
{
    const struct opts *o = k->attach->opts;
    int r = str_add(out, "subtype=hafiz,nosuid,nodev,default_permissions,fsname=");
    if (r == 0)
        r = add_escaped(out, o->source);
    if (r == 0)
        r = str_add(out, k->daemon.rw ? ",rw" : ",ro");
    if (r == 0 && o->allow_other)
        r = str_add(out, ",allow_other");
    if (r == 0 && o->allow_root)
        r = str_add(out, ",allow_root");
    if (r == 0 && o->kernel.len > 0)
        r = str_addn(out, o->kernel.s, o->kernel.len);
    return r;
}

/* libfuse and fusermount3 explain themselves on stderr: catch it, so that one line says all. */
static int mount_quietly(struct fuse_session *session, const char *path, char *ret_words,
                         size_t size)
{
    int caught = memfd_create("stderr", MFD_CLOEXEC), saved = fcntl(2, F_DUPFD_CLOEXEC, 3);

    if (caught >= 0 && saved >= 0)
        (void)dup2(caught, 2);
    int r = fuse_session_mount(session, path);
    if (caught >= 0 && saved >= 0)
        (void)dup2(saved, 2);
    ssize_t n = caught >= 0 ? pread(caught, ret_words, size - 1, 0) : 0;
    ret_words[n > 0 ? n : 0] = '\0';
    closep(&caught);
    closep(&saved);
    return r;
}

static int mount_failed(const struct keeper *k, char *words)
{
    _cleanup_(freep) char *why = NULL;
    char *end = strchr(words, '\n');

    if (end)
        *end = '\0';
    if (words[0] == '\0')
        why = str_dup_printf("the kernel refused it (is fusermount3 installed?)");
    else
        why = strdup(log_esc(words));
    return complain(k, why);
}

static int mount_session(struct keeper *k)
{
    _cleanup_(str_fini) struct str words = STR_NULL;
    char text[512];

    if (mount_words(k, &words) < 0)
        return complain(k, NULL);
    char *argv[] = {(char *)"hafiz-mount", (char *)"-o", words.s, (char *)"-odebug", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(k->attach->opts->debug ? 4 : 3, argv);
    k->daemon.session = fuse_session_new(&args, &ops_table, sizeof(ops_table), &k->daemon);
    fuse_opt_free_args(&args);
    if (!k->daemon.session)
        return complain(k, "libfuse does not accept the mount options");
    if (mount_quietly(k->daemon.session, k->path, text, sizeof(text)) < 0)
        return mount_failed(k, text);
    if (!point_dev(k->path, k->dev))
        log_warn("keeper", "the mount does not show in /proc/self/mountinfo");
    return KEEPER_OK;
}

/* --- the daemon --- */

/* Read-only mounts of root only: it is optional, and whoever cannot have it is not told. */
static void start_broker(struct keeper *k, const struct attached *a)
{
    const struct opts *o = k->attach->opts;
    struct ucred peer;
    socklen_t len = sizeof(peer);
    int pair[2];

    if (k->daemon.rw || o->direct_io || geteuid() != 0 ||
        (o->passthrough && str_eq(o->passthrough, "off")) ||
        getsockopt(a->rpc_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || broker_pair(pair) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        attach_fini(k->attach); /* wipes the keys */
        _exit(broker_run(pair[1], fuse_session_fd(k->daemon.session), peer.uid,
                         k->daemon.foreground));
    }
    close(pair[1]);
    if (pid > 0)
        k->daemon.broker_fd = pair[0];
    else
        close(pair[0]);
}

static int start_daemon(struct keeper *k, struct attached *a)
{
    int pair[2];

    if (relay_pair(pair) < 0)
        return -errno;
    start_broker(k, a);
    k->pid = fork();
    if (k->pid < 0) {
        close(pair[0]);
        close(pair[1]);
        return -errno;
    }
    if (k->pid == 0) {
        close(pair[0]);
        close(k->signals);
        closep(&k->report);
        k->daemon.relay_fd = pair[1];
        attach_fini(k->attach); /* wipes the keys */
        _exit(daemon_run(&k->daemon, a));
    }
    close(pair[1]);
    k->relay = pair[0];
    close(fuse_session_fd(k->daemon.session));
    closep(&k->daemon.broker_fd);
    return 0;
}

static void stop(struct keeper *k)
{
    if (k->asked++ > 0) { /* told twice: whatever still uses it gets errors */
        kill(k->pid, SIGKILL);
        return;
    }
    /* Who has files open there keeps them: the daemon ends with the last one. */
    if (point_unmount(k->path, k->dev, false) < 0)
        (void)point_unmount(k->path, k->dev, true);
}

static void again(struct keeper *k)
{
    _cleanup_(attach_close) struct attached a = ATTACHED_NULL;
    _cleanup_(freep) char *why = NULL;
    int r = attach_run(k->attach, &a, &why);

    if (r < 0 && !k->failing)
        log_error("keeper", "no backend for %s: %s", log_esc(k->path), why ? why : strerror(-r));
    k->failing = r < 0;
    r = relay_send(k->relay, r == 0 ? RELAY_ATTACHED : RELAY_FAILED, r == 0 ? &a : NULL);
    if (r < 0)
        log_error("keeper", "the daemon cannot be reached: %s", strerror(-r));
}

/* The mount works: let the caller go, and the terminal with it. */
static void report(struct keeper *k)
{
    const char code = KEEPER_OK;

    k->ready = true;
    unsigned kib = (unsigned)k->attach->opts->readahead_kib;
    int r = point_readahead(k->dev, kib);
    if (r < 0)
        log_debug("keeper", "the kernel reads ahead as it is used to: %s", strerror(-r));
    if (k->report < 0)
        return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        (void)dup2(null, fd);
    closep(&null);
    (void)fd_write_full(k->report, &code, 1);
    close(take_fd(&k->report));
}

static void on_relay(struct keeper *k)
{
    enum relay_kind kind;

    if (relay_recv(k->relay, &kind, NULL) < 0) {
        close(take_fd(&k->relay)); /* SIGCHLD says the rest */
        return;
    }
    if (kind == RELAY_READY && !k->ready)
        report(k);
    else if (kind == RELAY_LOST && k->asked == 0)
        again(k);
    else if (kind == RELAY_LOST)
        (void)relay_send(k->relay, RELAY_FAILED, NULL);
    else if (kind == RELAY_STOP)
        stop(k);
    else if (kind == RELAY_PREFETCHED)
        k->attach->prefetched = true;
}

/* One SIGCHLD may stand for several children: the daemon, and private backends that we started. */
static void reap(struct keeper *k)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == k->pid) {
            k->status = status;
            k->ended = true;
        }
}

static void on_signal(struct keeper *k)
{
    struct signalfd_siginfo info;

    if (read(k->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD)
        reap(k);
    else
        stop(k);
}

static void keep(struct keeper *k)
{
    while (!k->ended) {
        struct pollfd fds[] = {{.fd = k->signals, .events = POLLIN},
                               {.fd = k->relay, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            on_relay(k);
        if (fds[0].revents)
            on_signal(k);
    }
}

static int finish(struct keeper *k)
{
    bool clean = WIFEXITED(k->status) && WEXITSTATUS(k->status) == 0;

    if (!k->ready) {
        (void)point_unmount(k->path, k->dev, true);
        return complain(k, "the daemon ended before the mount was ready; see the log");
    }
    if (clean || k->asked > 0 || k->attach->opts->auto_unmount)
        (void)point_unmount(k->path, k->dev, true);
    if (clean || k->asked > 0)
        return KEEPER_OK;
    log_error("keeper", "the daemon of %s ended by %s %d", log_esc(k->path),
              WIFSIGNALED(k->status) ? "signal" : "exit code",
              WIFSIGNALED(k->status) ? WTERMSIG(k->status) : WEXITSTATUS(k->status));
    return KEEPER_SYSTEM;
}

static int set_signals(struct keeper *k)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return k->signals < 0 ? -errno : 0;
}

static int run(struct keeper *k)
{
    const struct opts *o = k->attach->opts;
    _cleanup_(attach_close) struct attached a = ATTACHED_NULL;
    _cleanup_(freep) char *why = NULL;

    if (set_signals(k) < 0)
        return complain(k, NULL);
    if (attach_run(k->attach, &a, &why) < 0)
        return complain(k, why);
    if (o->rw && !a.rw)
        fprintf(stderr, "hafiz-mount: %s may only be read: mounting it read-only\n",
                log_esc(o->source));
    k->daemon.rw = a.rw;
    int r = mount_session(k);
    if (r != KEEPER_OK)
        return r;
    int e = start_daemon(k, &a);
    attach_close(&a); /* a connection of ours would keep an idle backend alive */
    if (e < 0) {
        (void)point_unmount(k->path, k->dev, true);
        return complain(k, strerror(-e));
    }
    keep(k);
    return finish(k);
}

int keeper_run(struct attach *a, const char *path, int report_fd)
{
    const struct opts *o = a->opts;
    /* Static, since libfuse has no call that frees a session without unmounting it. */
    static struct keeper k;

    k = (struct keeper){
        .attach = a,
        .path = path,
        .daemon = {.timeo_ns = o->timeo_s * NS_PER_S,
                   .direct_io = o->direct_io,
                   .broker_fd = -1,
                   .foreground = report_fd < 0},
        .signals = -1,
        .relay = -1,
        .report = report_fd,
    };
    if (report_fd >= 0)
        log_open("hafiz-mount", true); /* stderr will be gone */
    const char code = (char)run(&k);

    if (k.report >= 0)
        (void)fd_write_full(k.report, &code, 1);
    closep(&k.report);
    closep(&k.signals);
    closep(&k.relay);
    return code;
}
