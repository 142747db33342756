/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The directory has a name nobody can foresee (others may write to /dev/shm) and is locked by its
 * backend for as long as that lives: one that can be locked by somebody else is a dead backend's.
 */
#include "s3proxyd/cache/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/base/str.h"

#define PLACE "/dev/shm"
#define TMPFS 0x01021994 /* TMPFS_MAGIC */
#define TRIES 16
#define DEPTH 4 /* of a cache: objects/xx/file */

struct memory_dir {
    char *path;
    int fd; /* locked */
};

static void closedirp(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* All below the directory; what cannot be removed stays. */
static void empty(int dir_fd, unsigned depth)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *de;

    if (!dir)
        closep(&fd);
    while (dir && (de = readdir(dir))) {
        if (str_eq(de->d_name, ".") || str_eq(de->d_name, "..") ||
            unlinkat(dir_fd, de->d_name, 0) == 0 || depth == 0)
            continue;
        _cleanup_(closep) int sub =
            openat(dir_fd, de->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
            continue;
        empty(sub, depth - 1);
        unlinkat(dir_fd, de->d_name, AT_REMOVEDIR);
    }
}

/* 0: ours, locked until it is closed | -EBUSY: a living backend's | -errno */
static int open_locked(const char *path, int *ret_fd)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid() || (st.st_mode & 0077))
        return -EPERM;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -EBUSY;
    if (fstat(fd, &st) < 0 || st.st_nlink == 0) /* removed before it was locked */
        return -ENOENT;
    *ret_fd = take_fd(&fd);
    return 0;
}

static void sweep(const char *prefix)
{
    _cleanup_(closedirp) DIR *dir = opendir(PLACE);
    const struct dirent *de;

    while (dir && (de = readdir(dir))) {
        if (!str_starts(de->d_name, prefix))
            continue;
        _cleanup_(freep) char *path = str_dup_printf(PLACE "/%s", de->d_name);
        _cleanup_(closep) int fd = -1;
        if (!path || open_locked(path, &fd) < 0)
            continue;
        empty(fd, DEPTH);
        if (rmdir(path) == 0)
            log_info("cache", "removed what a backend left in memory: %s", log_esc(path));
    }
}

static int make(const char *prefix, struct memory_dir *dir)
{
    int r = -EBUSY;

    /* Somebody's sweep may be between its making and its lock. */
    for (int i = 0; i < TRIES && (r == -EBUSY || r == -ENOENT); i++) {
        free(dir->path);
        dir->path = str_dup_printf(PLACE "/%sXXXXXX", prefix);
        if (!dir->path)
            return -ENOMEM;
        if (!mkdtemp(dir->path))
            return -errno;
        r = open_locked(dir->path, &dir->fd);
    }
    return r;
}

int memory_dir_new(struct memory_dir **ret_dir, const char **ret_why)
{
    struct memory_dir *dir = calloc(1, sizeof(*dir));
    struct statfs fs;
    char prefix[32];

    *ret_why = "out of memory";
    if (!dir)
        return -ENOMEM;
    dir->fd = -1;
    *ret_why = "no tmpfs is mounted there, as a cache in memory needs it";
    int r = statfs(PLACE, &fs) < 0 ? -errno : (uint32_t)fs.f_type == TMPFS ? 0 : -EOPNOTSUPP;
    if (r == 0) {
        *ret_why = "no directory for a cache in memory can be made there";
        snprintf(prefix, sizeof(prefix), "hafiz-%u-", (unsigned)geteuid());
        sweep(prefix);
        r = make(prefix, dir);
    }
    if (r < 0) {
        closep(&dir->fd);
        free(dir->path);
        free(dir);
        return r;
    }
    *ret_dir = dir;
    *ret_why = NULL;
    return 0;
}

const char *memory_dir_path(const struct memory_dir *dir)
{
    return dir->path;
}

void memory_dir_free(struct memory_dir *dir)
{
    if (!dir)
        return;
    empty(dir->fd, DEPTH);
    if (rmdir(dir->path) < 0 && errno != ENOENT)
        log_warn("cache", "%s stays behind: %s", log_esc(dir->path), strerror(errno));
    closep(&dir->fd);
    free(dir->path);
    free(dir);
}

uint64_t memory_available(void)
{
    _cleanup_(closep) int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    char text[512] = ""; /* MemAvailable is the third line */
    size_t got;
    uint64_t kib;

    if (fd < 0 || fd_read_full(fd, text, sizeof(text) - 1, &got) < 0)
        return UINT64_MAX;
    const char *line = strstr(text, "MemAvailable:");
    return line && sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1 ? kib * 1024 : UINT64_MAX;
}

uint64_t memory_share(uint64_t bytes)
{
    uint64_t half = memory_available() / 2;

    return MIN(bytes, half);
}

uint64_t memory_spare(uint64_t bytes)
{
    uint64_t quarter = memory_available() / 4;

    return MIN(bytes, quarter);
}
