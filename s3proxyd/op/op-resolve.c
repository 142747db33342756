/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* From the numbers in a message to inodes and handles: checked against the session's own root every time,
 * loaded from inodes.db when they were looked up before a restart, and made to wait while a directory
 * above them is being renamed. */
#include "s3proxyd/op/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"

#define LOAD_DEPTH_MAX 512u /* a key has at most 1024 bytes, so at most 512 components */

/* Rows from an inode up to the first ancestor in memory. */
struct op_load {
    struct op *op;
    struct load_row {
        struct db_inode row;
        char *name, *etag;
    } *rows;
    size_t n;
    uint64_t want;
};

static void load_free(struct op *op)
{
    struct op_load *l = take(op->load);
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++) {
        free(l->rows[i].name);
        free(l->rows[i].etag);
    }
    free(l->rows);
    free(l);
}

static int load_make(struct op_load *l, struct inode *parent)
{
    struct inode *dir = parent;
    for (size_t i = l->n; i-- > 0;) {
        const struct load_row *lr = &l->rows[i];
        struct inode *made;
        if (!dir->is_dir || inode_child(dir, lr->name, strlen(lr->name)) ||
            inode_find(l->op->fs, lr->row.ino))
            return -ESTALE; /* the name belongs to another inode by now */
        int r = inode_new(dir->tree, dir, lr->name, strlen(lr->name), S_ISDIR(lr->row.type),
                          lr->row.ino, &made);
        if (r < 0)
            return r;
        made->set = lr->row.set;
        made->mode = lr->row.mode;
        made->uid = lr->row.uid;
        made->gid = lr->row.gid;
        made->atime_ns = lr->row.atime_ns;
        made->mtime_ns = lr->row.mtime_ns;
        made->ctime_ns = lr->row.ctime_ns;
        made->etag = lr->etag && *lr->etag ? strdup(lr->etag) : NULL;
        made->row_saved = true;
        r = dir_add(made); /* keeps it in memory */
        if (r < 0)
            inode_detach(made);
        inode_unref(made);
        if (r < 0)
            return r;
        dir = made;
    }
    return 0;
}

static void load_step(struct db_read *read);

static int load_next(struct op *op, uint64_t ino)
{
    op->load->want = ino;
    op->db_read = (struct db_read){.kind = DB_READ_INO, .ino = ino, .done = load_step};
    db_read_start(op->fs->db, &op->db_read);
    return OP_PARK;
}

static void load_step(struct db_read *read)
{
    struct op *op = container_of(read, struct op, db_read);
    struct op_load *l = op->load;
    int r = read->error == -ENOENT || (!read->error && read->nrows != 1) ? -ESTALE : read->error;
    if (r == 0 && (read->rows[0].bucket != op->session->tree->bucket_no || !read->rows[0].parent ||
                   l->n >= LOAD_DEPTH_MAX))
        r = -ESTALE;
    struct load_row *rows = r ? NULL : reallocarray(l->rows, l->n + 1, sizeof(*rows));
    if (r == 0 && !rows)
        r = -ENOMEM;
    if (r == 0) {
        l->rows = rows;
        struct load_row *lr = &l->rows[l->n++];
        *lr = (struct load_row){.row = read->rows[0]};
        lr->name = strdup(lr->row.name);
        lr->etag = lr->row.etag ? strdup(lr->row.etag) : NULL;
        if (!lr->name || key_name_check(lr->name, strlen(lr->name)) < 0)
            r = -ESTALE;
    }
    if (r == 0) {
        uint64_t up = l->rows[l->n - 1].row.parent;
        struct inode *parent = inode_find(op->fs, up);
        if (!parent) {
            load_next(op, up);
            return;
        }
        r = parent->tree == op->session->tree ? load_make(l, parent) : -ESTALE;
    }
    load_free(op);
    op_wake(op, r);
}

int op_wait_moving(struct op *op, const struct inode *inode)
{
    struct inode *moving;
    if (!inode_busy_moving(inode, &moving))
        return 0;
    op->move_wait.op = op;
    list_add_tail(&moving->move_waiters, &op->move_wait.link);
    return OP_PARK;
}

int op_resolve(struct op *op, uint64_t ino, struct inode **ret)
{
    struct session *s = op->session;
    struct inode *inode = inode_find(op->fs, ino);
    if (!inode) {
        op->load = calloc(1, sizeof(*op->load));
        if (!op->load)
            return -ENOMEM;
        op->load->op = op;
        return load_next(op, ino);
    }
    /* An unlinked file has no way up any more: only who holds it may still name it. */
    if (inode->tree != s->tree ||
        !(inode->gone ? session_holds(s, inode) : inode_below(inode, s->root)))
        return -ESTALE;
    int r = op_wait_moving(op, inode);
    if (r == 0)
        *ret = inode_ref(inode);
    return r;
}

int op_resolve_dir(struct op *op, uint64_t ino, struct inode **ret)
{
    struct inode *dir;
    int r = op_resolve(op, ino, &dir);
    if (r)
        return r;
    r = !dir->is_dir ? -ENOTDIR : dir->gone ? -ENOENT : 0;
    if (r < 0) {
        inode_unref(dir);
        return r;
    }
    *ret = dir;
    return 0;
}

int op_handle(struct op *op, uint64_t fh)
{
    op->handle = handle_find(op->session, fh);
    if (!op->handle)
        return -EBADF;
    op->handle->busy++;
    op->inode = inode_ref(op->handle->inode);
    return 0;
}

uint64_t op_ttl_ms(const struct op *op, const struct inode *inode)
{
    uint64_t ttl = op->session->attr_ttl_ms;
    if (inode->gone)
        return 0;
    if (!inode->parent || inode->spool || inode->created || inode->commit)
        return ttl; /* ours: it changes only here, and every change is pushed */
    uint64_t age_ms = (clock_mono_ns() - inode->fetched_ns) / NS_PER_MS;
    return inode->fetched_ns && age_ms < ttl ? ttl - age_ms : 0;
}

static void rows_kept(struct db_read *read)
{
    op_wake(container_of(read, struct op, db_read), 0);
}

int op_rows_kept(struct op *op)
{
    op->db_read = (struct db_read){.kind = DB_READ_NOTHING, .done = rows_kept};
    db_read_start(op->fs->db, &op->db_read);
    return -EINPROGRESS;
}

/* ---- asking the store about a name */

static void child_woke(struct probe *p)
{
    struct op *op = container_of(p, struct op, probe);
    op->child = take(p->child);
    int error = p->error;
    probe_fini(p);
    op_wake(op, error);
}

static void rows_woke(struct dir_wait *wait, int error)
{
    op_wake(container_of(wait, struct op, dir_wait), error);
}

/* A page that could not be had is no reason to fail: the name itself may be allowed. */
static void page_woke(struct dir_wait *wait, int error)
{
    (void)error;
    op_wake(container_of(wait, struct op, dir_wait), 0);
}

/* true: the first page of the directory is waited for. Once: what it does not tell is asked by itself. */
static bool op_page(struct op *op, struct inode *dir, bool known)
{
    uint64_t ttl = op->session->attr_ttl_ms;
    if (op->tries || !dir_worth_listing(dir, known, ttl))
        return false;
    op->tries++;
    op->dir_wait = (struct dir_wait){.done = page_woke};
    return dir_first_start(dir, ttl, &op->dir_wait) == -EINPROGRESS;
}

int op_child(struct op *op, struct inode *parent, struct msg_str name, bool ask_always)
{
    uint64_t ttl = op->session->attr_ttl_ms;
    if (!op->asked_ns)
        op->asked_ns = clock_mono_ns();
    op->dir_wait = (struct dir_wait){.done = rows_woke};
    int r = dir_rows_start(parent, &op->dir_wait);
    if (r)
        return r == -EINPROGRESS ? OP_PARK : r;
    dir_used(parent);
    struct inode *known = inode_child(parent, name.s, name.len);
    if (known && (!ask_always || known->spool || known->created) && inode_fresh(known, ttl)) {
        op->child = inode_ref(known);
        return 0;
    }
    if (!known && !ask_always && dir_lacks(parent, name.s, name.len, ttl, op->asked_ns))
        return 0;
    if (!ask_always && op_page(op, parent, known))
        return OP_PARK;
    op->probe.done = child_woke;
    op->probe.known = false; /* we hold the name */
    return probe_start(&op->probe, parent, name.s, name.len);
}

static void fresh_woke(struct probe *p)
{
    struct op *op = container_of(p, struct op, probe);
    int error = p->error;
    const struct inode *i = op->inode;
    bool asked = i->parent == p->parent && str_eq(i->name, p->name); /* else it was renamed meanwhile */
    if (error == 0 && p->child != i && (asked || i->gone))
        error = -ESTALE;
    probe_fini(p);
    op_wake(op, error);
}

int op_freshen(struct op *op, struct inode *inode, bool ask_always)
{
    bool may_trust = !ask_always || inode->spool || inode->created;
    uint64_t ttl = op->session->attr_ttl_ms;
    must(inode == op->inode);
    if (inode->gone)
        return op->tries ? -ESTALE : 0; /* the page below says so, or it was before */
    if (inode == op->session->root || (may_trust && inode_fresh(inode, ttl)))
        return 0;
    if (!ask_always && op_page(op, inode->parent, true))
        return OP_PARK;
    op->probe.done = fresh_woke;
    op->probe.known = true;
    return probe_start(&op->probe, inode->parent, inode->name, strlen(inode->name));
}

static void kept(struct store_req *req)
{
    struct op *op = container_of(req, struct op, store);
    if (req->error == 0)
        op->parent->dir->marker = true;
    op_wake(op, req->error);
}

int op_keep_dir(struct op *op)
{
    struct inode *dir = op->parent;
    if (!dir->parent || dir == op->session->root || dir->dir->marker)
        return 0;
    if (dir_fresh(dir, op->session->attr_ttl_ms) && dir_names_known(dir) > 1)
        return 0; /* the other names keep it */
    free(op->key2);
    op->key2 = NULL;
    int r = inode_key(dir, &op->key2);
    if (r < 0)
        return r;
    store_req_fini(&op->store);
    op->store = (struct store_req){
        .op = STORE_PUT, .key = op->key2, .body = {.fd = -1, .memory = ""}, .done = kept};
    store_submit(op->session->tree->store, &op->store);
    return -EINPROGRESS;
}
