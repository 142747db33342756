/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The file store: a local directory as a bucket. Objects are plain files at their key, so other
 * programs may read and write them; ETag from (inode, size, mtime ns); user metadata in
 * user.hafiz.* xattrs, else below .hafiz/; uploads below .hafiz/. Requests run on the disk pool.
 *
 * Keys that no path can carry (empty component, '.', '..', first component .hafiz, more than 255
 * bytes between slashes, no UTF-8) are -EINVAL, -ENAMETOOLONG or -EILSEQ when written, absent
 * when read. PUT of `a` where `a/` is a directory: -EISDIR; of `a/b` where `a` is a file:
 * -ENOTDIR. */
#pragma once

#include "s3proxyd/store/store.h"
#include "s3proxyd/work/pool.h"

/* directory: absolute. 0 | -EINVAL | -ELOOP (it lies on a mount of hafiz) | -errno (-ENOTDIR,
 * -ENOENT, -EACCES, …) */
int file_store_new(struct pool *pool, const char *directory, struct store **ret_store);
/* Names that listings met and could not show: links, specials, names no key can carry. */
uint64_t file_store_hidden(struct store *store);
