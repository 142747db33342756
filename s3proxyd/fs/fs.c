/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The whole of the data model: start, end, and the two timers that look after it: retrying what could not
 * be saved, and letting go of directories nobody uses. */
#include "s3proxyd/fs/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/fs/commit.h"
#include "s3proxyd/fs/dir.h"
#include "s3proxyd/fs/walk.h"
#include "s3proxyd/fs/warm-job.h"

#define SWEEP_MS 10000u
#define RETRY_MS 1000u
#define DIR_UNUSED_NS (300 * NS_PER_S)

static void retry_tick(void *arg)
{
    struct fs *fs = arg;
    struct inode *i, *next;
    uint64_t now = clock_mono_ns();
    list_for_each_safe(i, next, &fs->dirty, dirty_link) {
        if (i->writers || i->commit || now < i->retry_ns)
            continue;
        inode_ref(i);
        commit_settle(i);
        inode_unref(i);
    }
    push_retry(fs);
    loop_timer_set_ms(fs->retry, RETRY_MS);
}

#define SWEEP_BATCH 64u
#define ROWS_GRACE_NS (600 * NS_PER_S) /* a mount that lives through a restart is back long before */

/* Once: rows an earlier process left for mounts that did not come back. While one that did is here we do
 * not know what its kernel holds, so everything stays. */
static void sweep_rows(struct fs *fs)
{
    struct session *s;
    if (fs->swept || clock_mono_ns() - fs->started_ns < ROWS_GRACE_NS)
        return;
    list_for_each(s, &fs->sessions, link)
        if (s->resumed)
            return;
    fs->swept = true;
    db_sweep(fs->db, fs->first_ino);
    for (struct table_node *t = table_next(&fs->inodes, NULL); t; t = table_next(&fs->inodes, t)) {
        struct inode *i = container_of(t, struct inode, by_ino);
        if (i->row_saved && i->ino < fs->first_ino)
            inode_save_row(i); /* used again since: back it goes */
    }
}

static void sweep_tick(void *arg)
{
    struct fs *fs = arg;
    struct inode *unused[SWEEP_BATCH];
    size_t n = 0;
    uint64_t now = clock_mono_ns();
    for (struct table_node *t = table_next(&fs->inodes, NULL); t && n < SWEEP_BATCH;
         t = table_next(&fs->inodes, t)) {
        struct inode *i = container_of(t, struct inode, by_ino);
        if (i->dir && i->dir->live && now - i->dir->read_ns > DIR_UNUSED_NS &&
            now - i->dir->listed_ns > DIR_UNUSED_NS && now - i->dir->trimmed_ns > DIR_UNUSED_NS)
            unused[n++] = inode_ref(i);
    }
    for (size_t k = 0; k < n; k++) {
        unused[k]->dir->trimmed_ns = now;
        dir_trim(unused[k]);
        inode_unref(unused[k]);
    }
    sweep_rows(fs);
    walk_sweep(fs);
    loop_timer_set_ms(fs->sweep, SWEEP_MS);
}

int fs_new(const struct fs_config *config, struct fs **ret_fs)
{
    struct fs *fs = calloc(1, sizeof(*fs));
    if (!fs)
        return -ENOMEM;
    fs->loop = config->loop;
    fs->home = config->home;
    fs->pool = config->pool;
    fs->net = config->net;
    fs->db = config->db;
    fs->cache = config->cache;
    fs->spools = config->spools;
    fs->conf = config->conf;
    fs->private_backend = config->private_backend;
    fs->own_uid = geteuid();
    fs->started_ns = clock_mono_ns();
    fs->change = 1;
    fs->first_ino = db_next_ino(fs->db);
    list_init(&fs->trees);
    list_init(&fs->sessions);
    list_init(&fs->dirty);
    list_init(&fs->walks);
    list_init(&fs->warm_jobs);
    int r = getrandom(&fs->instance, sizeof(fs->instance), 0) == sizeof(fs->instance) ? 0 : -EIO;
    if (r == 0)
        r = loop_timer_new(fs->loop, retry_tick, fs, &fs->retry);
    if (r == 0)
        r = loop_timer_new(fs->loop, sweep_tick, fs, &fs->sweep);
    if (r < 0) {
        free(fs);
        return r;
    }
    loop_timer_set_ms(fs->retry, RETRY_MS);
    loop_timer_set_ms(fs->sweep, SWEEP_MS);
    *ret_fs = fs;
    return 0;
}

uint64_t fs_dirty_files(const struct fs *fs)
{
    uint64_t n = 0;
    for (const struct list *l = fs->dirty.next; l != &fs->dirty; l = l->next)
        n++;
    return n;
}

bool fs_idle(const struct fs *fs)
{
    return list_empty(&fs->sessions) && list_empty(&fs->dirty);
}

bool fs_quiet(const struct fs *fs)
{
    for (struct table_node *n = table_next(&fs->inodes, NULL); n; n = table_next(&fs->inodes, n)) {
        const struct inode *i = container_of(n, struct inode, by_ino);
        if (i->commit || (i->dir && i->dir->load))
            return false;
    }
    return fs->ops == 0 && fs->listings == 0 && !warm_jobs_run(fs) && cache_idle(fs->cache);
}

/* Everything of the table, leaves first. Rows stay: mounts survive us. */
static void free_inodes(struct fs *fs)
{
    for (bool progress = true; progress;) {
        progress = false;
        for (struct table_node *n = table_next(&fs->inodes, NULL); n;) {
            struct inode *i = container_of(n, struct inode, by_ino);
            n = table_next(&fs->inodes, n);
            if (!i->dir || !i->dir->live)
                continue;
            inode_ref(i);
            for (size_t s = 0; s < i->dir->nslots; s++)
                if (i->dir->slots[s]) {
                    struct inode *c = inode_ref(i->dir->slots[s]);
                    dir_remove(c);
                    inode_unref(c);
                }
            inode_unref(i);
            progress = true;
            break; /* the iterator may be gone */
        }
    }
}

void fs_free(struct fs *fs)
{
    struct session *s;
    fs->closing = true;
    while ((s = list_first(&fs->sessions, struct session, link)))
        session_hang_up(s);
    walk_end_all(fs);
    warm_jobs_free(fs);
    free_inodes(fs);
    struct tree *t, *next;
    list_for_each_safe(t, next, &fs->trees, link) {
        list_del(&t->link);
        inode_unref(t->root);
        store_free(t->store);
        cred_unref(t->cred);
        free(t);
    }
    loop_timer_free(fs->retry);
    loop_timer_free(fs->sweep);
    table_fini(&fs->inodes);
    table_fini(&fs->names);
    users_free(fs);
    free(fs);
}
