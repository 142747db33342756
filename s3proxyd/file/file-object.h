/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Opening objects by key, for the operations that read one: a marker is a directory, an implicit
 * directory is nothing, and neither are links and specials. */
#pragma once

#include "s3proxyd/file/file-path.h"

/* ret: descriptor | -ENOENT | -errno */
int file_object_open(struct file_store *fs, const char *key, struct stat *ret_st);
/* May this key be written? As file_path_split(), with a text. */
int file_object_check_key(struct file_job *job, const char *key, struct file_path *ret_path);
/* req->src_key under req->src_if_match. ret: descriptor | -ENOENT | -ESTALE | -errno */
int file_object_open_source(struct file_job *job, struct stat *ret_st);
/* Is it still what it was before it was copied? 0 | -ESTALE */
int file_object_source_same(struct file_job *job, int fd, const struct stat *before);
