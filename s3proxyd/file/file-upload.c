/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Multipart uploads, below .hafiz/uploads/<id>/:
 *   info      key and attributes, as the upload was created
 *   stride    a link whose text is the length of the first part that came; never changes
 *   data      part N of at most that length stands at (N - 1) * stride
 *   blob.*    any other part
 *   part.N    ETag, length and place of part N, renamed into place when its bytes are written
 * Almost all uploads have equal parts but the last, so `data` is the object already and
 * completing it copies nothing. Otherwise what is in blobs is appended, or all of it is copied
 * into a new file. */
#include "s3proxyd/file/file-upload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-object.h"
#include "s3proxyd/file/file-path.h"

#define ID_CHARS 32u
#define INFO_KEY "key"
#define DATA_MAX_BYTES                                                         \
    (1ULL << 40) /* slots beyond go to blobs: file systems bound a file's size \
                  */

static bool id_ok(const char *id)
{
    return id && strlen(id) == ID_CHARS && strspn(id, "0123456789abcdef") == ID_CHARS;
}

static int no_such_upload(struct file_job *job)
{
    return file_job_fail(job, -EIO, "no such upload");
}

static int open_upload(struct file_job *job)
{
    char path[80];
    int fd;

    if (!id_ok(job->req->upload_id))
        return no_such_upload(job);
    (void)snprintf(path, sizeof(path), FILE_PRIVATE_DIR "/uploads/%s", job->req->upload_id);
    fd = file_path_open(job->fs, path, O_RDONLY | O_DIRECTORY);
    return file_path_absent(fd) ? no_such_upload(job) : fd;
}

static int write_info(int dir, const struct store_req *req)
{
    _cleanup_(file_attrs_fini) struct file_attrs attrs = FILE_ATTRS_NULL;
    _cleanup_(closep) int fd = -1;
    int r = file_attrs_add(&attrs, "", INFO_KEY, req->key);

    if (r == 0)
        r = file_attrs_from_req(&attrs, req);
    if (r < 0)
        return r;
    fd = openat(dir, "info", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : file_attrs_write(&attrs, fd);
}

int file_upload_create(struct file_job *job)
{
    struct store_req *req = job->req;
    _cleanup_(closep) int uploads = -1;
    _cleanup_(closep) int dir = -1;
    _cleanup_(closep) int data = -1;
    char id[ID_CHARS + 1];
    struct file_path path;
    int r = file_object_check_key(job, req->key, &path);

    if (r == 0 && path.is_dir)
        return file_job_fail(job, -EINVAL, "a directory holds no bytes here");
    if (r == 0)
        r = file_io_random_name(id, sizeof(id));
    if (r < 0)
        return r;
    uploads = file_path_private(job->fs, "uploads");
    if (uploads < 0)
        return uploads;
    if (mkdirat(uploads, id, 0700) < 0)
        return -errno;
    dir = openat(uploads, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    r = dir < 0 ? -errno : write_info(dir, req);
    if (r == 0) {
        data = openat(dir, "data", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        r = data < 0 ? -errno : 0;
    }
    if (r == 0) {
        req->ret_upload_id = strdup(id);
        r = req->ret_upload_id ? 0 : -ENOMEM;
    }
    if (r < 0)
        file_upload_remove(uploads, id);
    return r;
}

/* The length every slot of `data` has: that of whichever part came first. */
static int get_stride(int dir, uint64_t suggestion, uint64_t *ret_stride)
{
    char text[24];
    ssize_t n;

    (void)snprintf(text, sizeof(text), "%" PRIu64, suggestion);
    if (suggestion > 0 && symlinkat(text, dir, "stride") < 0 && errno != EEXIST)
        return -errno;
    n = readlinkat(dir, "stride", text, sizeof(text) - 1);
    if (n < 0) {
        *ret_stride = 0;
        return errno == ENOENT ? 0 : -errno;
    }
    text[n] = '\0';
    return str_to_u64(text, 10, ret_stride) < 0 ? -EIO : 0;
}

struct part { /* a record */
    char etag[FILE_IO_ETAG_SIZE];
    uint64_t len;
    char blob[40]; /* "" : its slot in data */
};

static int write_record(struct file_job *job, int dir, const struct part *part)
{
    _cleanup_(file_io_temp_fini) struct file_io_temp temp = FILE_IO_TEMP_NULL;
    char text[160], name[24];
    int n, r = file_io_temp_open(job->fs, &temp);

    if (r < 0)
        return r;
    n = snprintf(text, sizeof(text), "%s %" PRIu64 " %s\n", part->etag, part->len,
                 part->blob[0] ? part->blob : "data");
    r = fd_write_full(temp.fd, text, (size_t)n);
    if (r < 0)
        return r;
    (void)snprintf(name, sizeof(name), "part.%u", job->req->part_number);
    r = file_io_temp_rename(&temp, dir, name);
    return r == -ENOENT ? no_such_upload(job) : r; /* aborted meanwhile */
}

static int read_record(int dir, unsigned number, struct part *ret)
{
    _cleanup_(closep) int fd = -1;
    char text[160], name[24], place[40];
    size_t len;
    int r;

    (void)snprintf(name, sizeof(name), "part.%u", number);
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = fd_read_full(fd, text, sizeof(text) - 1, &len);
    if (r < 0)
        return r;
    text[len] = '\0';
    if (sscanf(text, "%55s %" SCNu64 " %39s", ret->etag, &ret->len, place) != 3 ||
        ret->len > INT64_MAX || strchr(place, '/'))
        return -EIO;
    (void)snprintf(ret->blob, sizeof(ret->blob), "%s", strcmp(place, "data") == 0 ? "" : place);
    return 0;
}

static int open_part_target(struct file_job *job, int dir, struct part *part, uint64_t *ret_offset)
{
    const struct store_req *req = job->req;
    uint64_t stride;
    int fd, r = get_stride(dir, req->length, &stride);

    if (r < 0)
        return r;
    if (stride > 0 && req->length <= stride && stride <= DATA_MAX_BYTES / req->part_number) {
        *ret_offset = (req->part_number - 1) * stride;
        fd = openat(dir, "data", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    (void)snprintf(part->blob, sizeof(part->blob), "blob.");
    r = file_io_random_name(part->blob + 5, sizeof(part->blob) - 5);
    if (r < 0)
        return r;
    *ret_offset = 0;
    fd = openat(dir, part->blob, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

/* The part's bytes: the body, or a range of another object. */
static int fill_part(struct file_job *job, int to, uint64_t to_off)
{
    const struct store_req *req = job->req;
    _cleanup_(closep) int from = -1;
    uint64_t copied;
    struct stat st;
    int r;

    if (req->op == STORE_MPU_PART)
        return file_io_body(job, to, to_off);
    from = file_object_open_source(job, &st);
    if (from < 0)
        return from;
    if (!S_ISREG(st.st_mode) || !range_ok(req->offset, req->length) ||
        req->offset + req->length > (uint64_t)st.st_size)
        return file_job_fail(job, -EINVAL, "the range is not within the source");
    r = file_io_copy(job, from, req->offset, to, to_off, req->length, &copied);
    return r < 0 ? r : file_object_source_same(job, from, &st);
}

int file_upload_part(struct file_job *job)
{
    struct store_req *req = job->req;
    _cleanup_(closep) int dir = open_upload(job);
    _cleanup_(closep) int to = -1;
    struct part part = {.len = req->length};
    uint64_t to_off = 0;
    struct stat st;
    int r;

    if (dir < 0)
        return dir;
    if (req->part_number < 1 || req->part_number > FILE_PARTS_MAX || req->length > INT64_MAX)
        return -EINVAL;
    to = open_part_target(job, dir, &part, &to_off);
    if (to < 0)
        return to;
    r = fill_part(job, to, to_off);
    if (r == 0 && fstat(to, &st) < 0)
        r = -errno;
    if (r < 0)
        return r;
    st.st_size = (off_t)req->length;
    st.st_mtim = file_io_unique_time(job->fs);
    file_io_etag(&st, part.etag);
    r = write_record(job, dir, &part);
    return r < 0 ? r : file_io_meta(&st, &req->meta);
}

static int load_parts(struct file_job *job, int dir, struct part *parts, uint64_t *ret_total)
{
    const struct store_req *req = job->req;
    uint64_t total = 0;

    for (size_t i = 0; i < req->nparts; i++) {
        int r = read_record(dir, (unsigned)i + 1, &parts[i]);

        if (r < 0 && r != -ENOENT)
            return r;
        if (r == -ENOENT || !str_eq(parts[i].etag, req->part_etags[i]))
            return file_job_fail(job, -EIO, "part %zu is not the one that was uploaded", i + 1);
        if (!range_ok(total, parts[i].len))
            return -EFBIG;
        total += parts[i].len;
    }
    if (req->length > 0 && req->length != total)
        return file_job_fail(job, -EIO, "the parts are not as long as the object");
    *ret_total = total;
    return 0;
}

/* How many parts, from the first on, stand in `data` without a gap. */
static size_t leading_run(const struct part *parts, size_t n, uint64_t stride)
{
    for (size_t i = 0; i < n; i++) {
        if (parts[i].blob[0])
            return i;
        if (parts[i].len != stride)
            return i + 1;
    }
    return n;
}

static int append_part(struct file_job *job, int dir, const struct part *part, uint64_t data_off,
                       int to, uint64_t to_off)
{
    _cleanup_(closep) int from =
        openat(dir, part->blob[0] ? part->blob : "data", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t copied;
    int r;

    if (from < 0)
        return -errno;
    r = file_io_copy(job, from, part->blob[0] ? 0 : data_off, to, to_off, part->len, &copied);
    if (r == 0 && copied < part->len)
        return file_job_fail(job, -EIO, "a part's file is shorter than the part");
    return r;
}

struct assembly {
    struct file_io_temp temp; /* when a new file was needed */
    int data;                 /* else */
};

/* Brings all parts together in one file: `data`, or a temporary one. */
static int assemble(struct file_job *job, int dir, const struct part *parts, uint64_t total,
                    struct assembly *a)
{
    size_t n = job->req->nparts, run;
    uint64_t stride, at = 0;
    int to, r = get_stride(dir, 0, &stride);

    if (r < 0)
        return r;
    run = leading_run(parts, n, stride);
    for (size_t i = run; i < n && run > 0; i++)
        if (!parts[i].blob[0]) /* would be overwritten by what is appended before it */
            run = 0;
    if (run > 0) {
        a->data = openat(dir, "data", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        r = a->data < 0 ? -errno : 0;
    } else {
        r = file_io_temp_open(job->fs, &a->temp);
    }
    if (r < 0)
        return r;
    to = run > 0 ? a->data : a->temp.fd;
    for (size_t i = 0; i < n && r == 0; i++) {
        if (i >= run)
            r = append_part(job, dir, &parts[i], i * stride, to, at);
        at += parts[i].len;
    }
    if (r == 0 && ftruncate(to, (off_t)total) < 0)
        r = -errno;
    return r;
}

static int load_info(struct file_job *job, int dir, struct file_attrs *ret)
{
    _cleanup_(file_attrs_fini) struct file_attrs info = FILE_ATTRS_NULL;
    _cleanup_(closep) int fd = openat(dir, "info", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 ? -errno : file_attrs_read(fd, &info);

    if (r < 0)
        return r == -ENOENT ? no_such_upload(job) : r;
    if (info.n == 0 || !str_eq(info.pairs[0].name, INFO_KEY) ||
        !str_eq(info.pairs[0].value, job->req->key))
        return no_such_upload(job);
    for (size_t i = 1; i < info.n && r == 0; i++)
        r = file_attrs_add(ret, "", info.pairs[i].name, info.pairs[i].value);
    return r;
}

static int complete(struct file_job *job, int dir, struct part *parts)
{
    _cleanup_(file_attrs_fini) struct file_attrs attrs = FILE_ATTRS_NULL;
    struct assembly a = {.temp = FILE_IO_TEMP_NULL, .data = -1};
    uint64_t total = 0;
    int r = load_info(job, dir, &attrs);

    if (r == 0)
        r = load_parts(job, dir, parts, &total);
    if (r == 0)
        r = assemble(job, dir, parts, total, &a);
    if (r == 0 && a.data >= 0)
        r = file_io_commit(job, a.data, dir, "data", &attrs);
    else if (r == 0) {
        r = file_io_commit(job, a.temp.fd, a.temp.dir, a.temp.name, &attrs);
        if (r == 0)
            a.temp.name[0] = '\0';
    }
    file_io_temp_fini(&a.temp);
    closep(&a.data);
    return r;
}

int file_upload_complete(struct file_job *job)
{
    struct store_req *req = job->req;
    _cleanup_(closep) int dir = open_upload(job);
    _cleanup_(freep) struct part *parts = NULL;
    int r;

    if (dir < 0)
        return dir;
    if (req->nparts < 1 || req->nparts > FILE_PARTS_MAX)
        return -EINVAL;
    parts = calloc(req->nparts, sizeof(*parts));
    if (!parts)
        return -ENOMEM;
    r = complete(job, dir, parts);
    return r < 0 ? r : file_upload_abort(job);
}

void file_upload_remove(int uploads, const char *id)
{
    int fd = openat(uploads, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        closep(&fd);
        return;
    }
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    (void)unlinkat(uploads, id, AT_REMOVEDIR);
}

/* A part in flight may leave something behind; the sweep of later days takes it. */
int file_upload_abort(struct file_job *job)
{
    _cleanup_(closep) int uploads =
        file_path_open(job->fs, FILE_PRIVATE_DIR "/uploads", O_RDONLY | O_DIRECTORY);

    if (uploads < 0)
        return file_path_absent(uploads) ? 0 : uploads;
    if (id_ok(job->req->upload_id))
        file_upload_remove(uploads, job->req->upload_id);
    return 0;
}
