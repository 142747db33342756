/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What can be wrong with a mount point has a line of its own here; the kernel and fusermount3 would
 * say "Transport endpoint is not connected" or "bad mount point" for most of it. */
#include "fused/point.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"

static void fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

/* Undoes mountinfo's \040 and the like in place. */
static void unescape(char *s)
{
    char *out = s;
    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *out++ = *s;
        }
    }
    *out = '\0';
}

bool point_dev(const char *path, char ret_dev[POINT_DEV_BYTES])
{
    _cleanup_(fclosep) FILE *f = fopen("/proc/self/mountinfo", "re");
    _cleanup_(freep) char *line = NULL;
    size_t size = 0;
    bool found = false;

    while (f && getline(&line, &size, f) > 0) { /* ID PARENT MAJOR:MINOR ROOT MOUNTPOINT … */
        char *save = NULL, *word = strtok_r(line, " ", &save), *dev = NULL;
        for (int i = 0; word && i < 4; i++) {
            dev = i == 2 ? word : dev;
            word = strtok_r(NULL, " ", &save);
        }
        if (!word || !dev)
            continue;
        unescape(word);
        if (strcmp(word, path) != 0)
            continue;
        snprintf(ret_dev, POINT_DEV_BYTES, "%s", dev); /* a later line lies on top */
        found = true;
    }
    return found;
}

static int fail(char **why, char *text)
{
    *why = text;
    return text ? -EINVAL : -ENOMEM;
}

int point_check(const char *name, char **ret_path, char **why)
{
    char dev[POINT_DEV_BYTES];
    struct stat st;

    if (stat(name, &st) < 0) {
        if (errno == ENOTCONN || errno == ECONNABORTED)
            return fail(why,
                        str_dup_printf("a dead mount is left at %s: fusermount3 -u %s removes it",
                                       name, name));
        return fail(why,
                    str_dup_printf("the mount point %s cannot be used: %s", name, strerror(errno)));
    }
    if (!S_ISDIR(st.st_mode))
        return fail(why, str_dup_printf("the mount point %s is not a directory", name));
    _cleanup_(freep) char *path = realpath(name, NULL);
    if (!path)
        return fail(why,
                    str_dup_printf("the mount point %s cannot be used: %s", name, strerror(errno)));
    if (strcmp(path, "/") == 0)
        return fail(why, str_dup_printf("the mount point cannot be /"));
    if (point_dev(path, dev))
        return fail(why, str_dup_printf("something is mounted at %s already", path));
    if (geteuid() != 0 && access(path, W_OK) < 0)
        return fail(why, str_dup_printf("the mount point %s is not writable for you", path));
    *ret_path = take(path);
    return 0;
}

static int run_fusermount(const char *path, bool lazy)
{
    int status = 0;
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execlp("fusermount3", "fusermount3", "-u", "-q", lazy ? "-z" : "--", lazy ? "--" : path,
               lazy ? path : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

int point_unmount(const char *path, const char *dev, bool lazy)
{
    char now[POINT_DEV_BYTES];

    if (!point_dev(path, now) || strcmp(now, dev) != 0)
        return 0;
    if (umount2(path, (lazy ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW) == 0)
        return 0;
    return errno == EPERM ? run_fusermount(path, lazy) : -errno;
}

int point_remount(const char *path, bool rw)
{
    unsigned long flags = MS_REMOUNT | MS_NOSUID | MS_NODEV | (rw ? 0 : MS_RDONLY);
    return mount(NULL, path, NULL, flags, NULL) < 0 ? -errno : 0;
}

int point_readahead(const char *dev, unsigned kib)
{
    _cleanup_(freep) char *path = str_dup_printf("/sys/class/bdi/%s/read_ahead_kb", dev);
    _cleanup_(closep) int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    char text[16];

    if (!path)
        return -ENOMEM;
    if (fd < 0)
        return -errno;
    int n = snprintf(text, sizeof(text), "%u", kib);
    return fd_write_full(fd, text, (size_t)n);
}

bool point_conf_allows_other(void)
{
    char line[256], word[64], more[2];
    _cleanup_(fclosep) FILE *f = fopen("/etc/fuse.conf", "re");

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, " %63s %1s", word, more) == 1 && strcmp(word, "user_allow_other") == 0)
            return true;
    return false;
}
