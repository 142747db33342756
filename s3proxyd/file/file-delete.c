/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* DELETE: absent is success. With the last object of an implicit directory the directory goes,
 * as a prefix without keys does; a marker's deletion leaves an implicit directory while
 * something is below. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-path.h"

/* All of these: with the lock; parent is path's directory. */
static int delete_file(struct file_job *job, const struct file_path *path, int parent)
{
    struct stat st;
    bool there = fstatat(parent, path->leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int r;

    if (!there && errno != ENOENT)
        return -errno;
    there = there && S_ISREG(st.st_mode); /* anything else is hidden: no such key */
    r = file_io_condition(job->req->if_match, false, there ? &st : NULL);
    if (r < 0 || !there)
        return r;
    if (unlinkat(parent, path->leaf, 0) < 0 && errno != ENOENT)
        return -errno;
    file_attr_drop(job->fs, path->key);
    return 0;
}

static int delete_marker(struct file_job *job, const struct file_path *path, int parent)
{
    _cleanup_(closep) int fd =
        openat(parent, path->leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    bool marker = fd >= 0 && fstat(fd, &st) == 0 && !file_attr_is_implicit(job->fs, fd, path->key);
    int r;

    if (fd < 0 && !file_path_absent(-errno))
        return -errno;
    r = file_io_condition(job->req->if_match, false, marker ? &st : NULL);
    if (r < 0 || fd < 0)
        return r;
    if (unlinkat(parent, path->leaf, AT_REMOVEDIR) == 0) {
        file_attr_drop(job->fs, path->key);
        return 0;
    }
    if (errno != ENOTEMPTY && errno != EEXIST)
        return errno == ENOENT ? 0 : -errno;
    if (!marker)
        return 0;
    r = file_attr_set_implicit(job->fs, fd, path->key, true);
    return r == 0 ? file_path_sync(fd) : r;
}

/* *ret_parent: the directory to sync before the answer, or -1 when nothing changed. */
static int delete_locked(struct file_job *job, const char *key, int *ret_parent,
                         struct file_path *path)
{
    _cleanup_(closep) int parent = -1;
    int r;

    if (file_path_split(key, path) < 0)
        return file_io_condition(job->req->if_match, false, NULL); /* cannot exist */
    parent = file_path_open_parent(job->fs, path);
    if (parent < 0)
        return file_path_absent(parent) ? file_io_condition(job->req->if_match, false, NULL)
                                        : parent;
    r = path->is_dir ? delete_marker(job, path, parent) : delete_file(job, path, parent);
    if (r < 0)
        return r;
    file_path_prune(job->fs, path->dir);
    *ret_parent = take_fd(&parent);
    return 0;
}

int file_delete_one(struct file_job *job)
{
    _cleanup_(closep) int parent = -1;
    _cleanup_(closep) int lock = file_io_lock(job->fs);
    struct file_path path;
    int r;

    if (lock < 0)
        return lock;
    r = delete_locked(job, job->req->key, &parent, &path);
    close(take_fd(&lock));
    if (r < 0)
        return file_job_fail(job, r, "the object could not be deleted");
    return parent >= 0 ? file_path_sync(parent) : 0;
}

/* A thousand keys mostly share few directories: each is synced when the next one comes. */
int file_delete_many(struct file_job *job)
{
    struct store_req *req = job->req;
    char synced[PROTO_KEY_MAX_BYTES + 1] = "";
    _cleanup_(closep) int pending = -1;

    req->key_errors = calloc(req->nkeys ? req->nkeys : 1, sizeof(*req->key_errors));
    if (!req->key_errors)
        return -ENOMEM;
    for (size_t i = 0; i < req->nkeys; i++) {
        _cleanup_(closep) int parent = -1;
        _cleanup_(closep) int lock = file_io_lock(job->fs);
        struct file_path path;
        int r = file_job_check(job);

        if (r < 0 || lock < 0)
            return r < 0 ? r : lock;
        req->key_errors[i] = delete_locked(job, req->keys[i], &parent, &path);
        close(take_fd(&lock));
        if (parent < 0)
            continue;
        if (pending >= 0 && !str_eq(synced, path.dir) && (r = file_path_sync(pending)) < 0)
            return r;
        closep(&pending);
        pending = take_fd(&parent);
        memcpy(synced, path.dir, strlen(path.dir) + 1);
    }
    return pending >= 0 ? file_path_sync(pending) : 0;
}
