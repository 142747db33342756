/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Small pieces that more than one operation needs. */
#include "s3proxyd/file/file-io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-path.h"

#define KERNEL_COPY_BYTES (16u * 1024 * 1024) /* between two looks at the cancel flag */

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * (int64_t)NS_PER_S + st->st_mtim.tv_nsec;
}

void file_io_etag(const struct stat *st, char buf[FILE_IO_ETAG_SIZE])
{
    /* A marker stays the same version while files come and go in its directory. */
    bool dir = S_ISDIR(st->st_mode);

    (void)snprintf(buf, FILE_IO_ETAG_SIZE, "\"%016llx-%llx-%llx\"", (unsigned long long)st->st_ino,
                   dir ? 0ULL : (unsigned long long)st->st_size,
                   dir ? 0ULL : (unsigned long long)mtime_ns(st));
}

int file_io_meta(const struct stat *st, struct store_meta *meta)
{
    char etag[FILE_IO_ETAG_SIZE];

    file_io_etag(st, etag);
    free(meta->etag);
    meta->etag = strdup(etag);
    meta->size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size;
    meta->mtime_ns = mtime_ns(st);
    meta->date_ns = clock_real_ns();
    return meta->etag ? 0 : -ENOMEM;
}

struct timespec file_io_unique_time(struct file_store *fs)
{
    uint64_t now = (uint64_t)clock_real_ns(), last = fs->last_mtime_ns, use;

    do {
        use = MAX(now, last + 1);
    } while (!atomic_compare_exchange_weak(&fs->last_mtime_ns, &last, use));
    return (struct timespec){(time_t)(use / NS_PER_S), (long)(use % NS_PER_S)};
}

/* The kernel stamps files with the time of the last tick, up to 10 ms old: three quick PUTs of
 * one size could give an ETag twice when the inode number comes round again. So the exact time. */
int file_io_touch(struct file_store *fs, int fd)
{
    struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, file_io_unique_time(fs)};

    return futimens(fd, ts) < 0 ? -errno : 0;
}

int file_io_lock(struct file_store *fs)
{
    _cleanup_(closep) int dir = -1;
    struct stat st;
    int fd = file_path_open(fs, FILE_PRIVATE_DIR "/lock", O_RDONLY);

    if (fd == -ENOENT) {
        dir = file_path_private(fs, "tmp");
        if (dir < 0)
            return dir;
        fd = openat(dir, "../lock", O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0)
            fd = -errno;
        else if (fstat(dir, &st) == 0) /* whoever may write objects locks */
            (void)fchmod(fd, file_path_mode(&st, false));
    }
    if (fd < 0)
        return fd;
    while (flock(fd, LOCK_EX) < 0) {
        int r = -errno;

        if (r == -EINTR)
            continue;
        close(fd);
        return r;
    }
    return fd;
}

int file_io_random_name(char *buf, size_t size)
{
    unsigned char bytes[16];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return -EIO;
    return str_hex(bytes, sizeof(bytes), buf, size);
}

int file_io_temp_open(struct file_store *fs, struct file_io_temp *temp)
{
    _cleanup_(closep) int dir = file_path_private(fs, "tmp");
    int fd, r;

    if (dir < 0)
        return dir;
    r = file_io_random_name(temp->name, sizeof(temp->name));
    if (r < 0)
        return r;
    fd = openat(dir, temp->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    temp->fd = fd;
    temp->dir = take_fd(&dir);
    return 0;
}

int file_io_temp_rename(struct file_io_temp *temp, int dir, const char *name)
{
    if (renameat(temp->dir, temp->name, dir, name) < 0)
        return -errno;
    temp->name[0] = '\0';
    return 0;
}

void file_io_temp_fini(struct file_io_temp *temp)
{
    if (temp->dir >= 0 && temp->name[0])
        (void)unlinkat(temp->dir, temp->name, 0);
    closep(&temp->fd);
    closep(&temp->dir);
    *temp = FILE_IO_TEMP_NULL;
}

static int copy_by_hand(struct file_job *job, int from, uint64_t from_off, int to, uint64_t to_off,
                        uint64_t len, uint64_t *ret_copied)
{
    _cleanup_(freep) char *buf = malloc(FILE_IO_PIECE_BYTES);
    uint64_t copied = 0;

    if (!buf)
        return -ENOMEM;
    while (copied < len) {
        size_t want = (size_t)MIN(len - copied, (uint64_t)FILE_IO_PIECE_BYTES), got = 0;
        int r = file_job_check(job);

        if (r == 0)
            r = fd_pread_full(from, buf, want, from_off + copied, &got);
        if (r == 0 && got > 0)
            r = fd_pwrite_full(to, buf, got, to_off + copied);
        if (r < 0)
            return r;
        copied += got;
        if (got < want)
            break;
    }
    *ret_copied = copied;
    return 0;
}

int file_io_copy(struct file_job *job, int from, uint64_t from_off, int to, uint64_t to_off,
                 uint64_t len, uint64_t *ret_copied)
{
    uint64_t copied = 0, rest = 0;
    int r;

    while (copied < len) {
        off64_t in = (off64_t)(from_off + copied), out = (off64_t)(to_off + copied);
        size_t want = (size_t)MIN(len - copied, (uint64_t)KERNEL_COPY_BYTES);
        ssize_t n;

        r = file_job_check(job);
        if (r < 0)
            return r;
        n = copy_file_range(from, &in, to, &out, want, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG))
            return -errno;
        if (n <= 0) /* cannot, or the end: some file systems say 0 where read() knows better */
            break;
        copied += (uint64_t)n;
    }
    if (copied < len) {
        r = copy_by_hand(job, from, from_off + copied, to, to_off + copied, len - copied, &rest);
        if (r < 0)
            return r;
    }
    *ret_copied = copied + rest;
    return 0;
}

static int body_from_memory(struct file_job *job, int to, uint64_t to_off)
{
    const struct store_req *req = job->req;
    uint64_t done = 0;

    while (done < req->length) {
        size_t n = (size_t)MIN(req->length - done, (uint64_t)FILE_IO_PIECE_BYTES);
        int r = file_job_check(job);

        if (r == 0)
            r = fd_pwrite_full(to, (const char *)req->body.memory + done, n, to_off + done);
        if (r < 0)
            return r;
        done += n;
    }
    return 0;
}

int file_io_body(struct file_job *job, int to, uint64_t to_off)
{
    const struct store_req *req = job->req;
    uint64_t copied = 0;
    int r;

    if (!range_ok(to_off, req->length) || !range_ok(req->body.offset, req->length))
        return -EFBIG;
    if (req->body.fd < 0)
        return body_from_memory(job, to, to_off);
    r = file_io_copy(job, req->body.fd, req->body.offset, to, to_off, req->length, &copied);
    if (r == 0 && copied < req->length)
        return file_job_fail(job, -EIO, "the body's file is shorter than announced");
    return r;
}
