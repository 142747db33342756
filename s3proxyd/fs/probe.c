/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One name asked of the store. */
#include "s3proxyd/fs/probe.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/fs/dir.h"

#define PAGES_MAX 64u /* empty ones in a row */

static bool absent(int error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -EISDIR || error == -ENAMETOOLONG;
}

/* Was a directory above renamed since, or is it just now? */
static bool key_changed(const struct probe *p)
{
    _cleanup_(freep) char *key = NULL;
    struct inode *moving;
    return inode_busy_moving(p->parent, &moving) ||
           inode_child_key(p->parent, p->name, false, &key) < 0 || strcmp(key, p->file_key) != 0;
}

static int probe_conclude(struct probe *p)
{
    bool is_dir = p->list.error == 0 && p->list.nentries > 0;
    if (!is_dir && p->list.error < 0 && !absent(p->list.error))
        return p->list.error;
    if (!is_dir && p->head.error < 0 && !absent(p->head.error))
        return p->head.error;
    if (p->parent->gone)
        return -ESTALE;
    if (key_changed(p)) { /* the answer is about a name of before: what we did ourselves is newer */
        struct inode *known = inode_child(p->parent, p->name, strlen(p->name));
        p->child = known ? inode_ref(known) : NULL;
        return known ? 0 : -ESTALE;
    }
    if (p->known && !inode_child(p->parent, p->name, strlen(p->name)))
        return 0;
    if (!is_dir && p->head.error < 0) {
        struct inode *known = inode_child(p->parent, p->name, strlen(p->name));
        if (known && known->fetched_ns <= p->asked_ns) /* else a later question found it */
            inode_learn_absent(known, p->asked_change);
        known = inode_child(p->parent, p->name, strlen(p->name));
        p->child = known ? inode_ref(known) : NULL;
        if (!known)
            dir_note_absent(p->parent, p->name, strlen(p->name), p->asked_ns);
        return 0;
    }
    struct inode_news news = {.is_dir = is_dir,
                              .etag = is_dir ? NULL : p->head.meta.etag,
                              .size = is_dir ? 0 : p->head.meta.size,
                              .mtime_ns = is_dir ? 0 : p->head.meta.mtime_ns,
                              .asked_ns = p->asked_ns,
                              .asked_change = p->asked_change};
    const struct store_entry *e = is_dir ? &p->list.entries[0] : NULL;
    bool marker = e && !e->is_prefix && strcmp(e->key, p->dir_key) == 0;
    if (marker)
        news.mtime_ns = e->mtime_ns;
    int r = inode_learn(p->parent, p->name, strlen(p->name), &news, &p->child);
    if (r == 0 && marker && p->child->is_dir)
        p->child->dir->marker = true;
    return r;
}

static void part_done(struct store_req *req);

/* An empty page may say that there is more: only the last one says that nothing is there. */
static bool next_page(struct probe *p)
{
    if (p->list.error < 0 || p->list.nentries || !p->list.next_token || ++p->pages > PAGES_MAX)
        return false;
    free(p->token);
    p->token = take(p->list.next_token);
    store_req_fini(&p->list);
    p->list = (struct store_req){.op = STORE_LIST,
                                 .key = p->dir_key,
                                 .list = {.recursive = true, .max_keys = 1, .token = p->token},
                                 .done = part_done};
    store_submit(p->parent->tree->store, &p->list);
    return true;
}

static void part_done(struct store_req *req)
{
    struct probe *p = req->op == STORE_HEAD ? container_of(req, struct probe, head)
                                            : container_of(req, struct probe, list);
    if (req->op == STORE_LIST && next_page(p))
        return;
    if (--p->running)
        return;
    p->error = probe_conclude(p);
    if (p->error < 0 && p->error != -ESTALE)
        log_debug("probe", "%s: %s / %s", log_esc(p->file_key), log_esc(p->head.error_text),
                  log_esc(p->list.error_text));
    store_req_fini(&p->head);
    store_req_fini(&p->list);
    p->done(p);
}

int probe_start(struct probe *p, struct inode *parent, const char *name, size_t len)
{
    *p = (struct probe){.done = p->done, .known = p->known};
    p->name = strndup(name, len);
    if (!p->name)
        return -ENOMEM;
    int r = inode_child_key(parent, p->name, false, &p->file_key);
    if (r == 0)
        r = inode_child_key(parent, p->name, true, &p->dir_key);
    bool no_dir = p->file_key && r == -ENAMETOOLONG; /* a file may have the longest key of all */
    if (r < 0 && !no_dir)
        return r;
    p->parent = inode_ref(parent);
    p->asked_ns = clock_mono_ns();
    p->asked_change = parent->tree->fs->change;
    parent->dir->probes++;
    p->running = no_dir ? 1 : 2;
    p->head = (struct store_req){.op = STORE_HEAD, .key = p->file_key, .done = part_done};
    p->list = (struct store_req){.op = STORE_LIST,
                                 .key = p->dir_key,
                                 .list = {.recursive = true, .max_keys = 1},
                                 .done = part_done};
    store_submit(parent->tree->store, &p->head);
    if (no_dir)
        p->list.error = -ENOENT;
    else
        store_submit(parent->tree->store, &p->list);
    return -EINPROGRESS;
}

void probe_fini(struct probe *p)
{
    if (p->parent)
        inode_unref(p->parent);
    if (p->child)
        inode_unref(p->child);
    free(p->name);
    free(p->file_key);
    free(p->dir_key);
    free(p->token);
    *p = (struct probe){.done = p->done};
}
