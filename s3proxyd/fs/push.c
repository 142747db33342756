/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* INVALIDATE: sent before the reply of the call that caused it, to sessions that may have it cached, never
 * waited for. A session whose push queue runs over is told to forget everything, once. */
#include "s3proxyd/fs/fs.h"

#include <errno.h>

#include "proto/base/log.h"

#define PUSH_QUEUE_MAX_BYTES (256u * 1024)

static void push_send(struct session *s, const struct msg_invalidate_req *m)
{
    if (!s->push || s->dead)
        return;
    struct msg_invalidate_req all = {.what = 0, .stamp = s->fs->change};
    size_t queued = chan_queued_bytes(s->push);
    if (queued > PUSH_QUEUE_MAX_BYTES) { /* what is queued now will be older than this change */
        s->push_all_due = true;
        return;
    }
    if (queued > PUSH_QUEUE_MAX_BYTES / 2)
        m = &all;
    struct str head = STR_NULL;
    if (msg_head_pack(&head, MSG_KIND_REQUEST, 0, MSG_INVALIDATE) < 0 ||
        msg_pack_invalidate_req(&head, m) < 0 || chan_send(s->push, &head, NULL, 0, NULL, 0) < 0)
        log_warn("push", "an invalidation to mount %s was lost", log_esc(s->mountpoint));
    str_fini(&head);
}

void push_attr(struct inode *inode, const struct session *except, bool data)
{
    struct session *s;
    if (data)
        inode->data_changed = inode->tree->fs->change;
    list_for_each(s, &inode->tree->fs->sessions, link) {
        if (s == except || s->tree != inode->tree || !session_holds(s, inode))
            continue;
        push_send(s, &(struct msg_invalidate_req){.what = 1,
                                                  .ino = inode->ino,
                                                  .data = data,
                                                  .stamp = s->fs->change});
    }
}

void push_entry(struct inode *parent, const char *name, const struct session *except)
{
    struct session *s;
    list_for_each(s, &parent->tree->fs->sessions, link) {
        if (s == except || s->tree != parent->tree || !session_holds(s, parent))
            continue;
        push_send(s, &(struct msg_invalidate_req){.what = 2,
                                                  .ino = parent->ino,
                                                  .name = msg_str_of(name),
                                                  .stamp = s->fs->change});
    }
}

void push_retry(struct fs *fs)
{
    struct session *s;
    list_for_each(s, &fs->sessions, link) {
        if (!s->push_all_due || !s->push || chan_queued_bytes(s->push) > PUSH_QUEUE_MAX_BYTES / 2)
            continue;
        s->push_all_due = false;
        push_all(s);
    }
}

void push_prefetched(struct session *s)
{
    struct str head = STR_NULL;
    if (s->push && !s->dead && msg_head_pack(&head, MSG_KIND_REQUEST, 0, MSG_PREFETCHED) == 0 &&
        msg_pack_prefetched_req(&head, &(struct msg_prefetched_req){}) == 0)
        (void)chan_send(s->push, &head, NULL, 0, NULL, 0); /* lost: a restart looks once more */
    str_fini(&head);
}

void push_all(struct session *s)
{
    push_send(s, &(struct msg_invalidate_req){.what = 0, .stamp = s->fs->change});
}
