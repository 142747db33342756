/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Whole objects: HEAD, GET, PUT, COPY. */
#include "s3proxyd/file/file-object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-path.h"

int file_object_open(struct file_store *fs, const char *key, struct stat *ret_st)
{
    _cleanup_(closep) int fd = -1;
    struct file_path path;

    if (file_path_split(key, &path) < 0)
        return -ENOENT; /* nothing can have been put there */
    fd = file_path_open(fs, path.key,
                        O_RDONLY | O_NONBLOCK | O_NOCTTY | (path.is_dir ? O_DIRECTORY : 0));
    if (file_path_absent(fd) || fd == -ENXIO) /* ENXIO: a socket */
        return -ENOENT;
    if (fd < 0)
        return fd;
    if (fstat(fd, ret_st) < 0)
        return -errno;
    if (path.is_dir ? file_attr_is_implicit(fs, fd, path.key) : !S_ISREG(ret_st->st_mode))
        return -ENOENT;
    return take_fd(&fd);
}

/* Opens the request's key and fills meta; the attributes too, as HEAD and GET give them. */
static int open_and_describe(struct file_job *job, struct stat *ret_st)
{
    _cleanup_(file_attrs_fini) struct file_attrs attrs = FILE_ATTRS_NULL;
    struct store_req *req = job->req;
    _cleanup_(closep) int fd = file_object_open(job->fs, req->key, ret_st);
    int r;

    if (fd < 0)
        return fd;
    r = file_io_condition(req->if_match, false, ret_st);
    if (r < 0)
        return file_job_fail(job, r, "the object was replaced");
    r = file_attr_load(job->fs, fd, req->key, &attrs);
    if (r == 0)
        r = file_attrs_to_meta(&attrs, &req->meta);
    if (r == 0)
        r = file_io_meta(ret_st, &req->meta);
    return r < 0 ? r : take_fd(&fd);
}

int file_object_head(struct file_job *job)
{
    struct stat st;
    _cleanup_(closep) int fd = open_and_describe(job, &st);

    return fd < 0 ? fd : 0;
}

/* Checksums of the blocks of [pos, pos + len) that are complete: whole, or ending where the object
 * ends. Pieces end at block boundaries, so a block that is not complete here never will be. */
static void checksum(const struct store_req *req, const char *buf, uint64_t pos, uint64_t len)
{
    uint64_t first = req->offset / BLOCK_BYTES, end = pos + len;

    if (!req->sink.block_crcs)
        return;
    for (uint64_t b = pos / BLOCK_BYTES; b * BLOCK_BYTES < end; b++) {
        uint64_t from = b * BLOCK_BYTES, to = MIN(from + BLOCK_BYTES, req->sink.object_size);

        if (from >= pos && to <= end && to > from)
            req->sink.block_crcs[b - first] = digest_crc32c(0, buf + (from - pos), to - from);
    }
}

/* What was read before is of the version that was described. */
static int still_same(struct file_job *job, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    return file_io_condition(job->req->meta.etag, false, &st) < 0 ? -ESTALE : 0;
}

static int pump(struct file_job *job, int fd, uint64_t len)
{
    _cleanup_(freep) char *buf = malloc(FILE_IO_PIECE_BYTES);
    struct store_req *req = job->req;

    if (!buf)
        return -ENOMEM;
    while (req->got < len) {
        uint64_t pos = req->offset + req->got;
        uint64_t want = FILE_IO_PIECE_BYTES - pos % FILE_IO_PIECE_BYTES;
        size_t got;
        int r = file_job_check(job);

        want = MIN(want, len - req->got);
        if (r == 0)
            r = fd_pread_full(fd, buf, (size_t)want, pos, &got);
        if (r == 0)
            r = fd_pwrite_full(req->sink.fd, buf, got, req->sink.fd_offset + req->got);
        if (r == 0)
            r = still_same(job, fd); /* readers are woken by each piece */
        if (r < 0)
            return r;
        checksum(req, buf, pos, got);
        req->got += got;
        file_job_progress(job, req->got);
        if (got < want)
            return -ESTALE; /* cut short meanwhile */
    }
    return 0;
}

int file_object_get(struct file_job *job)
{
    struct store_req *req = job->req;
    struct stat st;
    _cleanup_(closep) int fd = open_and_describe(job, &st);
    uint64_t len = 0;
    int r;

    if (fd < 0)
        return fd;
    if (!range_ok(req->offset, req->length) || !range_ok(req->sink.fd_offset, req->length))
        return -EINVAL;
    if (req->offset < req->meta.size)
        len = MIN(req->length, req->meta.size - req->offset);
    r = pump(job, fd, len);
    return r == -ESTALE ? file_job_fail(job, r, "the object changed while it was read") : r;
}

int file_object_put(struct file_job *job)
{
    _cleanup_(file_attrs_fini) struct file_attrs attrs = FILE_ATTRS_NULL;
    _cleanup_(file_io_temp_fini) struct file_io_temp temp = FILE_IO_TEMP_NULL;
    struct store_req *req = job->req;
    struct file_path path;
    int r = file_object_check_key(job, req->key, &path);

    if (r == 0)
        r = file_attrs_from_req(&attrs, req);
    if (r < 0)
        return r;
    if (path.is_dir)
        return req->length == 0 ? file_io_commit_dir(job, &attrs)
                                : file_job_fail(job, -EINVAL, "a directory holds no bytes here");
    r = file_io_temp_open(job->fs, &temp);
    if (r == 0)
        r = file_io_body(job, temp.fd, 0);
    if (r == 0)
        r = file_io_commit(job, temp.fd, temp.dir, temp.name, &attrs);
    if (r == 0)
        temp.name[0] = '\0'; /* it has another name now */
    return r;
}

int file_object_check_key(struct file_job *job, const char *key, struct file_path *ret_path)
{
    int r = file_path_split(key, ret_path);

    if (r == -EINVAL)
        return file_job_fail(job, r, "no file can have this key");
    if (r == -ENAMETOOLONG)
        return file_job_fail(job, r, "the key or a component of it is too long");
    if (r == -EILSEQ)
        return file_job_fail(job, r, "the key is not UTF-8");
    return r;
}

int file_object_open_source(struct file_job *job, struct stat *ret_st)
{
    struct store_req *req = job->req;
    _cleanup_(closep) int fd = file_object_open(job->fs, req->src_key, ret_st);
    int r;

    if (fd < 0)
        return fd == -ENOENT ? file_job_fail(job, fd, "the source does not exist") : fd;
    r = file_io_condition(req->src_if_match, false, ret_st);
    return r < 0 ? file_job_fail(job, r, "the source was replaced") : take_fd(&fd);
}

int file_object_source_same(struct file_job *job, int fd, const struct stat *before)
{
    char etag[FILE_IO_ETAG_SIZE];
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    file_io_etag(before, etag);
    return file_io_condition(etag, false, &st) == 0
               ? 0
               : file_job_fail(job, -ESTALE, "the source changed while it was copied");
}

static int copy_bytes(struct file_job *job, int from, const struct stat *st,
                      const struct file_attrs *attrs)
{
    _cleanup_(file_io_temp_fini) struct file_io_temp temp = FILE_IO_TEMP_NULL;
    uint64_t copied;
    int r = file_io_temp_open(job->fs, &temp);

    if (r == 0)
        r = file_io_copy(job, from, 0, temp.fd, 0, (uint64_t)st->st_size, &copied);
    if (r == 0)
        r = file_object_source_same(job, from, st);
    if (r == 0)
        r = file_io_commit(job, temp.fd, temp.dir, temp.name, attrs);
    if (r == 0)
        temp.name[0] = '\0';
    return r;
}

int file_object_copy(struct file_job *job)
{
    _cleanup_(file_attrs_fini) struct file_attrs attrs = FILE_ATTRS_NULL;
    struct store_req *req = job->req;
    struct file_path path;
    struct stat st;
    _cleanup_(closep) int from = -1;
    int r = file_object_check_key(job, req->key, &path);

    if (r < 0)
        return r;
    from = file_object_open_source(job, &st);
    if (from < 0)
        return from;
    if (path.is_dir && !S_ISDIR(st.st_mode) && st.st_size > 0)
        return file_job_fail(job, -EINVAL, "a directory holds no bytes here");
    r = req->user || req->content_type ? file_attrs_from_req(&attrs, req)
                                       : file_attr_load(job->fs, from, req->src_key, &attrs);
    if (r < 0)
        return r;
    if (path.is_dir)
        return file_io_commit_dir(job, &attrs);
    if (S_ISDIR(st.st_mode))
        st.st_size = 0;
    return copy_bytes(job, from, &st, &attrs);
}
