/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the kernel is told once (init), the table of operations, and what several of them share.
 * Absent on purpose: opendir (libfuse answers it at once), xattrs and locks (ENOSYS makes the
 * kernel stop asking or do it itself), write_buf (it would bring splice, whose pages may change
 * under us). */
#include "fused/ops.h"

#include <errno.h>
#include <string.h>

#include "fused/known.h"
#include "fused/pass-kernel.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/must.h"

#define BACKGROUND_MAX 64 /* reads ahead that may be in flight */

static void init(void *userdata, struct fuse_conn_info *conn)
{
    struct daemon *d = userdata;

    *d->ready = true;
    pass_kernel_init(conn);
    conn->max_write = PROTO_IO_MAX_BYTES;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    conn->time_gran = 1;
    /* KILLPRIV would leave clearing the suid bit to us; splice is what view.c explains. */
    conn->want &= ~(unsigned)(FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_WRITEBACK_CACHE |
                              FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    /* Pages are dropped by INVALIDATE and at open, never as a side effect of attributes: that would
     * make an `ls` wait for every cold read under way in the files it shows. */
    conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
    conn->want |= conn->capable &
                  (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
                   FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_EXPLICIT_INVAL_DATA);
}

static void refuse_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
                         dev_t rdev)
{
    (void)parent, (void)name, (void)mode, (void)rdev;
    fuse_reply_err(fuse, EPERM);
}

static void refuse_link(fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    (void)ino, (void)parent, (void)name;
    fuse_reply_err(fuse, EPERM);
}

const struct fuse_lowlevel_ops ops_table = {
    .init = init,
    .lookup = ops_lookup,
    .forget = ops_forget_one,
    .forget_multi = ops_forget_multi,
    .getattr = ops_getattr,
    .setattr = ops_setattr,
    .statfs = ops_statfs,
    .readdir = ops_readdir,
    .readdirplus = ops_readdirplus,
    .open = ops_open,
    .create = ops_create,
    .read = ops_read,
    .write = ops_write,
    .flush = ops_flush,
    .fsync = ops_fsync,
    .release = ops_release,
    .unlink = ops_unlink,
    .rmdir = ops_rmdir,
    .mkdir = ops_mkdir,
    .rename = ops_rename,
    .symlink = ops_symlink,
    .readlink = ops_readlink,
    .mknod = refuse_mknod,
    .link = refuse_link,
};

static struct timespec time_of(int64_t ns)
{
    int64_t s = ns / (int64_t)NS_PER_S, rest = ns % (int64_t)NS_PER_S;
    if (rest < 0) {
        rest += (int64_t)NS_PER_S;
        s--;
    }
    return (struct timespec){s, rest};
}

int ops_stat(const struct daemon *d, const struct msg_attr *a, struct stat *ret)
{
    mode_t mode = (mode_t)a->mode;

    if (a->ino == 0 || a->size > INT64_MAX || a->blocks > INT64_MAX || a->mode > 0177777 ||
        !(S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode))) {
        log_warn("ops", "senseless attributes: inode %llu, mode %llo, size %llu, blocks %llu",
                 (unsigned long long)a->ino, (unsigned long long)a->mode,
                 (unsigned long long)a->size, (unsigned long long)a->blocks);
        return -EIO;
    }
    *ret = (struct stat){
        .st_ino = daemon_ino_out(d, a->ino),
        .st_mode = mode,
        .st_nlink = a->nlink,
        .st_uid = (uid_t)a->uid,
        .st_gid = (gid_t)a->gid,
        .st_size = (off_t)a->size,
        .st_blocks = (blkcnt_t)a->blocks,
        .st_atim = time_of(a->atime_ns),
        .st_mtim = time_of(a->mtime_ns),
        .st_ctim = time_of(a->ctime_ns),
    };
    return 0;
}

double ops_ttl(const struct daemon *d, uint64_t ms, uint64_t stamp)
{
    return stamp < d->stamp ? 0 : (double)ms / 1000;
}

int ops_entry_param(const struct daemon *d, const struct ops_entry *e, struct fuse_entry_param *ret)
{
    *ret = (struct fuse_entry_param){.entry_timeout = ops_ttl(d, e->entry_ttl_ms, e->stamp)};
    if (e->attr.ino == 0)
        return 0;
    ret->ino = daemon_ino_out(d, e->attr.ino);
    if (ret->ino == ROOT_INO) /* the root has no name: somewhere it would lie within itself */
        return -EIO;
    ret->generation = e->attr.generation;
    ret->attr_timeout = ops_ttl(d, e->attr_ttl_ms, e->stamp);
    return ops_stat(d, &e->attr, &ret->attr);
}

void ops_reply_entry(struct req *r, const struct ops_entry *e)
{
    struct fuse_entry_param p;
    int error = ops_entry_param(r->d, e, &p);

    if (error < 0) {
        req_reply_err(r, error);
        return;
    }
    if (p.ino != 0) /* before the kernel knows it, which may be quick with FORGET */
        known_add(e->attr.ino, daemon_ino_out(r->d, r->ino), r->name, r->name_len);
    fuse_req_t fuse = req_take(r);
    if ((!fuse || fuse_reply_entry(fuse, &p) < 0) && p.ino != 0)
        ops_forget(r->d, e->attr.ino, 1);
}

void ops_send_forgets(struct daemon *d)
{
    struct known_pair pairs[KNOWN_BATCH];
    size_t n;

    while (client_connected(d->client) && (n = known_take(pairs)) > 0) {
        struct msg_forget_req m = {.count = n};
        struct str fields = STR_NULL;
        if (msg_pack_forget_req(&fields, &m) == 0)
            client_send_oneway(d->client, MSG_FORGET, &fields, pairs, n * sizeof(pairs[0]));
        str_fini(&fields);
    }
}

void ops_forget(struct daemon *d, uint64_t ino, uint64_t count)
{
    if (known_forget(ino, count))
        ops_send_forgets(d);
    else
        daemon_poke();
}
