/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The directory of the spool files, and what they may take of the disk. A file is called <n>.spool
 * while it holds unsaved data and <n>.clean otherwise, so that after a crash only the former are
 * kept: <dir>/orphans/<time>-<n>.spool, with the object's key in the xattr user.hafiz.key. */
#include "s3proxyd/spool/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/spool/spool-int.h"

#define DISK_RESERVE_BYTES (1024ULL * 1024) /* never fill the last MiB of a disk */

void spool_file_name(const struct spool *spool, char out[SPOOL_FILE_SIZE])
{
    snprintf(out, SPOOL_FILE_SIZE, "%" PRIu64 ".%s", spool->number,
             spool->marked_clean ? "clean" : "spool");
}

int spool_mark(struct spool *spool, bool clean)
{
    char from[SPOOL_FILE_SIZE], to[SPOOL_FILE_SIZE];

    if (spool->marked_clean == clean)
        return 0;
    spool_file_name(spool, from);
    spool->marked_clean = clean;
    spool_file_name(spool, to);
    if (renameat(spool->dir->fd, from, spool->dir->fd, to) == 0)
        return 0;
    spool->marked_clean = !clean;
    return -errno;
}

static int move_to_orphans(struct spool_dir *dir, const char *file, const char *suffix)
{
    char name[96];

    /* The time makes it unique: numbers start anew with every backend. */
    snprintf(name, sizeof(name), "%" PRId64 "-%.40s%s", clock_real_ns(), file, suffix);
    if (renameat(dir->fd, file, dir->orphans_fd, name) < 0)
        return -errno;
    dir->orphans++;
    log_warn("spool", "unsaved data kept as %s/orphans/%s", log_esc(dir->path), log_esc(name));
    return 0;
}

void spool_dir_keep_orphan(struct spool *spool)
{
    char file[SPOOL_FILE_SIZE];

    spool_file_name(spool, file);
    int r = move_to_orphans(spool->dir, file, spool->marked_clean ? ".spool" : "");
    if (r < 0)
        log_error("spool", "unsaved data of %s stays at %s/%s: %s", log_esc(spool->name),
                  log_esc(spool->dir->path), file, strerror(-r));
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n > m && memcmp(s + n - m, end, m) == 0;
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static DIR *open_again(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);

    if (!d)
        closep(&copy);
    return d;
}

static int sort_leftovers(struct spool_dir *dir)
{
    _cleanup_(closedirp) DIR *kept = open_again(dir->orphans_fd), *d = open_again(dir->fd);
    struct dirent *de;
    int r = 0;

    if (!d || !kept)
        return -errno;
    while ((de = readdir(kept)))
        dir->orphans += ends_with(de->d_name, ".spool");
    while (r == 0 && (de = readdir(d))) {
        if (ends_with(de->d_name, ".clean"))
            unlinkat(dir->fd, de->d_name, 0);
        else if (ends_with(de->d_name, ".spool"))
            r = move_to_orphans(dir, de->d_name, "");
    }
    return r;
}

static int open_dir(struct spool_dir *dir)
{
    struct stat st;
    int r = fd_mkdir_p(dir->path, 0700);

    if (r < 0)
        return r;
    dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->fd < 0 || fstat(dir->fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid() || (st.st_mode & 0022))
        return -EPERM; /* others could change what we upload */
    dir->lock_fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock_fd < 0)
        return -errno;
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (mkdirat(dir->fd, "orphans", 0700) < 0 && errno != EEXIST)
        return -errno;
    dir->orphans_fd = openat(dir->fd, "orphans", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return dir->orphans_fd < 0 ? -errno : sort_leftovers(dir);
}

int spool_dir_new(struct loop *loop, struct pool *pool, struct cache *cache, const char *path,
                  uint64_t size_bytes, struct spool_dir **ret_dir)
{
    struct spool_dir *dir = calloc(1, sizeof(*dir));
    int r;

    if (!dir)
        return -ENOMEM;
    *dir = (struct spool_dir){.loop = loop,
                              .pool = pool,
                              .cache = cache,
                              .fd = -1,
                              .orphans_fd = -1,
                              .lock_fd = -1,
                              .size_bytes = size_bytes};
    dir->path = strdup(path);
    r = dir->path ? open_dir(dir) : -ENOMEM;
    if (r < 0) {
        spool_dir_free(dir);
        return r;
    }
    *ret_dir = dir;
    return 0;
}

void spool_dir_free(struct spool_dir *dir)
{
    if (!dir)
        return;
    must(dir->spools == 0);
    closep(&dir->orphans_fd);
    closep(&dir->fd);
    closep(&dir->lock_fd);
    free(dir->path);
    free(dir);
}

uint64_t spool_dir_used_bytes(const struct spool_dir *dir)
{
    return dir->used_bytes;
}

uint64_t spool_dir_orphans(const struct spool_dir *dir)
{
    return dir->orphans;
}

static uint64_t free_bytes(const struct spool_dir *dir)
{
    struct statvfs st;

    if (fstatvfs(dir->fd, &st) < 0)
        return UINT64_MAX; /* the bound alone decides */
    return (uint64_t)st.f_bavail * st.f_frsize;
}

int spool_dir_reserve(struct spool_dir *dir, uint64_t bytes)
{
    uint64_t promised = dir->missing_bytes + dir->reserved_bytes;

    if (bytes > dir->size_bytes || promised > INT64_MAX ||
        dir->used_bytes + dir->reserved_bytes > dir->size_bytes - bytes)
        return -ENOSPC;
    uint64_t need = promised + bytes + DISK_RESERVE_BYTES;
    if (free_bytes(dir) < need) {
        cache_make_room(dir->cache, need);
        if (free_bytes(dir) < need)
            return -ENOSPC;
    }
    dir->reserved_bytes += bytes;
    return 0;
}

void spool_dir_unreserve(struct spool_dir *dir, uint64_t bytes)
{
    must(dir->reserved_bytes >= bytes);
    dir->reserved_bytes -= bytes;
}

void spool_recount(struct spool *spool)
{
    struct spool_dir *dir = spool->dir;
    uint64_t missing = spool->engaged ? spool->missing : 0;

    dir->used_bytes += spool->set.disk_bytes + missing - spool->charged;
    dir->missing_bytes += missing - spool->charged_missing;
    spool->charged = spool->set.disk_bytes + missing;
    spool->charged_missing = missing;
}
