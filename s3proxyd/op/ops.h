/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The step lists, one per message, each in the file of its family; and what families share. */
#pragma once

#include <endian.h>

#include "s3proxyd/op/op.h"

struct op_entry {
    struct msg_attr attr;
    uint64_t ttl_ms, stamp;
};
int op_entry(struct op *op, struct inode *inode, struct op_entry *ret);
/* A directory that is to go must be empty: asks the store for two keys below it (-EINPROGRESS), then
 * judges the answer, hidden keys and unsaved files included (0 | -ENOTEMPTY). */
int op_list_below(struct op *op, const struct inode *dir);
int op_nothing_below(const struct op *op, const struct inode *dir);

int op_wait_moving(struct op *op, const struct inode *inode); /* 0 | OP_PARK */

extern const struct op_step lookup_steps[], getattr_steps[], forget_steps[], statfs_steps[];
extern const struct op_step setattr_steps[], readdir_steps[], open_steps[], create_steps[];
extern const struct op_step read_steps[], write_steps[], flush_steps[], fsync_steps[];
extern const struct op_step ahead_steps[];
extern const struct op_step release_steps[], unlink_steps[], rmdir_steps[], mkdir_steps[];
extern const struct op_step rename_steps[], status_steps[], refresh_steps[], attach_steps[];
extern const struct op_step warm_steps[], warm_status_steps[];
extern const struct op_step bind_steps[], detach_steps[], eperm_steps[], eopnotsupp_steps[];

/* Private memory of ATTACH: what the message or the volume says, copied before the frame is wiped. */
struct op_attach {
    char *volume, *bucket, *prefix, *endpoint, *region, *source, *mountpoint, *prefetch;
    struct cred *cred;
    struct store *store; /* the new one that is being checked */
    struct tree *tree;
    bool rw, insecure_http, first;
    int addressing;
    uint8_t instance[16];
};
void rename_fini(struct op *op);
void attach_fini(struct op *op);
