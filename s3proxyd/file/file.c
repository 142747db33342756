/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The file store as a store: takes requests on the main loop, runs them on the pool, counts,
 * answers. What the operations do is in file-object.c, file-delete.c, file-list.c and
 * file-upload.c. */
#include "s3proxyd/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-mount.h"
#include "s3proxyd/file/file-names.h"
#include "s3proxyd/file/file-path.h"
#include "s3proxyd/file/file-sweep.h"
#include "s3proxyd/file/file-upload.h"

static struct file_store *file_store_of(struct store *store)
{
    return container_of(store, struct file_store, store);
}

int file_job_check(const struct file_job *job)
{
    if (job->req->cancelled)
        return -ECANCELED;
    if (job->req->deadline_ns > 0 && clock_mono_ns() >= job->req->deadline_ns)
        return -ETIMEDOUT;
    return 0;
}

int file_job_fail(struct file_job *job, int error, const char *fmt, ...)
{
    struct store_req *req = job->req;
    va_list ap;

    if (req->error_text[0]) /* the first to speak knows best */
        return error;
    va_start(ap, fmt);
    (void)vsnprintf(req->error_text, sizeof(req->error_text), fmt, ap);
    va_end(ap);
    return error;
}

static void progress_home(struct mail *mail)
{
    struct file_job *job = container_of(mail, struct file_job, progress);

    job->progress_posted = false; /* before the count is read: later bytes post again */
    job->req->sink.progress(job->req, job->progress_got);
}

/* The mail may be posted again only after it ran; the answer travels behind it. */
void file_job_progress(struct file_job *job, uint64_t got)
{
    if (!job->req->sink.progress)
        return;
    job->progress_got = got;
    if (!atomic_exchange(&job->progress_posted, true))
        mailbox_post(pool_home(job->fs->pool), &job->progress);
}

/* Still the directory that was opened, and readable? Mounted over by ourselves is fine. */
static int check(struct file_job *job)
{
    struct file_store *fs = job->fs;

    if (file_mount_is_ours(fs->directory))
        return 0;
    _cleanup_(closep) int fd = open(fs->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat now, then;

    if (fd < 0)
        return file_job_fail(job, -errno, "the directory cannot be opened");
    if (fstat(fd, &now) < 0 || fstat(fs->root, &then) < 0)
        return -errno;
    if (now.st_dev != then.st_dev || now.st_ino != then.st_ino)
        return file_job_fail(job, -ENXIO, "the directory was replaced by another one");
    return 0;
}

static const struct {
    int (*run)(struct file_job *job);
    bool writes;
} ops[] = {
    [STORE_CHECK] = {check, false},
    [STORE_LIST] = {file_list_page, false},
    [STORE_HEAD] = {file_object_head, false},
    [STORE_GET] = {file_object_get, false},
    [STORE_PUT] = {file_object_put, true},
    [STORE_DELETE] = {file_delete_one, true},
    [STORE_DELETE_MANY] = {file_delete_many, true},
    [STORE_COPY] = {file_object_copy, true},
    [STORE_MPU_CREATE] = {file_upload_create, true},
    [STORE_MPU_PART] = {file_upload_part, true},
    [STORE_MPU_PART_COPY] = {file_upload_part, true},
    [STORE_MPU_COMPLETE] = {file_upload_complete, true},
    [STORE_MPU_ABORT] = {file_upload_abort, true},
};

/* On a pool thread. */
static void file_run(struct work *work)
{
    struct store_req *req = container_of(work, struct store_req, work);
    struct file_job *job = req->impl;
    int r;

    if (!job)
        return; /* no memory, see submit */
    r = file_job_check(job);
    if (r == 0 && ops[req->op].writes && !atomic_exchange(&job->fs->swept, true))
        file_sweep(job->fs);
    if (r == 0)
        r = ops[req->op].run(job);
    req->error = r;
    if (r < 0)
        (void)file_job_fail(job, r, "%s", strerrordesc_np(-r));
}

/* Back on the main loop. */
static void file_done(struct work *work)
{
    struct store_req *req = container_of(work, struct store_req, work);
    struct store_stats *stats = &file_store_of(req->store)->stats;

    free(req->impl);
    req->impl = NULL;
    if (req->error < 0 && req->error != -ENOENT) /* "not there" is an answer */
        stats->errors++;
    stats->bytes_in += req->got;
    if (req->error == 0 && (req->op == STORE_PUT || req->op == STORE_MPU_PART))
        stats->bytes_out += req->length;
    req->done(req);
}

static void file_submit(struct store *store, struct store_req *req)
{
    struct file_store *fs = file_store_of(store);
    struct file_job *job = calloc(1, sizeof(*job));

    must((size_t)req->op < ARRAY_SIZE(ops));
    if (job) {
        job->fs = fs;
        job->req = req;
        job->progress.run = progress_home;
    } else {
        req->error = -ENOMEM;
    }
    fs->stats.requests[req->op]++;
    req->impl = job;
    req->work.run = file_run;
    req->work.done = file_done;
    pool_submit(fs->pool, &req->work);
}

static void file_cancel(struct store *store, struct store_req *req)
{
    (void)store;
    req->cancelled = true;
}

static void file_stats(struct store *store, struct store_stats *ret)
{
    *ret = file_store_of(store)->stats;
}

static void file_free(struct store *store)
{
    struct file_store *fs = file_store_of(store);

    if (fs->hidden > 0)
        log_info("file", "%s: %llu names in listings were not shown: links, specials, no UTF-8",
                 log_esc(fs->directory), (unsigned long long)fs->hidden);
    file_names_forget(fs);
    closep(&fs->root);
    free(fs->directory);
    free(fs);
}

static const struct store_impl file_impl = {
    .name = "file",
    .submit = file_submit,
    .cancel = file_cancel,
    .stats = file_stats,
    .free = file_free,
};

uint64_t file_store_hidden(struct store *store)
{
    return file_store_of(store)->hidden;
}

int file_store_new(struct pool *pool, const char *directory, struct store **ret_store)
{
    _cleanup_(freep) char *real = NULL;
    _cleanup_(closep) int root = -1;
    struct file_store *fs;
    struct stat st;

    if (directory[0] != '/')
        return -EINVAL;
    if (file_mount_is_ours(directory)) {
        log_error("file", "%s lies on a mount of hafiz itself", log_esc(directory));
        return -ELOOP;
    }
    root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return -errno;
    real = realpath(directory, NULL); /* one name for cache keys, however it was written */
    if (!real)
        return -errno;
    fs = calloc(1, sizeof(*fs));
    if (!fs)
        return -ENOMEM;
    fs->pool = pool;
    fs->root = take_fd(&root);
    fs->directory = take(real);
    fs->has_records = fstatat(fs->root, FILE_PRIVATE_DIR "/meta", &st, AT_SYMLINK_NOFOLLOW) == 0;
    fs->store = (struct store){
        .impl = &file_impl,
        .endpoint = "file://",
        .bucket = fs->directory,
        .copy_max_bytes = INT64_MAX,
        .part_min_bytes = 1,
        .object_max_bytes = INT64_MAX,
        .parts_max = FILE_PARTS_MAX,
    };
    *ret_store = &fs->store;
    return 0;
}
