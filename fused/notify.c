/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Threads of their own, because the kernel's invalidations wait: for a LOOKUP or CREATE in the
 * directory, for a READ of the file. While one waits, the reader goes on raising the stamp, which
 * alone keeps replies that are on their way from being cached, and merges pushes that say the same.
 * When too many wait, they become one: forget everything. */
#include "fused/notify.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fused/handle.h"
#include "fused/known.h"
#include "fused/peer.h"
#include "fused/relay.h"
#include "proto/base/list.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/base/table.h"
#include "proto/frame.h"
#include "proto/msg.h"

#define PENDING_MAX 4096u

/* INVALIDATE's `what`, and one of our own: pages that nobody needs twice (behind.c). */
enum { EVERYTHING = 0, INODE = 1, ENTRY = 2, BEHIND = 3 };

struct push {
    struct table_node node;
    struct list link;
    uint64_t what, ino, data;
    uint64_t from, to; /* BEHIND: bytes */
    size_t len;
    char name[PROTO_NAME_MAX_BYTES + 1];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* a new fd, or a push to apply */
static int push_fd = -1; /* read by the reader without the lock; closed by the reader only */
static int next_fd = -1;
static uint64_t generation;  /* counts connections */
static struct table pending; /* by what, ino and name */
static struct list queue = LIST_INIT(queue);
static bool everything;

/* --- what is to be applied --- */

static bool same_push(const struct table_node *node, const void *key)
{
    const struct push *a = container_of(node, struct push, node), *b = key;
    return a->what == b->what && a->ino == b->ino && a->len == b->len &&
           memcmp(a->name, b->name, a->len) == 0;
}

static void drop_all(void)
{
    struct push *p, *next;
    list_for_each_safe (p, next, &queue, link) {
        list_del(&p->link);
        table_del(&pending, &p->node);
        free(p);
    }
}

static void want_everything(void)
{
    drop_all();
    everything = true;
    pthread_cond_broadcast(&changed);
}

/* p is taken. One that says the same and still waits is told the rest instead. 0 | -ENOMEM */
static int enqueue(struct push *p)
{
    uint64_t hash = table_hash_u64(p->ino ^ p->what << 62) ^ table_hash_bytes(p->name, p->len);
    struct table_node *node = table_find(&pending, hash, same_push, p);

    if (node) {
        struct push *old = container_of(node, struct push, node);
        old->data |= p->data;
        old->from = MIN(old->from, p->from);
        old->to = MAX(old->to, p->to);
        free(p);
        return 0;
    }
    if (table_add(&pending, &p->node, hash) < 0) {
        free(p);
        return -ENOMEM;
    }
    list_add_tail(&queue, &p->link);
    pthread_cond_broadcast(&changed);
    return 0;
}

static void enqueue_invalidate(const struct msg_invalidate_req *m)
{
    struct push *p = calloc(1, sizeof(*p));

    if (!p || m->what == EVERYTHING || m->what > ENTRY || pending.count >= PENDING_MAX) {
        free(p);
        want_everything();
        return;
    }
    *p = (struct push){.what = m->what, .ino = m->ino, .data = m->data, .len = m->name.len};
    memcpy(p->name, m->name.s ? m->name.s : "", p->len);
    if (enqueue(p) < 0)
        want_everything();
}

void notify_drop_pages(uint64_t ino, uint64_t from, uint64_t to)
{
    struct push *p = calloc(1, sizeof(*p));

    if (!p)
        return;
    *p = (struct push){.what = BEHIND, .ino = ino, .from = from, .to = to};
    pthread_mutex_lock(&lock);
    if (pending.count < PENDING_MAX)
        (void)enqueue(p); /* without memory they stay */
    else
        free(p);
    pthread_mutex_unlock(&lock);
}

/* offset -1: attributes only, and the kernel does not wait for reads. Unknown inodes are fine. */
static void apply_inode(const struct daemon *d, uint64_t ino, bool data)
{
    fuse_lowlevel_notify_inval_inode(d->session, daemon_ino_out(d, ino), data ? 0 : -1, 0);
}

static void apply_pages(const struct daemon *d, const struct push *p)
{
    fuse_lowlevel_notify_inval_inode(d->session, daemon_ino_out(d, p->ino), (off_t)p->from,
                                     (off_t)(p->to - p->from));
}

static void apply_entry(const struct daemon *d, uint64_t parent, const char *name, size_t len)
{
    fuse_lowlevel_notify_inval_entry(d->session, daemon_ino_out(d, parent), name, len);
}

static void apply_known(void *arg, uint64_t ino, uint64_t parent, const char *name, size_t len)
{
    apply_inode(arg, ino, true);
    apply_entry(arg, parent, name, len);
}

void *notify_apply_thread(void *arg)
{
    struct daemon *d = arg;

    pthread_mutex_lock(&lock);
    for (;;) {
        struct push *p = list_first(&queue, struct push, link);
        bool all = everything;
        if (!p && !all) {
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        everything = false;
        if (p) {
            list_del(&p->link);
            table_del(&pending, &p->node);
        }
        pthread_mutex_unlock(&lock);
        if (all)
            known_walk(apply_known, d);
        if (all)
            apply_inode(d, d->root, true);
        if (p && p->what == INODE)
            apply_inode(d, p->ino, p->data);
        else if (p && p->what == BEHIND)
            apply_pages(d, p);
        else if (p)
            apply_entry(d, p->ino, p->name, p->len);
        free(p);
        pthread_mutex_lock(&lock);
    }
    return NULL;
}

/* --- the connection --- */

void notify_set_fd(struct daemon *d, int fd)
{
    pthread_mutex_lock(&lock);
    if (next_fd >= 0)
        close(next_fd);
    if (push_fd >= 0)
        shutdown(push_fd, SHUT_RDWR); /* the reader comes back and closes it */
    next_fd = fd;
    d->stamp = 0;
    if (generation++ > 0)
        want_everything();
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void notify_cancel(uint32_t call_id)
{
    struct str out = STR_NULL;
    struct msg_cancel_req m = {.call = call_id};
    size_t at = frame_begin(&out);

    if (at != SIZE_MAX && msg_head_pack(&out, MSG_KIND_REQUEST, 0, MSG_CANCEL) == 0 &&
        msg_pack_cancel_req(&out, &m) == 0) {
        frame_end_head(&out, at);
        if (frame_end(&out, at, 0) == 0) {
            pthread_mutex_lock(&lock);
            /* So small a frame goes out whole or not at all; not at all is a CANCEL less. */
            if (push_fd >= 0)
                (void)send(push_fd, out.s, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
            pthread_mutex_unlock(&lock);
        }
    }
    str_fini(&out);
}

static int take_frame(struct daemon *d, const struct frame *f, uint64_t gen)
{
    struct msg_head head;
    struct msg_invalidate_req m;

    if (f->nfds > 0 || msg_head_unpack(f->data, f->head_len, &head) < 0 ||
        head.kind != MSG_KIND_REQUEST)
        return -EPROTO;
    if (head.method == MSG_PREFETCHED)
        (void)relay_send(d->relay_fd, RELAY_PREFETCHED, NULL); /* lost: it is looked at once more */
    if (head.method != MSG_INVALIDATE)
        return 0; /* a push of a later version */
    if (msg_unpack_invalidate_req(head.fields, head.fields_len, &m) < 0)
        return -EPROTO;
    log_debug("push", "what=%llu ino=%llu stamp=%llu", (unsigned long long)m.what,
              (unsigned long long)m.ino, (unsigned long long)m.stamp);
    pthread_mutex_lock(&lock);
    bool ours = gen == generation;
    if (ours && m.stamp > d->stamp)
        d->stamp = m.stamp;
    pthread_mutex_unlock(&lock);
    /* Between the stamp, which keeps bytes that are on their way, and the kernel, which would only
     * read them again. */
    if (ours && (m.what == EVERYTHING || (m.what == INODE && m.data)))
        handle_forget_bytes(m.what == EVERYTHING ? 0 : m.ino);
    pthread_mutex_lock(&lock);
    if (gen == generation)
        enqueue_invalidate(&m);
    pthread_mutex_unlock(&lock);
    return 0;
}

/* Until the connection ends. */
static void read_pushes(struct daemon *d, int fd, uint64_t gen)
{
    struct frame_parser parser = FRAME_PARSER_NULL;
    char buf[16384];
    int r = 0;

    while (r >= 0) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n <= 0)
            break;
        for (size_t at = 0, used = 0; r >= 0 && at < (size_t)n; at += used) {
            struct frame f;
            r = frame_parse(&parser, buf + at, (size_t)n - at, &used, &f);
            if (r != 1)
                continue;
            r = take_frame(d, &f, gen);
            frame_fini(&f);
        }
    }
    frame_parser_fini(&parser);
}

void *notify_reader_thread(void *arg)
{
    struct daemon *d = arg;

    for (;;) {
        pthread_mutex_lock(&lock);
        while (next_fd < 0)
            pthread_cond_wait(&changed, &lock);
        int fd = push_fd = next_fd;
        uint64_t gen = generation;
        next_fd = -1;
        pthread_mutex_unlock(&lock);
        read_pushes(d, fd, gen);
        pthread_mutex_lock(&lock);
        push_fd = -1;
        close(fd);
        bool lost = gen == generation;
        if (lost) /* what comes without pushes is old by definition */
            d->stamp = UINT64_MAX;
        pthread_mutex_unlock(&lock);
        handle_forget_bytes(0);
        if (lost) /* without pushes nothing may be cached: end the other connection as well */
            peer_kick(gen);
    }
    return NULL;
}
