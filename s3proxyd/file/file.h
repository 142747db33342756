/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The file store: a local directory as a bucket. Objects are plain files at their key, so other programs
 * may read and write them; ETag from (inode, size, mtime ns); user metadata in user.hafiz.* xattrs, else
 * below .hafiz/; uploads below .hafiz/. Requests run on the disk pool. */
#pragma once

#include "s3proxyd/store/store.h"
#include "s3proxyd/work/pool.h"

/* directory: absolute. 0 | -errno (-ENOTDIR, -ENOENT, -EACCES, …) */
int file_store_new(struct pool *pool, const char *directory, struct store **ret_store);
