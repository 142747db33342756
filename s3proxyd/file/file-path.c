/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The rules that keep a key inside the directory, written once. openat2() does the work in one
 * call; where a kernel or a filter refuses it, components are walked one by one. */
#include "s3proxyd/file/file-path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-attr.h"

#define AGAIN_MAX 8 /* openat2 gives EAGAIN when a rename elsewhere raced with it */

static int check_component(const char *s, size_t len, bool first)
{
    if (len == 0 || (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
        return -EINVAL;
    if (len > PROTO_NAME_MAX_BYTES)
        return -ENAMETOOLONG;
    if (first && len == sizeof(FILE_PRIVATE_DIR) - 1 && memcmp(s, FILE_PRIVATE_DIR, len) == 0)
        return -EINVAL;
    return 0;
}

bool file_path_name_ok(const char *name, size_t len, bool at_root)
{
    return check_component(name, len, at_root) == 0 && str_utf8_ok(name, len);
}

int file_path_split(const char *key, struct file_path *ret_path)
{
    size_t len = strlen(key), end, start;
    bool is_dir = len > 0 && key[len - 1] == '/';

    if (len == 0)
        return -EINVAL;
    if (len > PROTO_KEY_MAX_BYTES)
        return -ENAMETOOLONG;
    if (!str_utf8_ok(key, len))
        return -EILSEQ;
    end = is_dir ? len - 1 : len;
    for (start = 0;;) {
        const char *slash = memchr(key + start, '/', end - start);
        size_t stop = slash ? (size_t)(slash - key) : end;
        int r = check_component(key + start, stop - start, start == 0);

        if (r < 0)
            return r;
        if (!slash)
            break;
        start = stop + 1;
    }
    memcpy(ret_path->key, key, len + 1);
    memcpy(ret_path->dir, key, start);
    ret_path->dir[start] = '\0';
    memcpy(ret_path->leaf, key + start, end - start);
    ret_path->leaf[end - start] = '\0';
    ret_path->is_dir = is_dir;
    return 0;
}

bool file_path_absent(int error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -ELOOP || error == -EXDEV;
}

mode_t file_path_mode(const struct stat *parent, bool is_dir)
{
    return is_dir ? (parent->st_mode & 02775) | 0700 : (parent->st_mode & 0664) | 0600;
}

int file_path_make_dir(int parent, const char *name)
{
    struct stat st;

    if (fstat(parent, &st) < 0)
        return -errno;
    if (mkdirat(parent, name, 0700) < 0)
        return -errno;
    if (fchmodat(parent, name, file_path_mode(&st, true), 0) < 0) /* not every file system can */
        log_debug("file", "%s stays closed to others: %m", log_esc(name));
    return 0;
}

static bool same_device(struct file_store *fs, int fd)
{
    struct stat here, root;

    return fstat(fd, &here) == 0 && fstat(fs->root, &root) == 0 && here.st_dev == root.st_dev;
}

/* O_NOFOLLOW | O_DIRECTORY on a link is ENOTDIR for most kernels: fine, both mean absent. */
static int walk(struct file_store *fs, char *path, int flags)
{
    _cleanup_(closep) int dir = openat(fs->root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *at = path, *slash;

    if (dir < 0)
        return -errno;
    while ((slash = strchr(at, '/'))) {
        int next;

        *slash = '\0';
        next = openat(dir, at, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return -errno;
        close(dir);
        dir = next;
        at = slash + 1;
        if (!same_device(fs, dir))
            return -EXDEV;
    }
    int fd = openat(dir, at, flags | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (same_device(fs, fd))
        return fd;
    close(fd);
    return -EXDEV;
}

int file_path_open(struct file_store *fs, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    char buf[PROTO_KEY_MAX_BYTES + 64];
    size_t len = strlen(path);

    if (len > 0 && path[len - 1] == '/')
        len--;
    if (len >= sizeof(buf))
        return -ENAMETOOLONG;
    memcpy(buf, len > 0 ? path : ".", len > 0 ? len : 1);
    buf[len > 0 ? len : 1] = '\0';
    for (int tries = 0; !fs->no_openat2 && tries < AGAIN_MAX; tries++) {
        long fd = syscall(SYS_openat2, fs->root, buf, &how, sizeof(how));

        if (fd >= 0)
            return (int)fd;
        if (errno == ENOSYS || errno == EPERM) { /* EPERM: what seccomp filters often give */
            fs->no_openat2 = true;
            break;
        }
        if (errno != EAGAIN)
            return -errno;
    }
    return walk(fs, buf, flags);
}

int file_path_open_parent(struct file_store *fs, const struct file_path *path)
{
    return file_path_open(fs, path->dir, O_RDONLY | O_DIRECTORY);
}

int file_path_sync(int dir)
{
    if (fsync(dir) == 0)
        return 0;
    /* Some file systems cannot sync a directory and say so; there is nothing better to be had. */
    return errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
}

/* One level: opens `name` below *dir, made and marked when absent, and replaces *dir by it. */
static int step_down(struct file_store *fs, int *dir, const char *name, const char *key)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int next = openat(*dir, name, flags);

    if (next < 0 && errno == ENOENT) {
        int r = file_path_make_dir(*dir, name);

        if (r < 0 && r != -EEXIST)
            return r;
        next = openat(*dir, name, flags);
        if (next >= 0 && r == 0) {
            r = file_attr_set_implicit(fs, next, key, true);
            if (r == 0)
                r = file_path_sync(*dir);
            if (r < 0) {
                close(next);
                return r;
            }
        }
    }
    if (next < 0)
        return errno == ELOOP ? -ENOTDIR : -errno;
    close(*dir);
    *dir = next;
    return 0;
}

int file_path_make_parent(struct file_store *fs, const struct file_path *path)
{
    char key[PROTO_KEY_MAX_BYTES + 1];
    char name[PROTO_NAME_MAX_BYTES + 1];
    _cleanup_(closep) int dir = file_path_open_parent(fs, path);
    size_t start = 0;

    if (dir >= 0)
        return take_fd(&dir);
    if (dir != -ENOENT)
        return dir == -ELOOP ? -ENOTDIR : dir;
    dir = file_path_open(fs, "", O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return dir;
    while (path->dir[start]) {
        size_t len = strcspn(path->dir + start, "/");
        int r;

        memcpy(name, path->dir + start, len);
        name[len] = '\0';
        memcpy(key, path->dir, start + len + 1);
        key[start + len + 1] = '\0';
        r = step_down(fs, &dir, name, key);
        if (r < 0)
            return r;
        start += len + 1;
    }
    return take_fd(&dir);
}

/* One level of pruning: true when the directory is gone. */
static bool prune_one(struct file_store *fs, const struct file_path *path)
{
    _cleanup_(closep) int fd = file_path_open(fs, path->key, O_RDONLY | O_DIRECTORY);
    _cleanup_(closep) int parent = file_path_open_parent(fs, path);

    if (fd < 0 || parent < 0 || !file_attr_is_implicit(fs, fd, path->key))
        return false;
    if (unlinkat(parent, path->leaf, AT_REMOVEDIR) < 0)
        return false;
    file_attr_drop(fs, path->key);
    return true;
}

void file_path_prune(struct file_store *fs, const char *dir)
{
    char at[PROTO_KEY_MAX_BYTES + 1];
    struct file_path path;

    (void)snprintf(at, sizeof(at), "%s", dir);
    while (at[0] && file_path_split(at, &path) == 0 && prune_one(fs, &path))
        memcpy(at, path.dir, strlen(path.dir) + 1);
}

int file_path_private(struct file_store *fs, const char *name)
{
    char path[64];
    _cleanup_(closep) int top = -1;
    int fd, r;

    (void)snprintf(path, sizeof(path), FILE_PRIVATE_DIR "/%s", name);
    fd = file_path_open(fs, path, O_RDONLY | O_DIRECTORY);
    if (fd != -ENOENT)
        return fd;
    r = file_path_make_dir(fs->root, FILE_PRIVATE_DIR);
    if (r < 0 && r != -EEXIST)
        return r;
    top = file_path_open(fs, FILE_PRIVATE_DIR, O_RDONLY | O_DIRECTORY);
    if (top < 0)
        return top;
    r = file_path_make_dir(top, name);
    if (r < 0 && r != -EEXIST)
        return r;
    return file_path_open(fs, path, O_RDONLY | O_DIRECTORY);
}
