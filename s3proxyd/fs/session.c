/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Sessions: one per mount. What a mount holds (inodes the kernel looked up, open handles, its write ring)
 * hangs on its session and is released when the connection ends. */
#include "s3proxyd/fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "s3proxyd/fs/files-ahead.h"
#include "s3proxyd/fs/warm-job.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3; older kernels refuse it */
#endif

static bool held_eq(const struct table_node *node, const void *key)
{
    return container_of(node, struct held, node)->inode->ino == *(const uint64_t *)key;
}

static struct held *held_find(const struct session *s, uint64_t ino)
{
    struct table_node *n = table_find(&s->held, table_hash_u64(ino), held_eq, &ino);
    return n ? container_of(n, struct held, node) : NULL;
}

int session_new(struct fs *fs, struct tree *tree, struct inode *root, struct chan *rpc,
                struct session **ret_session)
{
    struct session *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    if (getrandom(s->token, sizeof(s->token), 0) != sizeof(s->token)) {
        free(s);
        return -EIO;
    }
    s->peer_uid = chan_peer(rpc)->uid;
    s->user = user_get(fs, s->peer_uid);
    if (!s->user) {
        free(s);
        return -ENOMEM;
    }
    s->user->mounts++;
    s->fs = fs;
    s->tree = tree;
    s->root = inode_ref(root);
    s->rpc = rpc;
    s->ring_fd = -1;
    list_init(&s->ops);
    list_add_tail(&fs->sessions, &s->link);
    tree->sessions++;
    *ret_session = s;
    return 0;
}

static void session_free(struct session *s)
{
    if (s->ring)
        munmap(s->ring, PROTO_RING_BYTES);
    if (s->ring_fd >= 0)
        close(s->ring_fd);
    table_fini(&s->held);
    table_fini(&s->handles);
    inode_unref(s->root);
    tree_release(s->tree);
    free(s->source);
    free(s->mountpoint);
    free(s->volume);
    free(s);
}

void session_hang_up(struct session *s)
{
    struct table_node *n, *next;
    s->dead = true;
    s->user->mounts--;
    s->rpc = s->push = NULL;
    if (s->push_ref)
        *s->push_ref = NULL;
    s->push_ref = NULL;
    list_del(&s->link);
    files_ahead_free(take(s->files_ahead));
    warm_jobs_session_gone(s);
    for (n = table_next(&s->handles, NULL); n; n = next) {
        next = table_next(&s->handles, n);
        handle_release(container_of(n, struct handle, node));
    }
    for (n = table_next(&s->held, NULL); n; n = next) {
        next = table_next(&s->held, n);
        struct held *h = container_of(n, struct held, node);
        session_forget(s, h->inode->ino, h->lookups);
    }
    if (list_empty(&s->ops))
        session_free(s);
}

void session_op_ended(struct session *s)
{
    if (s->dead && list_empty(&s->ops))
        session_free(s);
}

int session_hold(struct session *s, struct inode *inode)
{
    if (inode == s->root || s->dead)
        return 0;
    struct held *h = held_find(s, inode->ino);
    if (h) {
        h->lookups++;
        return 0;
    }
    h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->lookups = 1;
    if (table_add(&s->held, &h->node, table_hash_u64(inode->ino)) < 0) {
        free(h);
        return -ENOMEM;
    }
    h->inode = inode_ref(inode);
    inode->sessions++;
    if (!inode->row_saved)
        inode_save_row(inode);
    return 0;
}

void session_forget(struct session *s, uint64_t ino, uint64_t count)
{
    struct held *h = held_find(s, ino);
    if (!h)
        return; /* looked up before a restart: the row stays until it is swept */
    if (count < h->lookups) {
        h->lookups -= count;
        return;
    }
    struct inode *inode = h->inode;
    table_del(&s->held, &h->node);
    free(h);
    bool forgettable = inode->row_saved && !inode->set && inode->parent && !inode->created;
    if (--inode->sessions == 0 && !s->fs->closing && forgettable) {
        db_del_inode(s->fs->db, inode->ino);
        inode->row_saved = false;
    }
    inode_unref(inode);
}

bool session_holds(const struct session *s, const struct inode *inode)
{
    /* After a restart of ours we cannot know what the kernel still holds. */
    return inode == s->root || held_find(s, inode->ino) ||
           (s->resumed && inode_below(inode, s->root));
}

bool session_pages_good(struct session *s, const struct inode *inode)
{
    struct held *h = held_find(s, inode->ino);
    /* Before the first open there are no pages, unless they are of the time before our restart. */
    bool good = h && (h->data_seen ? h->data_seen >= inode->data_changed : !s->resumed);
    if (h)
        h->data_seen = s->fs->change;
    return good;
}

struct session *session_find_instance(struct fs *fs, const uint8_t *instance)
{
    struct session *s;
    list_for_each(s, &fs->sessions, link)
        if (memcmp(s->instance, instance, sizeof(s->instance)) == 0)
            return s;
    return NULL;
}

struct session *session_find_token(struct fs *fs, const uint8_t *token)
{
    struct session *s;
    list_for_each(s, &fs->sessions, link) {
        unsigned diff = 0;
        for (size_t i = 0; i < sizeof(s->token); i++)
            diff |= s->token[i] ^ token[i];
        if (!diff)
            return s;
    }
    return NULL;
}

int session_ring_new(struct session *s)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    _cleanup_(closep) int fd = memfd_create("hafiz-ring", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("hafiz-ring", flags);
    if (fd < 0 || ftruncate(fd, PROTO_RING_BYTES) < 0)
        return -errno;
    void *map = mmap(NULL, PROTO_RING_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        munmap(map, PROTO_RING_BYTES);
        return -errno;
    }
    s->ring = map;
    s->ring_fd = take_fd(&fd);
    return 0;
}
