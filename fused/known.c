/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A renamed inode stays here under its old name until it is looked up again: after "forget
 * everything" its new name holds for the rest of its time to live, as it would without any push. */
#include "fused/known.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/base/table.h"
#include "proto/limits.h"

#define FORGETS_MAX 65536u /* collected while there is no backend; a new backend needs no more */

struct node {
    struct table_node node;
    uint64_t ino, parent, count;
    uint8_t len, room;
    char name[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table inodes;
static struct known_pair *forgets;
static size_t nforgets, forgets_room;

static bool same_ino(const struct table_node *node, const void *key)
{
    return container_of(node, struct node, node)->ino == *(const uint64_t *)key;
}

static struct node *find(uint64_t ino)
{
    struct table_node *n = table_find(&inodes, table_hash_u64(ino), same_ino, &ino);
    return n ? container_of(n, struct node, node) : NULL;
}

static void remove_node(struct node *n)
{
    table_del(&inodes, &n->node);
    free(n);
}

void known_add(uint64_t ino, uint64_t parent, const char *name, size_t len)
{
    uint64_t count = 1;

    must(len <= PROTO_NAME_MAX_BYTES);
    pthread_mutex_lock(&lock);
    struct node *n = find(ino);
    if (n && n->room < len) { /* a longer name than there is room for: a new node */
        count += n->count;
        remove_node(n);
        n = NULL;
    } else if (n) {
        count += n->count;
    }
    if (!n) {
        size_t room = MIN((len + 15) & ~(size_t)15, (size_t)PROTO_NAME_MAX_BYTES);
        n = malloc(sizeof(*n) + room);
        if (n)
            *n = (struct node){.ino = ino, .room = (uint8_t)room};
        if (n && table_add(&inodes, &n->node, table_hash_u64(ino)) < 0) {
            free(n);
            n = NULL;
        }
    }
    if (n) {
        n->parent = parent;
        n->count = count;
        n->len = (uint8_t)len;
        memcpy(n->name, name, len);
    }
    pthread_mutex_unlock(&lock);
}

static bool add_forget(uint64_t ino, uint64_t count)
{
    if (nforgets == forgets_room) {
        size_t room = forgets_room ? forgets_room * 2 : KNOWN_BATCH;
        struct known_pair *more =
            room > FORGETS_MAX ? NULL : realloc(forgets, room * sizeof(*forgets));
        if (!more)
            return true; /* dropped: the backend keeps a row until this mount ends */
        forgets = more;
        forgets_room = room;
    }
    forgets[nforgets++] = (struct known_pair){htole64(ino), htole64(count)};
    return nforgets >= KNOWN_BATCH;
}

bool known_forget(uint64_t ino, uint64_t count)
{
    pthread_mutex_lock(&lock);
    struct node *n = find(ino);
    if (n && n->count > count)
        n->count -= count;
    else if (n)
        remove_node(n);
    bool full = add_forget(ino, count);
    pthread_mutex_unlock(&lock);
    return full;
}

size_t known_take(struct known_pair ret_pairs[KNOWN_BATCH])
{
    pthread_mutex_lock(&lock);
    size_t n = MIN(nforgets, (size_t)KNOWN_BATCH);
    if (n > 0)
        memcpy(ret_pairs, forgets + nforgets - n, n * sizeof(*forgets));
    nforgets -= n;
    pthread_mutex_unlock(&lock);
    return n;
}

size_t known_waiting(void)
{
    pthread_mutex_lock(&lock);
    size_t n = nforgets;
    pthread_mutex_unlock(&lock);
    return n;
}

/* One bucket at a time, copied out, so that fn runs without the lock. When the table grows
 * meanwhile, what was in an unvisited bucket is in an unvisited bucket again (doubling keeps the
 * low bits of the place). */
void known_walk(known_fn *fn, void *arg)
{
    struct node *copies[16];

    for (size_t bucket = 0;; bucket++) {
        size_t n = 0;
        pthread_mutex_lock(&lock);
        bool end = bucket >= inodes.nbuckets;
        for (struct table_node *at = end ? NULL : inodes.buckets[bucket]; at && n < 16;
             at = at->next) {
            const struct node *node = container_of(at, struct node, node);
            copies[n] = malloc(sizeof(*node) + node->len);
            if (copies[n])
                memcpy(copies[n++], node, sizeof(*node) + node->len);
        }
        pthread_mutex_unlock(&lock);
        if (end)
            return;
        for (size_t i = 0; i < n; i++) {
            fn(arg, copies[i]->ino, copies[i]->parent, copies[i]->name, copies[i]->len);
            free(copies[i]);
        }
    }
}
