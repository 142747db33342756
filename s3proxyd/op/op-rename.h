/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* RENAME is in two files, the steps in op-rename.c and directories in op-rename-dir.c; this is the
 * state of one rename, which they share. */
#pragma once

#include "s3proxyd/op/copy.h"
#include "s3proxyd/op/ops.h"

#define RENAME_COPIES_AT_ONCE 8u

struct rename_key {
    char *src, *dst, *etag, *new_etag;
    uint64_t size;
    int64_t mtime_ns;
};

struct op_rename {
    struct copy copy;          /* of a file */
    bool in_memory;            /* never saved: only the name changes */
    bool begun, renamed;       /* the store may have changed; it is done */
    /* of a directory */
    char *src_prefix, *dst_prefix, *token;
    struct rename_key *keys;
    size_t nkeys, cap, next, copied, deleted;
    unsigned running;
    int error;
    struct rename_slot {
        struct op *op;
        size_t key;
        struct copy copy;
    } slots[RENAME_COPIES_AT_ONCE];
    const char **batch;        /* keys of one DELETE_MANY */
};

int rename_dir_list(struct op *op);
int rename_dir_copy(struct op *op);
int rename_dir_delete(struct op *op);
void rename_dir_versions(struct op *op); /* after the move: the copies' ETags */
