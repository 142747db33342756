/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A stream is one handle's reads one after the other, give or take what several workers and the
 * kernel's read-ahead mix up. Dropping is harmless whenever it happens, so the memory of what was
 * dropped may be small and rough: one span per inode, in a table that forgets. */
#include "fused/behind.h"

#include <pthread.h>
#include <stdbool.h>

#include "fused/notify.h"
#include "proto/base/must.h"
#include "proto/base/table.h"

/* The kernel is up to two windows of read-ahead before the reader, and its requests come a little out
 * of order: within the lag nothing is dropped, and nothing counts as wanted again. */
#define LAG_BYTES (8ull << 20)
#define STEP_BYTES (8ull << 20) /* dropped at a time */
#define INODES 1024u

struct inode {
    uint64_t ino;
    uint64_t from, to; /* dropped, or between what was */
    bool keep;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct inode inodes[INODES]; /* each where its number says; the last one there is remembered */

/* Continues the stream, or begins one. */
static void follow(struct handle *h, uint64_t offset, uint64_t end)
{
    bool near = offset + LAG_BYTES >= h->stream_to && offset <= h->stream_to + LAG_BYTES;

    if (!near || h->stream_to == 0) {
        h->stream_from = offset;
        h->stream_to = end;
    } else if (end > h->stream_to) {
        h->stream_to = end;
    }
}

/* true: [*ret_from, *ret_to) is behind the stream. */
static bool step(struct inode *i, struct handle *h, uint64_t *ret_from, uint64_t *ret_to)
{
    if (h->stream_to - h->stream_from < LAG_BYTES + STEP_BYTES)
        return false;
    *ret_from = h->stream_from;
    *ret_to = h->stream_from + STEP_BYTES;
    h->stream_from = *ret_to;
    if (i->ino != h->ino)
        *i = (struct inode){.ino = h->ino, .from = *ret_from};
    i->from = MIN(i->from, *ret_from);
    i->to = MAX(i->to, *ret_to);
    return true;
}

void behind_read(struct handle *h, uint64_t offset, uint64_t end)
{
    struct inode *i = &inodes[table_hash_u64(h->ino) % INODES];
    uint64_t from, to;

    pthread_mutex_lock(&lock);
    bool known = i->ino == h->ino;
    if (known && offset < i->to && end > i->from)
        i->keep = true;
    bool drop = false;
    if (!known || !i->keep) {
        follow(h, offset, end);
        drop = step(i, h, &from, &to);
    }
    pthread_mutex_unlock(&lock);
    if (drop)
        notify_drop_pages(h->ino, from, to);
}
