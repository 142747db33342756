/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reading and writing all of it: short transfers and EINTR are gone on with. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/base/str.h"

int fd_read_full(int fd, void *buf, size_t len, size_t *ret_got)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, (char *)buf + got, len - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *ret_got = got;
    return 0;
}

int fd_pread_full(int fd, void *buf, size_t len, uint64_t off, size_t *ret_got)
{
    size_t got = 0;
    if (!range_ok(off, len))
        return -EINVAL;
    while (got < len) {
        ssize_t n = pread(fd, (char *)buf + got, len - got, (off_t)(off + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *ret_got = got;
    return 0;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)buf + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

int fd_pwrite_full(int fd, const void *buf, size_t len, uint64_t off)
{
    if (!range_ok(off, len))
        return -EFBIG;
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

static int make_one(const char *path, unsigned mode)
{
    struct stat st;
    if (mkdir(path, (mode_t)mode) == 0)
        return 0;
    int error = errno;
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    return -error;
}

int fd_mkdir_p(const char *path, unsigned mode)
{
    _cleanup_(freep) char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    for (char *p = copy; *p; p++) {
        if (*p != '/' || p == copy)
            continue;
        *p = 0;
        int r = make_one(copy, mode);
        *p = '/';
        if (r < 0)
            return r;
    }
    return make_one(copy, mode);
}
