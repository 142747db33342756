/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The kernel's operations. Each is a pair: x() asks the backend, x_answer() passes the reply on;
 * both stand together in ops-node.c, ops-dir.c, ops-file.c, ops-io.c or ops-name.c, under the
 * message's name. */
#pragma once

#include <fuse_lowlevel.h>
#include <sys/stat.h>

#include "fused/req.h"

extern const struct fuse_lowlevel_ops ops_table;

/* What LOOKUP, CREATE, MKDIR and SYMLINK answer. */
struct ops_entry {
    struct msg_attr attr;
    uint64_t attr_ttl_ms, entry_ttl_ms, stamp;
};
#define OPS_ENTRY(rep) \
    ((struct ops_entry){(rep).attr, (rep).attr_ttl_ms, (rep).entry_ttl_ms, (rep).stamp})

/* Checked, because nobody says that the backend is sane. 0 | -EIO */
int ops_stat(const struct daemon *d, const struct msg_attr *a, struct stat *ret);
int ops_entry_param(const struct daemon *d, const struct ops_entry *e,
                    struct fuse_entry_param *ret);
/* How long a reply holds: not at all when a push has overtaken it. */
double ops_ttl(const struct daemon *d, uint64_t ms, uint64_t stamp);
/* Answers with an entry that the kernel then knows by r's name in directory r->ino. */
void ops_reply_entry(struct req *r, const struct ops_entry *e);
/* The kernel did not take count lookups of a reply (or gave them back). */
void ops_forget(struct daemon *d, uint64_t ino, uint64_t count);
void ops_send_forgets(struct daemon *d);

void ops_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void ops_forget_one(fuse_req_t fuse, fuse_ino_t ino, uint64_t count);
void ops_forget_multi(fuse_req_t fuse, size_t count, struct fuse_forget_data *forgets);
void ops_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t fuse, fuse_ino_t ino, struct stat *attr, int to_set,
                 struct fuse_file_info *fi);
void ops_statfs(fuse_req_t fuse, fuse_ino_t ino);

void ops_readdir(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
                 struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
                     struct fuse_file_info *fi);

void ops_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
                struct fuse_file_info *fi);
void ops_flush(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_fsync(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ops_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);

void ops_read(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_write(fuse_req_t fuse, fuse_ino_t ino, const char *buf, size_t size, off_t off,
               struct fuse_file_info *fi);

void ops_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void ops_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode);
void ops_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                const char *new_name, unsigned flags);
void ops_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name);
void ops_readlink(fuse_req_t fuse, fuse_ino_t ino);
