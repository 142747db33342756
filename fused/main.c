/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* hafiz-mount, alias mount.fuse.hafiz. Three processes come of it: this one, which waits for the
 * result and is the caller's; the keeper; and the sandboxed daemon. In the foreground the first is
 * the keeper. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fused/attach.h"
#include "fused/keeper.h"
#include "fused/opts.h"
#include "fused/point.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

static int complain(int code, const char *text)
{
    fprintf(stderr, "hafiz-mount: %s\n", text ? text : strerror(ENOMEM));
    return code;
}

/* Keys are about to be in memory: no core dumps, no debugger of the same user. */
static void close_curtains(void)
{
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Descriptors 0 to 2 exist, or the next three files would become "standard error". */
static void open_std(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < 3);
    if (fd >= 3)
        close(fd);
}

static int remount(const struct opts *o)
{
    char dev[POINT_DEV_BYTES];
    _cleanup_(freep) char *path = realpath(o->mountpoint, NULL), *why = NULL;

    if (o->fake)
        return KEEPER_OK;
    if (!path || !point_dev(path, dev)) {
        why = str_dup_printf("nothing is mounted at %s", log_esc(o->mountpoint));
        return complain(KEEPER_FAILED, why);
    }
    int r = point_remount(path, o->rw);
    if (r == 0)
        return KEEPER_OK;
    why = str_dup_printf("%s cannot be remounted: %s; unmount it and mount it again", log_esc(path),
                         strerror(-r));
    return complain(KEEPER_FAILED, why);
}

static int wait_for_keeper(pid_t pid, int fd)
{
    char code;
    size_t got = 0;
    int status = 0;

    if (fd_read_full(fd, &code, 1, &got) == 0 && got == 1)
        return code;
    (void)waitpid(pid, &status, 0);
    return complain(KEEPER_SYSTEM, "the mounting process died");
}

static int run_in_background(struct attach *a, const char *path)
{
    int pipe_fds[2];

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return complain(KEEPER_SYSTEM, strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return complain(KEEPER_SYSTEM, strerror(errno));
    if (pid > 0) {
        close(pipe_fds[1]);
        return wait_for_keeper(pid, pipe_fds[0]);
    }
    setsid();
    /* What else the caller left open (a lock, a pipe) must not live as long as the mount. */
    if (dup3(pipe_fds[1], 3, O_CLOEXEC) < 0 && errno != EINVAL)
        _exit(KEEPER_SYSTEM);
    close_range(4, ~0U, 0);
    _exit(keeper_run(a, path, 3));
}

/* Names that are used after chdir("/"). */
static int make_absolute(char **name)
{
    if (!*name || (*name)[0] == '/')
        return 0;
    _cleanup_(freep) char *cwd = getcwd(NULL, 0);
    char *path = cwd ? str_dup_printf("%s/%s", cwd, *name) : NULL;
    if (!path)
        return -ENOMEM;
    free(*name);
    *name = path;
    return 0;
}

static int run(struct opts *o)
{
    _cleanup_(attach_fini) struct attach a = {.opts = o};
    _cleanup_(freep) char *path = NULL, *why = NULL;

    if (o->remount)
        return remount(o);
    if (attach_init(&a, o, &why) < 0)
        return complain(KEEPER_USAGE, why);
    if (o->fake)
        return KEEPER_OK;
    if (geteuid() != 0 && (o->allow_other || o->allow_root) && !point_conf_allows_other())
        return complain(KEEPER_USAGE,
                        "allow-other and allow-root need the line user_allow_other in "
                        "/etc/fuse.conf (root must add it)");
    if (point_check(o->mountpoint, &path, &why) < 0)
        return complain(KEEPER_FAILED, why);
    free(o->mountpoint);
    o->mountpoint = strdup(path);
    if (!o->mountpoint || make_absolute(&o->cache_dir) < 0 || make_absolute(&o->socket) < 0 ||
        chdir("/") < 0)
        return complain(KEEPER_SYSTEM, NULL);
    return o->foreground ? keeper_run(&a, path, -1) : run_in_background(&a, path);
}

int main(int argc, char **argv)
{
    struct opts o;
    _cleanup_(freep) char *why = NULL;

    open_std();
    int r = opts_parse(argc, argv, &o, &why);

    close_curtains();
    if (r == 0)
        r = opts_env(&o, &why);
    if (r < 0) {
        r = complain(KEEPER_USAGE, why);
    } else if (o.help) {
        opts_print_help();
    } else if (o.version) {
        puts("hafiz-mount " HAFIZ_VERSION);
    } else {
        log_open("hafiz-mount", false);
        if (o.debug)
            log_set_debug("all");
        r = run(&o);
    }
    opts_fini(&o);
    return r;
}
