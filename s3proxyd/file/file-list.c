/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* LIST, in the order of S3: byte-wise over whole keys. A directory sorts as its name and '/', so
 * that walking directories one by one in sorted order gives the order of all keys. A page's
 * token is its last key. Shown are regular files, markers, and directories with something below;
 * not shown, only counted, are links, specials and names that no key can carry. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-names.h"
#include "s3proxyd/file/file-path.h"

#define PAGE_KEYS 1000u
#define READ_NAMES_MIN 64u     /* some names turn out to show nothing */
#define KEEP_PAGE_KEYS 100u    /* smaller pages are questions, not listings */
#define KEEP_NAMES_MAX 200000u /* names kept for the next page: some 10 MB */

struct walk {
    struct file_job *job;
    const char *after; /* only greater keys; "" at first */
    bool recursive;
    size_t max;
    bool more; /* there was one too many: the page is full */
};

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
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
    int error = 0, r = file_names_open(job, dir, &d);

    if (r < 0)
        return file_path_absent(r) ? 0 : r;
    if (!file_attr_is_implicit(job->fs, dirfd(d), dir))
        return 1;
    while (r == 0 && (e = file_names_next(job, d, dir, &is_dir, &error))) {
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

static int walk_dir(struct walk *w, const char *dir, const char *name_prefix);

/* `*fd` is the directory, opened when the first file needs it: it is closed before a walk goes
 * down, so that there is not one open for every level. */
static int walk_name(struct walk *w, const char *dir, const char *name, const char *full, int *fd)
{
    int r;

    if (name[strlen(name) - 1] != '/') {
        if (*fd < 0)
            *fd = file_path_open(w->job->fs, dir, O_RDONLY | O_DIRECTORY);
        return *fd < 0 ? *fd : emit_file(w, *fd, name, full);
    }
    if (!w->recursive)
        return emit_prefix(w, full);
    closep(fd);
    *fd = -1;
    r = emit_marker(w, full);
    return r == 0 && !w->more ? walk_dir(w, full, "") : r;
}

/* Walks over names in order. *ret_stopped: the first that did not fit. */
static int walk_names(struct walk *w, const char *dir, const struct file_names *names,
                      size_t *ret_stopped)
{
    _cleanup_(closep) int fd = -1;
    int r = 0;

    for (size_t i = 0; i < names->n && r == 0 && !w->more; i++) {
        _cleanup_(freep) char *full = str_dup_printf("%s%s", dir, names->at[i]);

        r = full ? walk_name(w, dir, names->at[i], full, &fd) : -ENOMEM;
        *ret_stopped = i;
    }
    return r;
}

static int walk_dir(struct walk *w, const char *dir, const char *name_prefix)
{
    struct store_req *req = w->job->req;
    bool keep = !w->recursive && w->max >= KEEP_PAGE_KEYS;
    struct file_names_want want = {dir, name_prefix, w->after, w->recursive, 0};
    _cleanup_(freep) char *last = NULL; /* where the names read so far end */
    bool cut = true;
    int r = 0;

    while (cut && r == 0 && !w->more) {
        _cleanup_(file_names_fini) struct file_names names = FILE_NAMES_NULL;
        size_t stopped = 0;

        want.max = keep ? KEEP_NAMES_MAX : MAX(w->max - req->nentries + 1, (size_t)READ_NAMES_MIN);
        if (last || !keep || !file_names_resume(w->job, &want, &names))
            r = file_names_read(w->job, &want, &names);
        if (file_path_absent(r))
            return 0; /* never was, or went away meanwhile */
        if (r == 0)
            r = walk_names(w, dir, &names, &stopped);
        cut = names.cut;
        if (r == 0 && w->more && keep)
            file_names_keep(w->job->fs, &want, &names, stopped,
                            req->entries[req->nentries - 1].key);
        else if (r == 0 && cut) {
            free(last);
            last = str_dup_printf("%s%s", dir, names.at[names.n - 1]);
            r = last ? 0 : -ENOMEM;
            want.after = last;
            want.descend = false; /* done with that one as a whole */
        }
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
