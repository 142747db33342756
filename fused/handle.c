/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One table per process, since a process is one mount. */
#include "fused/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table handles;
static _Atomic uint64_t last_fh;
static struct list with_bytes = LIST_INIT(with_bytes);
static size_t bytes_held;

int handle_new(uint64_t ino, int flags, pid_t opener, struct handle **ret)
{
    struct handle *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->refs = 1;
    h->fh = ++last_fh;
    h->ino = ino;
    h->flags = flags & ~O_TRUNC;
    h->opener = opener;
    list_init(&h->bytes_link);
    *ret = h;
    return 0;
}

struct handle *handle_ref(struct handle *h)
{
    h->refs++;
    return h;
}

/* Under the lock: its view is not, or no more, counted as bytes. */
static void uncharge(struct handle *h)
{
    bytes_held -= h->bytes;
    h->bytes = 0;
    list_del(&h->bytes_link);
}

void handle_unref(struct handle *h)
{
    if (!h || --h->refs > 0)
        return;
    pthread_mutex_lock(&lock);
    uncharge(h);
    pthread_mutex_unlock(&lock);
    view_unref(h->view);
    free(h->etag);
    free(h);
}

int handle_add(struct handle *h)
{
    pthread_mutex_lock(&lock);
    int r = table_add(&handles, &h->node, table_hash_u64(h->fh));
    if (r == 0)
        handle_ref(h);
    pthread_mutex_unlock(&lock);
    return r;
}

static bool same_fh(const struct table_node *node, const void *key)
{
    return container_of(node, struct handle, node)->fh == *(const uint64_t *)key;
}

struct handle *handle_get(uint64_t fh)
{
    pthread_mutex_lock(&lock);
    struct table_node *node = table_find(&handles, table_hash_u64(fh), same_fh, &fh);
    struct handle *h = node ? handle_ref(container_of(node, struct handle, node)) : NULL;
    pthread_mutex_unlock(&lock);
    return h;
}

void handle_drop(struct handle *h)
{
    pthread_mutex_lock(&lock);
    bool was = !atomic_exchange(&h->released, true);
    if (was)
        table_del(&handles, &h->node);
    pthread_mutex_unlock(&lock);
    if (was)
        handle_unref(h);
}

struct view *handle_view(struct handle *h)
{
    pthread_mutex_lock(&lock);
    struct view *v = view_ref(h->view);
    pthread_mutex_unlock(&lock);
    return v;
}

static int set_version(struct handle *h, struct view *view, size_t bytes, struct msg_str etag)
{
    char *copy = msg_str_dup(etag);

    pthread_mutex_lock(&lock);
    struct view *old_view = h->view;
    char *old_etag = copy ? h->etag : NULL;
    uncharge(h);
    h->view = view;
    if (copy)
        h->etag = copy;
    if (bytes > 0) {
        bytes_held += h->bytes = bytes;
        list_add_tail(&with_bytes, &h->bytes_link);
    }
    pthread_mutex_unlock(&lock);
    view_unref(old_view);
    free(old_etag);
    return copy ? 0 : -ENOMEM;
}

int handle_set_version(struct handle *h, struct view *view, struct msg_str etag)
{
    return set_version(h, view, 0, etag);
}

int handle_set_bytes(struct handle *h, const void *bytes, size_t len, struct msg_str etag)
{
    struct view *view = NULL;
    size_t charge = len + sizeof(*h); /* an empty file is on the list as well */

    pthread_mutex_lock(&lock);
    bool fits = charge <= HANDLE_BYTES_MAX - MIN(bytes_held, (size_t)HANDLE_BYTES_MAX);
    pthread_mutex_unlock(&lock);
    if (fits && view_new_bytes(bytes, len, &view) < 0)
        return -ENOMEM;
    return set_version(h, view, fits ? charge : 0, etag);
}

size_t handle_bytes_room(void)
{
    const size_t most = PROTO_INLINE_MAX_BYTES + sizeof(struct handle);

    pthread_mutex_lock(&lock);
    bool fits = bytes_held + most <= HANDLE_BYTES_MAX;
    pthread_mutex_unlock(&lock);
    return fits ? PROTO_INLINE_MAX_BYTES : 0;
}

void handle_forget_bytes(uint64_t ino)
{
    struct handle *h, *next;

    pthread_mutex_lock(&lock);
    list_for_each_safe (h, next, &with_bytes, bytes_link) {
        if (ino != 0 && h->ino != ino)
            continue;
        uncharge(h);
        view_unref(h->view);
        h->view = NULL;
    }
    pthread_mutex_unlock(&lock);
}

char *handle_etag(struct handle *h)
{
    pthread_mutex_lock(&lock);
    char *copy = strdup(h->etag && h->changes == 0 ? h->etag : "");
    pthread_mutex_unlock(&lock);
    return copy;
}

int handle_all(struct handle ***ret, size_t *ret_count)
{
    size_t n = 0;

    pthread_mutex_lock(&lock);
    struct handle **all = calloc(handles.count + 1, sizeof(*all));
    for (struct table_node *node = table_next(&handles, NULL); all && node;
         node = table_next(&handles, node))
        all[n++] = handle_ref(container_of(node, struct handle, node));
    pthread_mutex_unlock(&lock);
    *ret = all;
    *ret_count = n;
    return all ? 0 : -ENOMEM;
}
