/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A session follows several readers at once, each a `run`: the files it has opened lately and those that were
 * fetched ahead of it, in the order of the listing. An open is found in a run, or a few places behind its
 * end, or begins a new one in the place of the run that was quiet longest.
 *
 * Files are remembered by number and nothing is held for them but the cache's descriptors, which wait for
 * the open a few seconds at most. There is no cancel: what is being fetched arrives in the cache. */
#include "s3proxyd/fs/files-ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "s3proxyd/fs/dir.h"
#include "s3proxyd/fs/series.h"

#define RUNS 16u
#define FILES (SERIES_WINDOW_MAX + 64u)
#define LATE 32u           /* so far behind the furthest one, a file is still known */
#define SCAN_NEAR 64u      /* slots looked at for the file that was opened */
#define SCAN_FAR 1024u     /* and for the next one to fetch */
#define IN_FLIGHT_MAX 64u  /* of all mounts of one user */
#define CACHE_SHARE 8u     /* what is fetched ahead is at most this part of the cache */
#define QUIET_MS 3000u     /* then nothing is held for a run any more */

struct ahead_file {
    uint64_t ino;
    uint32_t bytes; /* fetched for it; 0: it was there, or is nobody's business */
    bool opened;
};

struct run {
    struct series series;
    uint64_t used_ns;
    unsigned n, pos; /* files[pos - 1] is the furthest one opened */
    struct ahead_file files[FILES];
};

struct files_ahead {
    struct session *session;
    struct loop_timer *quiet;
    struct series_ledger ledger;
    struct run *runs[RUNS];
};

struct fetch_ahead {
    struct cache_wait wait;
    struct user *user;
};

/* ---- the order of files */

static bool known_dir(const struct session *s, const struct inode *dir)
{
    return dir->is_dir && !dir->gone && !dir->moving && dir_fresh(dir, s->attr_ttl_ms);
}

/* The next entry of dir from slot `from` on, a directory or a file. *left counts down. */
static struct inode *next_entry(const struct inode *dir, size_t from, bool want_dir, unsigned *left)
{
    const struct dir *d = dir->dir;
    for (size_t i = from; i < d->nslots && *left; i++) {
        struct inode *child = d->slots[i];
        --*left;
        if (child && child->is_dir == want_dir)
            return child;
    }
    return NULL;
}

/* Files first, then what is below, then what comes behind: as programs walk through a tree. */
static const struct inode *next_dir(const struct session *s, const struct inode *dir,
                                    unsigned *left)
{
    const struct inode *next = next_entry(dir, 0, true, left);
    while (!next && *left) {
        const struct inode *up = dir->parent;
        if (dir == s->root || !up || !dir->listed || !known_dir(s, up))
            return NULL;
        next = next_entry(up, dir->slot + 1, true, left);
        dir = up;
    }
    return next && known_dir(s, next) ? next : NULL;
}

static struct inode *next_file(const struct session *s, const struct inode *file, unsigned *left)
{
    const struct inode *dir = file->parent;
    if (file->gone || !file->listed || !dir || !known_dir(s, dir))
        return NULL;
    struct inode *next = next_entry(dir, file->slot + 1, false, left);
    while (!next && *left && (dir = next_dir(s, dir, left)))
        next = next_entry(dir, 0, false, left);
    return next;
}

/* ---- runs */

static void let_go(struct files_ahead *a, const struct ahead_file *file)
{
    struct inode *inode = file->opened ? NULL : inode_find(a->session->fs, file->ino);
    if (inode && !inode->handles && !inode->spool)
        inode_drop_obj(inode);
}

/* Forgets the first n files. */
static void drop_files(struct files_ahead *a, struct run *run, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        let_go(a, &run->files[i]);
        if (!run->files[i].opened)
            series_done(&a->ledger, run->files[i].bytes, false);
    }
    run->n -= n;
    run->pos -= n;
    memmove(run->files, run->files + n, run->n * sizeof(run->files[0]));
}

static void end_run(struct files_ahead *a, struct run *run)
{
    run->pos = run->n;
    drop_files(a, run, run->n);
    run->series = (struct series){0};
}

/* Room for one more. */
static bool make_room(struct files_ahead *a, struct run *run)
{
    if (run->n == FILES && run->pos > LATE)
        drop_files(a, run, run->pos - LATE);
    return run->n < FILES;
}

static void append(struct run *run, uint64_t ino, uint64_t bytes, bool opened)
{
    run->files[run->n++] = (struct ahead_file){ino, (uint32_t)bytes, opened};
}

static struct ahead_file *find_in(struct run *run, uint64_t ino)
{
    for (unsigned i = run->n; i-- > 0;)
        if (run->files[i].ino == ino)
            return &run->files[i];
    return NULL;
}

static struct ahead_file *find(struct files_ahead *a, uint64_t ino, struct run **ret_run)
{
    for (unsigned i = 0; i < RUNS && a->runs[i]; i++) {
        struct ahead_file *file = find_in(a->runs[i], ino);
        *ret_run = a->runs[i];
        if (file)
            return file;
    }
    return NULL;
}

/* The file is one of the run's: the reader has come there. */
static void come_to(struct files_ahead *a, struct run *run, struct ahead_file *file)
{
    unsigned at = (unsigned)(file - run->files);
    if (at >= run->pos) {
        series_next(&run->series, at - run->pos + 1);
        run->pos = at + 1;
    }
    if (!file->opened)
        series_done(&a->ledger, file->bytes, true);
    file->opened = true;
}

/* A few places behind what the run knows? Then those between are its files, too. */
static bool continues(struct files_ahead *a, struct run *run, const struct inode *inode)
{
    const struct inode *passed[SERIES_GAP];
    const struct inode *at = inode_find(a->session->fs, run->files[run->n - 1].ino);
    unsigned left = SCAN_NEAR, n = 0;
    while (n < SERIES_GAP && at != inode) {
        at = at ? next_file(a->session, at, &left) : NULL;
        if (!at)
            return false;
        passed[n++] = at;
    }
    if (at != inode)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (make_room(a, run))
            append(run, passed[i]->ino, 0, false);
    struct ahead_file *file = find_in(run, inode->ino);
    if (file)
        come_to(a, run, file);
    return file;
}

/* Overtaken by another thread, before anything was known: belongs to no new run. */
static bool is_late(const struct files_ahead *a, const struct run *run, const struct inode *inode)
{
    const struct inode *first = inode_find(a->session->fs, run->files[run->pos - 1].ino);
    return first && first->parent == inode->parent && first->listed && inode->listed &&
           inode->slot < first->slot && first->slot - inode->slot <= SERIES_GAP_KNOWN;
}

static struct run *new_run(struct files_ahead *a)
{
    struct run *oldest = a->runs[0];
    for (unsigned i = 0; i < RUNS; i++) {
        if (!a->runs[i])
            return a->runs[i] = calloc(1, sizeof(*a->runs[i]));
        if (a->runs[i]->used_ns < oldest->used_ns)
            oldest = a->runs[i];
    }
    end_run(a, oldest);
    return oldest;
}

/* The run that this open belongs to, a new one at need; NULL: none. */
static struct run *run_of(struct files_ahead *a, const struct inode *inode)
{
    struct run *run;
    struct ahead_file *file = find(a, inode->ino, &run);
    if (file) {
        come_to(a, run, file);
        return run;
    }
    for (unsigned i = 0; i < RUNS && a->runs[i]; i++)
        if (continues(a, a->runs[i], inode))
            return a->runs[i];
    for (unsigned i = 0; i < RUNS && a->runs[i]; i++)
        if (is_late(a, a->runs[i], inode))
            return NULL;
    run = new_run(a);
    if (run) {
        append(run, inode->ino, 0, true);
        run->pos = run->n;
    }
    return run;
}

/* ---- fetching */

static void fetched(struct cache_wait *wait, int error)
{
    struct fetch_ahead *f = container_of(wait, struct fetch_ahead, wait);
    (void)error; /* who opens the file asks again, and hears of it */
    f->user->files_ahead--;
    free(f);
}

/* Returns what it costs. */
static uint64_t fetch(struct user *user, struct inode *inode, uint64_t bytes)
{
    struct cache_obj *obj;
    struct inode *moving;
    if (bytes == 0 || inode->spool || inode->created || inode->commit || inode->writers ||
        !inode->etag || inode_busy_moving(inode, &moving) || inode_obj(inode, &obj) < 0 ||
        cache_obj_present(obj, 0, bytes))
        return 0;
    struct fetch_ahead *f = calloc(1, sizeof(*f));
    if (!f)
        return 0;
    f->user = user;
    f->wait.done = fetched;
    list_init(&f->wait.link);
    if (cache_fill_start(obj, 0, bytes, NULL, &f->wait) != -EINPROGRESS) {
        free(f);
        return 0;
    }
    user->files_ahead++;
    return bytes;
}

static uint64_t share_of(const struct cache *cache)
{
    struct cache_stats stats;
    cache_stats(cache, &stats);
    return stats.size_bytes / CACHE_SHARE;
}

static void top_up(struct files_ahead *a, struct run *run)
{
    struct fs *fs = a->session->fs;
    struct user *user = a->session->user;
    struct run *other;
    uint64_t most = run->series.window ? share_of(fs->cache) : 0;
    bool slow_down = a->session->tree->store->pace.hold_ns > clock_mono_ns();
    while (most && !slow_down && user->files_ahead < IN_FLIGHT_MAX && make_room(a, run)) {
        const struct inode *edge = inode_find(fs, run->files[run->n - 1].ino);
        unsigned left = SCAN_FAR;
        struct inode *next = edge ? next_file(a->session, edge, &left) : NULL;
        if (!next || find(a, next->ino, &other)) /* nothing known, or another reader's */
            return;
        uint64_t bytes = series_bytes(next->size);
        if (!series_more(&run->series, &a->ledger, run->n - run->pos, bytes, most))
            return;
        bytes = fetch(user, next, bytes);
        append(run, next->ino, bytes, false);
        series_fetched(&a->ledger, bytes);
    }
}

/* ---- a session's */

/* Descriptors are for files in use, and what was fetched for a reader who stopped must not be in the way of
 * others. The run itself stays: whoever loads a model opens a file in a minute. */
static void rest(struct files_ahead *a, uint64_t now_ns)
{
    for (unsigned i = 0; i < RUNS && a->runs[i]; i++) {
        struct run *run = a->runs[i];
        if (now_ns - run->used_ns < QUIET_MS * NS_PER_MS)
            continue;
        for (unsigned k = 0; k < run->n; k++) {
            struct ahead_file *file = &run->files[k];
            let_go(a, file);
            if (!file->opened)
                series_done(&a->ledger, file->bytes, false);
            file->bytes = 0;
        }
    }
}

static void quiet(void *arg)
{
    rest(arg, UINT64_MAX);
}

static struct files_ahead *files_ahead_new(struct session *s)
{
    struct files_ahead *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->session = s;
    if (loop_timer_new(s->fs->loop, quiet, a, &a->quiet) < 0) {
        free(a);
        return NULL;
    }
    return a;
}

void files_ahead_free(struct files_ahead *a)
{
    if (!a)
        return;
    quiet(a);
    for (unsigned i = 0; i < RUNS; i++)
        free(a->runs[i]);
    loop_timer_free(a->quiet);
    free(a);
}

bool files_ahead_opened(struct session *s, struct inode *inode)
{
    if (s->dead || !inode->listed || !inode->parent || !known_dir(s, inode->parent))
        return false;
    if (!s->files_ahead)
        s->files_ahead = files_ahead_new(s);
    struct files_ahead *a = s->files_ahead;
    if (!a)
        return false;
    uint64_t now = clock_mono_ns();
    rest(a, now);
    series_opened(&a->ledger, inode->size);
    struct run *run = run_of(a, inode);
    if (!run)
        return false;
    run->used_ns = now;
    top_up(a, run);
    loop_timer_set_ms(a->quiet, QUIET_MS);
    return run->series.window > 0;
}
