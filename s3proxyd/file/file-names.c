/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reading directories. To keep the smallest `max` of many names, twice as many are gathered, sorted
 * and cut in half, again and again: each name is looked at a few times, whatever their number. */
#include "s3proxyd/file/file-names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-path.h"

struct file_names_rest {
    char *dir, *name_prefix, *token;
    struct file_names names;
};

void file_names_fini(struct file_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->at[i]);
    free(names->at);
    *names = FILE_NAMES_NULL;
}

static int add(struct file_names *names, const char *name)
{
    char *s = strdup(name);

    if (s && names->n == names->cap) {
        size_t cap = names->cap ? names->cap * 2 : 64;
        char **at = realloc(names->at, cap * sizeof(*at));

        if (!at) {
            free(s);
            return -ENOMEM;
        }
        names->at = at;
        names->cap = cap;
    }
    if (!s)
        return -ENOMEM;
    names->at[names->n++] = s;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_and_cut(struct file_names *names, size_t max)
{
    if (names->n > 1)
        qsort(names->at, names->n, sizeof(names->at[0]), by_bytes);
    names->cut = names->cut || names->n > max;
    while (names->n > max)
        free(names->at[--names->n]);
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* 0: hidden, 1: a file, 2: a directory. */
static int kind_of(DIR *d, const struct dirent *e)
{
    struct stat st;

    if (e->d_type == DT_REG)
        return 1;
    if (e->d_type == DT_DIR)
        return 2;
    if (e->d_type != DT_UNKNOWN || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return S_ISREG(st.st_mode) ? 1 : S_ISDIR(st.st_mode) ? 2 : 0;
}

static bool dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

const struct dirent *file_names_next(struct file_job *job, DIR *d, const char *dir,
                                     bool *ret_is_dir, int *ret_error)
{
    bool at_root = !dir[0];
    const struct dirent *e;

    while (errno = 0, e = readdir(d)) {
        size_t len = strlen(e->d_name);
        int kind;

        if (dots(e->d_name) || (at_root && strcmp(e->d_name, FILE_PRIVATE_DIR) == 0))
            continue;
        kind = kind_of(d, e);
        if (kind != 0 && file_path_name_ok(e->d_name, len, at_root) &&
            strlen(dir) + len + (kind == 2) <= PROTO_KEY_MAX_BYTES) {
            *ret_is_dir = kind == 2;
            return e;
        }
        job->fs->hidden++;
    }
    *ret_error = -errno;
    return NULL;
}

int file_names_open(struct file_job *job, const char *dir, DIR **ret_dir)
{
    int fd = file_path_open(job->fs, dir, O_RDONLY | O_DIRECTORY);

    if (fd < 0)
        return fd;
    *ret_dir = fdopendir(fd);
    if (*ret_dir)
        return 0;
    close(fd);
    return -ENOMEM;
}

static bool wanted(const struct file_names_want *want, const char *full)
{
    return str_starts(full + strlen(want->dir), want->name_prefix) &&
           (strcmp(full, want->after) > 0 ||
            (want->descend && full[strlen(full) - 1] == '/' && str_starts(want->after, full)));
}

int file_names_read(struct file_job *job, const struct file_names_want *want,
                    struct file_names *ret_names)
{
    _cleanup_(closedirp) DIR *d = NULL;
    char full[PROTO_KEY_MAX_BYTES + 1];
    const struct dirent *e;
    bool is_dir;
    int error = 0, r = file_names_open(job, want->dir, &d);

    if (r == 0 && fstat(dirfd(d), &ret_names->dir) < 0)
        r = -errno;
    while (r == 0 && (e = file_names_next(job, d, want->dir, &is_dir, &error))) {
        (void)snprintf(full, sizeof(full), "%s%s%s", want->dir, e->d_name, is_dir ? "/" : "");
        if (wanted(want, full))
            r = add(ret_names, full + strlen(want->dir));
        if (ret_names->n >= 2 * want->max)
            sort_and_cut(ret_names, want->max);
        if (r == 0)
            r = file_job_check(job);
    }
    if (r == 0)
        r = error;
    if (r == 0)
        sort_and_cut(ret_names, want->max);
    return r;
}

static void rest_free(struct file_names_rest *rest)
{
    if (!rest)
        return;
    free(rest->dir);
    free(rest->name_prefix);
    free(rest->token);
    file_names_fini(&rest->names);
    free(rest);
}

void file_names_keep(struct file_store *fs, const struct file_names_want *want,
                     struct file_names *names, size_t first, const char *token)
{
    struct file_names_rest *rest = calloc(1, sizeof(*rest));

    must(first <= names->n);
    if (!rest)
        return;
    rest->dir = strdup(want->dir);
    rest->name_prefix = strdup(want->name_prefix);
    rest->token = strdup(token);
    for (size_t i = 0; i < first; i++)
        free(names->at[i]);
    names->n -= first;
    memmove(names->at, names->at + first, names->n * sizeof(names->at[0]));
    rest->names = *names;
    *names = FILE_NAMES_NULL;
    if (rest->dir && rest->name_prefix && rest->token)
        rest = atomic_exchange(&fs->rest, rest);
    rest_free(rest);
}

bool file_names_resume(struct file_job *job, const struct file_names_want *want,
                       struct file_names *ret_names)
{
    struct file_names_rest *rest = atomic_exchange(&job->fs->rest, NULL);
    _cleanup_(closep) int fd = -1;
    struct stat st;
    bool fits = rest && strcmp(rest->dir, want->dir) == 0 &&
                strcmp(rest->name_prefix, want->name_prefix) == 0 &&
                strcmp(rest->token, want->after) == 0;

    if (fits) {
        fd = file_path_open(job->fs, want->dir, O_RDONLY | O_DIRECTORY);
        fits = fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == rest->names.dir.st_ino &&
               st.st_mtim.tv_sec == rest->names.dir.st_mtim.tv_sec &&
               st.st_mtim.tv_nsec == rest->names.dir.st_mtim.tv_nsec;
    }
    if (fits) {
        *ret_names = rest->names;
        rest->names = FILE_NAMES_NULL;
    }
    rest_free(rest);
    return fits;
}

void file_names_forget(struct file_store *fs)
{
    rest_free(atomic_exchange(&fs->rest, NULL));
}
