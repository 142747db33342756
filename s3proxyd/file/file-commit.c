/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* How a finished file becomes an object. The order is the promise: bytes and attributes are on
 * disk before the name shows them, the condition is tested and the name changed under one lock,
 * and the answer is given when the directory is on disk too. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-path.h"

#define RACES_MAX 8 /* other programs may remove directories under our hands, but not for ever */

int file_io_condition(const char *if_match, bool if_none_match, const struct stat *st)
{
    char etag[FILE_IO_ETAG_SIZE];

    if (if_none_match && st)
        return -EEXIST;
    if (!if_match)
        return 0;
    if (!st)
        return -ENOENT;
    file_io_etag(st, etag);
    return strcmp(if_match, "*") == 0 || strcmp(if_match, etag) == 0 ? 0 : -ESTALE;
}

/* With the lock: may `leaf` in `parent` be replaced by the new object? */
static int check_target(struct file_job *job, int parent, const char *leaf)
{
    const struct store_req *req = job->req;
    struct stat st;
    bool there = fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int r;

    if (!there && errno != ENOENT)
        return -errno;
    if (there && S_ISDIR(st.st_mode))
        return file_job_fail(job, -EISDIR, "a directory has this name");
    if (there && !S_ISREG(st.st_mode))
        return file_job_fail(job, -EEXIST, "a link or special file has this name");
    r = file_io_condition(req->if_match, req->if_none_match, there ? &st : NULL);
    return r < 0 ? file_job_fail(job, r, "the condition does not hold") : 0;
}

/* What is about to be named. */
struct finished {
    int fd, dir;
    const char *name;
    const struct file_attrs *record; /* attributes the file could not take itself, or NULL */
};

static int rename_one(struct file_job *job, const struct file_path *path,
                      const struct finished *new, int parent)
{
    int r = check_target(job, parent, path->leaf);

    if (r < 0)
        return r;
    if (new->record)
        r = file_attr_save_record(job->fs, new->fd, path->key, new->record);
    if (r < 0)
        return r;
    if (renameat(new->dir, new->name, parent, path->leaf) < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    if (!new->record)
        file_attr_drop(job->fs, path->key);
    return 0;
}

static int rename_into(struct file_job *job, const struct file_path *path,
                       const struct finished *new, int *ret_parent)
{
    struct file_store *fs = job->fs;
    int r = -EAGAIN;

    for (int tries = 0; r == -EAGAIN && tries < RACES_MAX; tries++) {
        _cleanup_(closep) int parent = file_path_make_parent(fs, path);

        if (parent < 0)
            return parent == -ENOTDIR
                       ? file_job_fail(job, parent, "an object has the name of a directory above")
                       : parent;
        r = rename_one(job, path, new, parent);
        if (r == 0)
            *ret_parent = take_fd(&parent);
    }
    return r == -EAGAIN ? -EBUSY : r;
}

/* Owner and mode of what is replaced, else of the directory: best effort, as only root may give
 * files away. Until here the file was its maker's only. */
static void inherit(struct file_store *fs, const struct file_path *path, int fd)
{
    _cleanup_(closep) int parent = file_path_open_parent(fs, path);
    struct stat st, old;

    if (fstat(parent < 0 ? fs->root : parent, &st) < 0)
        return;
    if (parent >= 0 && fstatat(parent, path->leaf, &old, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(old.st_mode)) {
        if (fchown(fd, old.st_uid, old.st_gid) < 0 && fchown(fd, (uid_t)-1, old.st_gid) < 0)
            old.st_mode &= ~(mode_t)S_IRWXG; /* it would be another group's right */
        (void)fchmod(fd, old.st_mode & 0777);
        return;
    }
    if (st.st_mode & S_ISGID && fchown(fd, (uid_t)-1, st.st_gid) < 0)
        log_debug("file", "%s keeps its maker's group: %m", log_esc(path->leaf));
    (void)fchmod(fd, file_path_mode(&st, false));
}

int file_io_commit(struct file_job *job, int fd, int dir, const char *name,
                   const struct file_attrs *attrs)
{
    struct store_req *req = job->req;
    struct finished new = {fd, dir, name, NULL};
    _cleanup_(closep) int lock = -1;
    _cleanup_(closep) int parent = -1;
    struct file_path path;
    struct stat st;
    int r = file_path_split(req->key, &path);

    if (r == 0)
        r = file_io_touch(job->fs, fd);
    if (r == 0)
        inherit(job->fs, &path, fd);
    if (r == 0)
        r = file_attr_save_xattrs(fd, attrs);
    if (r == -ENOTSUP) {
        new.record = attrs;
        r = 0;
    }
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && fstat(fd, &st) < 0)
        r = -errno;
    if (r == 0)
        r = file_job_check(job);
    if (r < 0)
        return r;
    lock = file_io_lock(job->fs);
    if (lock < 0)
        return lock;
    r = rename_into(job, &path, &new, &parent);
    if (r < 0) {
        file_path_prune(job->fs, path.dir);
        return r;
    }
    close(take_fd(&lock));
    /* The object is there: an error from here on leaves the outcome open, as with a lost reply. */
    r = file_path_sync(parent);
    return r < 0 ? r : file_io_meta(&st, &req->meta);
}

/* With the lock. The directory exists or is made; *ret_fd is it, *ret_parent is where it stands. */
static int make_marker(struct file_job *job, const struct file_path *path, int *ret_fd,
                       int *ret_parent)
{
    struct store_req *req = job->req;
    _cleanup_(closep) int parent = file_path_make_parent(job->fs, path);
    _cleanup_(closep) int fd = -1;
    struct stat st;
    bool made;
    int r;

    if (parent < 0)
        return parent;
    r = file_path_make_dir(parent, path->leaf);
    if (r < 0 && r != -EEXIST)
        return r;
    made = r == 0;
    fd = openat(parent, path->leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP ? -ENOTDIR : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    bool marker = !made && !file_attr_is_implicit(job->fs, fd, path->key);

    r = file_io_condition(req->if_match, req->if_none_match, marker ? &st : NULL);
    if (r == 0)
        r = file_attr_set_implicit(job->fs, fd, path->key, false);
    if (r < 0) {
        if (made)
            (void)unlinkat(parent, path->leaf, AT_REMOVEDIR);
        return r;
    }
    *ret_fd = take_fd(&fd);
    *ret_parent = take_fd(&parent);
    return 0;
}

int file_io_commit_dir(struct file_job *job, const struct file_attrs *attrs)
{
    struct store_req *req = job->req;
    _cleanup_(closep) int lock = -1;
    _cleanup_(closep) int fd = -1;
    _cleanup_(closep) int parent = -1;
    struct file_path path;
    struct stat st;
    int r = file_path_split(req->key, &path);

    if (r < 0)
        return r;
    lock = file_io_lock(job->fs);
    if (lock < 0)
        return lock;
    r = make_marker(job, &path, &fd, &parent);
    if (r == -ENOTDIR)
        return file_job_fail(job, r, "an object has the name of this directory or one above");
    if (r == 0)
        r = file_attr_replace(job->fs, fd, path.key, attrs);
    if (r < 0) {
        file_path_prune(job->fs, path.dir);
        return r;
    }
    close(take_fd(&lock));
    r = file_path_sync(fd);
    if (r == 0)
        r = file_path_sync(parent);
    if (r == 0 && fstat(fd, &st) < 0)
        r = -errno;
    return r < 0 ? r : file_io_meta(&st, &req->meta);
}
