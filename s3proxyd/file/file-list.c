/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* LIST, in the order of S3: byte-wise over whole keys. A directory sorts as its name and '/', so
 * that walking directories one by one in sorted order gives the order of all keys. A page's
 * token is its last key. Shown are regular files, markers, and directories with something below;
 * not shown, only counted, are links, specials and names that no key can carry. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-path.h"

#define PAGE_KEYS 1000u

struct names { /* "name", or "name/" for a directory */
    char **at;
    size_t n, cap;
};

struct walk {
    struct file_job *job;
    const char *after; /* only greater keys; "" at first */
    bool recursive;
    size_t max;
    bool more; /* there was one too many: the page is full */
};

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->at[i]);
    free(names->at);
}

static int names_add(struct names *names, const char *name)
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

/* The next entry that can be shown, or NULL: the end, or *ret_error. */
static const struct dirent *next_entry(struct file_job *job, DIR *d, bool at_root, size_t dir_len,
                                       bool *ret_is_dir, int *ret_error)
{
    const struct dirent *e;

    while (errno = 0, e = readdir(d)) {
        size_t len = strlen(e->d_name);
        int kind;

        if (dots(e->d_name) || (at_root && strcmp(e->d_name, FILE_PRIVATE_DIR) == 0))
            continue;
        kind = kind_of(d, e);
        if (kind != 0 && file_path_name_ok(e->d_name, len, at_root) &&
            dir_len + len + (kind == 2) <= PROTO_KEY_MAX_BYTES) {
            *ret_is_dir = kind == 2;
            return e;
        }
        job->fs->hidden++;
    }
    *ret_error = -errno;
    return NULL;
}

static int open_dir(struct file_job *job, const char *dir, DIR **ret_dir)
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

/* Is this name (a directory's with its '/') to be shown on or after this page, or something
 * below it? */
static bool beyond(const struct walk *w, const char *full)
{
    return strcmp(full, w->after) > 0 ||
           (w->recursive && full[strlen(full) - 1] == '/' && str_starts(w->after, full));
}

static int read_names(struct walk *w, const char *dir, const char *name_prefix,
                      struct names *ret_names)
{
    _cleanup_(closedirp) DIR *d = NULL;
    char full[PROTO_KEY_MAX_BYTES + 1];
    const struct dirent *e;
    bool is_dir;
    int error = 0, r = open_dir(w->job, dir, &d);

    while (r == 0 && (e = next_entry(w->job, d, !dir[0], strlen(dir), &is_dir, &error))) {
        (void)snprintf(full, sizeof(full), "%s%s%s", dir, e->d_name, is_dir ? "/" : "");
        if (str_starts(e->d_name, name_prefix) && beyond(w, full))
            r = names_add(ret_names, full + strlen(dir));
        if (r == 0)
            r = file_job_check(w->job);
    }
    if (r == 0)
        r = error;
    if (r == 0 && ret_names->n > 1)
        qsort(ret_names->at, ret_names->n, sizeof(ret_names->at[0]), by_bytes);
    return r;
}

/* st NULL: a common prefix. */
static int emit(struct walk *w, const char *key, const struct stat *st)
{
    struct store_req *req = w->job->req;
    struct store_entry *e = &req->entries[req->nentries];
    struct store_meta meta = {0};
    int r;

    if (req->nentries == w->max) {
        w->more = true;
        return 0;
    }
    e->key = strdup(key);
    if (!e->key)
        return -ENOMEM;
    req->nentries++;
    e->key_len = strlen(key);
    e->is_prefix = !st;
    if (!st)
        return 0;
    r = file_io_meta(st, &meta);
    e->etag = meta.etag;
    e->size = meta.size;
    e->mtime_ns = meta.mtime_ns;
    return r;
}

/* Is any key below this directory? The first one found ends the search. */
static int has_keys(struct file_job *job, const char *dir)
{
    _cleanup_(closedirp) DIR *d = NULL;
    const struct dirent *e;
    bool is_dir;
    int error = 0, r = open_dir(job, dir, &d);

    if (r < 0)
        return file_path_absent(r) ? 0 : r;
    if (!file_attr_is_implicit(job->fs, dirfd(d), dir))
        return 1;
    while (r == 0 && (e = next_entry(job, d, false, strlen(dir), &is_dir, &error))) {
        _cleanup_(freep) char *below = NULL;

        if (!is_dir)
            return 1;
        below = str_dup_printf("%s%s/", dir, e->d_name);
        r = below ? has_keys(job, below) : -ENOMEM;
    }
    return r != 0 ? r : error;
}

static int emit_prefix(struct walk *w, const char *full)
{
    int r = has_keys(w->job, full);

    /* One that we may not read exists for all we know. */
    return r == 0 ? 0 : r > 0 || r == -EACCES ? emit(w, full, NULL) : r;
}

static int emit_marker(struct walk *w, const char *full)
{
    _cleanup_(closep) int fd = file_path_open(w->job->fs, full, O_RDONLY | O_DIRECTORY);
    struct stat st;

    if (fd < 0)
        return file_path_absent(fd) ? 0 : fd;
    if (strcmp(full, w->after) <= 0 || file_attr_is_implicit(w->job->fs, fd, full))
        return 0;
    return fstat(fd, &st) < 0 ? -errno : emit(w, full, &st);
}

static int emit_file(struct walk *w, int dir, const char *name, const char *full)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    return S_ISREG(st.st_mode) ? emit(w, full, &st) : 0;
}

static int walk_dir(struct walk *w, const char *dir, const char *name_prefix)
{
    _cleanup_(names_fini) struct names names = {0};
    _cleanup_(closep) int fd = -1;
    int r = read_names(w, dir, name_prefix, &names);

    if (file_path_absent(r))
        return 0; /* never was, or went away meanwhile */
    for (size_t i = 0; i < names.n && r == 0 && !w->more; i++) {
        const char *name = names.at[i];
        _cleanup_(freep) char *full = str_dup_printf("%s%s", dir, name);

        if (!full)
            return -ENOMEM;
        if (full[strlen(full) - 1] != '/') {
            if (fd < 0 && (fd = file_path_open(w->job->fs, dir, O_RDONLY | O_DIRECTORY)) < 0)
                return file_path_absent(fd) ? 0 : fd;
            r = emit_file(w, fd, name, full);
            continue;
        }
        if (!w->recursive) {
            r = emit_prefix(w, full);
            continue;
        }
        closep(&fd); /* not one descriptor for every level */
        fd = -1;
        r = emit_marker(w, full);
        if (r == 0 && !w->more)
            r = walk_dir(w, full, "");
    }
    return r;
}

/* Splits the prefix at its last '/': a directory, and how names in it begin. */
static int walk_prefix(struct walk *w, const char *prefix)
{
    const char *slash = strrchr(prefix, '/');
    struct file_path path;
    char dir[PROTO_KEY_MAX_BYTES + 1] = "";
    int r = 0;

    if (strlen(prefix) > PROTO_KEY_MAX_BYTES)
        return 0; /* no key is so long */
    if (slash) {
        memcpy(dir, prefix, (size_t)(slash - prefix) + 1);
        dir[slash - prefix + 1] = '\0';
        if (file_path_split(dir, &path) < 0)
            return 0; /* no key can begin so */
        if (!slash[1])
            r = emit_marker(w, dir);
    }
    return r == 0 && !w->more ? walk_dir(w, dir, slash ? slash + 1 : prefix) : r;
}

int file_list_page(struct file_job *job)
{
    struct store_req *req = job->req;
    struct walk w = {.job = job, .after = "", .recursive = req->list.recursive};
    int r;

    w.max = req->list.max_keys ? MIN(req->list.max_keys, PAGE_KEYS) : PAGE_KEYS;
    if (req->list.token)
        w.after = req->list.token;
    else if (req->list.start_after)
        w.after = req->list.start_after;
    req->entries = calloc(w.max, sizeof(*req->entries));
    if (!req->entries)
        return -ENOMEM;
    r = walk_prefix(&w, req->key ? req->key : "");
    if (r == 0 && w.more) {
        req->next_token = strdup(req->entries[req->nentries - 1].key);
        r = req->next_token ? 0 : -ENOMEM;
    }
    req->meta.date_ns = clock_real_ns();
    return r;
}
