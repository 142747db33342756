/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The pieces every operation is made of: ETags, the lock, temporary files, copying, and the
 * commit that makes a finished file an object. */
#pragma once

#include "s3proxyd/file/file-attr.h"
#include "s3proxyd/file/file-store.h"

#define FILE_IO_ETAG_SIZE 56u /* "…" of 16 + 16 + 16 hex digits, two dashes, NUL */
#define FILE_IO_PIECE_BYTES (1024u * 1024)

void file_io_etag(const struct stat *st, char buf[FILE_IO_ETAG_SIZE]);
/* Now, and later than any it gave before. */
struct timespec file_io_unique_time(struct file_store *fs);
/* An mtime no other version written by this process has. */
int file_io_touch(struct file_store *fs, int fd);
/* Fills etag, size, times; attributes apart. 0 | -ENOMEM */
int file_io_meta(const struct stat *st, struct store_meta *meta);

/* Exclusive among all threads and backends; close() ends it. ret: descriptor | -errno */
int file_io_lock(struct file_store *fs);

/* A file in .hafiz/tmp that vanishes unless it is renamed. */
struct file_io_temp {
    int fd, dir;
    char name[40];
};
#define FILE_IO_TEMP_NULL ((struct file_io_temp){-1, -1, ""})
int file_io_temp_open(struct file_store *fs, struct file_io_temp *temp);
int file_io_temp_rename(struct file_io_temp *temp, int dir, const char *name);
void file_io_temp_fini(struct file_io_temp *temp);
int file_io_random_name(char *buf, size_t size); /* 32 hex digits */

/* Copies in the kernel where it can (sharing extents where the file system can). Stops early, with
 * *ret_copied < len, only at the source's end. */
int file_io_copy(struct file_job *job, int from, uint64_t from_off, int to, uint64_t to_off,
                 uint64_t len, uint64_t *ret_copied);
/* The request's body to `to_off`; -EIO when its file is shorter than promised. */
int file_io_body(struct file_job *job, int to, uint64_t to_off);

/* Does the object with this state (NULL: absent) meet if_match and if_none_match? */
int file_io_condition(const char *if_match, bool if_none_match, const struct stat *st);

/* Makes `fd`, which is `name` in `dir`, the object `key`: attributes, sync, condition, rename,
 * sync of the directory. On 0 job->req->meta is filled. */
int file_io_commit(struct file_job *job, int fd, int dir, const char *name,
                   const struct file_attrs *attrs);
/* The key ends in '/': makes the directory or turns an implicit one into a marker. */
int file_io_commit_dir(struct file_job *job, const struct file_attrs *attrs);
