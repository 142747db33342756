/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Open files of a session. The client chooses the numbers; they mean something in its session only. */
#include "s3proxyd/fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "s3proxyd/fs/commit.h"

static bool handle_eq(const struct table_node *node, const void *key)
{
    return container_of(node, struct handle, node)->fh == *(const uint64_t *)key;
}

int handle_new(struct session *s, uint64_t fh, struct inode *inode, unsigned flags,
               struct handle **ret_handle)
{
    if (handle_find(s, fh) || fh == 0)
        return -EPROTO;
    struct handle *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->fh = fh;
    h->session = s;
    if (table_add(&s->handles, &h->node, table_hash_u64(fh)) < 0) {
        free(h);
        return -ENOMEM;
    }
    h->inode = inode_ref(inode);
    h->writes = (flags & O_ACCMODE) != O_RDONLY;
    h->append = flags & O_APPEND;
    inode->handles++;
    s->user->handles++;
    inode->writers += h->writes;
    *ret_handle = h;
    return 0;
}

struct handle *handle_find(struct session *s, uint64_t fh)
{
    struct table_node *n = table_find(&s->handles, table_hash_u64(fh), handle_eq, &fh);
    struct handle *h = n ? container_of(n, struct handle, node) : NULL;
    return h && !h->released ? h : NULL;
}

void handle_release(struct handle *h)
{
    h->released = true;
    if (h->busy)
        return; /* the last operation comes back here */
    struct inode *inode = h->inode;
    table_del(&h->session->handles, &h->node);
    inode->handles--;
    h->session->user->handles--;
    inode->writers -= h->writes;
    if (h->obj) {
        cache_reader_gone(h->obj);
        cache_obj_unref(h->obj);
    }
    if (h->writes || inode->gone)
        commit_settle(inode);
    if (!inode->handles) /* descriptors and mappings of the cache are for files in use */
        inode_drop_obj(inode);
    inode_unref(inode);
    free(h);
}
