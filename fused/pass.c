/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The kernel counts an open as closed before it sends RELEASE, so ours are never fewer than its.
 * The broker is asked under the lock: its answer takes as long as a system call, and two first
 * opens of one inode must not both decide. */
#include "fused/pass.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fused/broker.h"
#include "fused/pass-kernel.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/base/table.h"

struct file { /* an inode with opens */
    struct table_node node;
    uint64_t ino;
    unsigned opens;
    uint32_t id; /* 0: we read for the kernel */
    char *etag;  /* of the version passed */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table files;
static int broker = -1;
static bool prepared;
static atomic_bool on;        /* opens are counted */
static atomic_bool hopeless;  /* and none of them is passed any more */

void pass_prepare(struct fuse_session *session, int broker_fd)
{
    broker = broker_fd;
    prepared = pass_kernel_prepare(session, broker >= 0) == 0 && broker >= 0;
}

void pass_start(void)
{
    on = prepared && pass_kernel_agreed();
    if (prepared)
        log_debug("pass", on ? "files may be passed to the kernel" : "the kernel passes no files");
    if (!on)
        closep(&broker); /* and so it ends */
}

bool pass_possible(void)
{
    return on && !hopeless;
}

static bool same_ino(const struct table_node *node, const void *key)
{
    return container_of(node, struct file, node)->ino == *(const uint64_t *)key;
}

static struct file *find(uint64_t ino)
{
    struct table_node *node = table_find(&files, table_hash_u64(ino), same_ino, &ino);
    return node ? container_of(node, struct file, node) : NULL;
}

static struct file *add(uint64_t ino)
{
    struct file *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->ino = ino;
    if (table_add(&files, &f->node, table_hash_u64(ino)) < 0) {
        free(f);
        return NULL;
    }
    return f;
}

/* Errors that the next file would meet as well. */
static bool is_final(int error)
{
    return error == -EPERM || error == -EINVAL || error == -ELOOP || error == -ENOSYS ||
           error == -ENOTTY || error == -EPIPE || error == -EPROTO || error == -ETIMEDOUT;
}

/* Any failure means that we read for the kernel. */
static void register_file(struct file *f, struct handle *h)
{
    _cleanup_(freep) char *etag = handle_etag(h);
    struct view *view = handle_view(h);
    int r = -ENOMEM;

    if (view && view_fd(view) >= 0 && etag)
        r = broker_open(broker, view_fd(view), view_size(view), &f->id);
    view_unref(view);
    if (r == 0) {
        f->etag = take(etag);
        return;
    }
    f->id = 0;
    log_debug("pass", "inode %llu is not passed: %s", (unsigned long long)h->ino, strerror(-r));
    if (!is_final(r) || atomic_exchange(&hopeless, true))
        return;
    log_warn("pass", "no file is passed to the kernel: %s%s", strerror(-r),
             r == -EINVAL  ? " (cache of another mount namespace?)"
             : r == -ELOOP ? " (cache on a stacked file system)"
             : r == -EPERM ? " (files of another owner, or not of the first user namespace)"
                           : "");
}

int pass_opened(struct handle *h, bool whole)
{
    int r = 0;

    if (!on)
        return 0;
    pthread_mutex_lock(&lock);
    struct file *f = find(h->ino);
    if (!f) {
        f = add(h->ino);
        r = f ? 0 : -ENOMEM;
        if (f && whole && !hopeless)
            register_file(f, h);
    }
    if (f) {
        f->opens++;
        h->counted = true;
        h->pass_id = f->id;
        _cleanup_(freep) char *etag = f->id ? handle_etag(h) : NULL;
        h->pass_mapped = f->id && (!etag || strcmp(etag, f->etag) != 0);
    }
    pthread_mutex_unlock(&lock);
    return r;
}

int pass_reply(fuse_req_t fuse, const struct handle *h, const struct fuse_file_info *fi)
{
    if (h->pass_id == 0)
        return fuse_reply_open(fuse, fi);
    return pass_kernel_reply(fuse, fi, h->pass_id, h->pass_mapped);
}

void pass_closed(struct handle *h)
{
    if (!atomic_exchange(&h->counted, false))
        return;
    pthread_mutex_lock(&lock);
    struct file *f = find(h->ino);
    if (f && --f->opens == 0) {
        int r = f->id ? broker_close(broker, f->id) : 0;
        if (r < 0)
            log_debug("pass", "a passed file is not given back: %s", strerror(-r));
        table_del(&files, &f->node);
        free(f->etag);
        free(f);
    }
    pthread_mutex_unlock(&lock);
}
