/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What an object has beside its bytes: small name/value pairs, in user.hafiz.* xattrs of the
 * file, or, where the file system takes none (or not so much), in a record below .hafiz/meta
 * named by a digest of the key. A record holds only for the very file it was written for (inode,
 * size, mtime), so one whose file other programs replaced is not believed.
 * Names in use: "type" (content type), "meta.NAME" (user metadata), "implicit" (a directory that
 * a PUT of a longer key made and that is no marker). */
#pragma once

#include "s3proxyd/file/file-store.h"

#define FILE_ATTR_TYPE "type"
#define FILE_ATTR_META "meta."
#define FILE_ATTR_IMPLICIT "implicit"
#define FILE_ATTR_MAX 128u               /* pairs of one object */
#define FILE_ATTR_MAX_BYTES (64u * 1024) /* all of them; Linux' bound of one xattr value */

struct file_attrs {
    struct store_pair *pairs; /* names as above */
    size_t n, bytes;
};
#define FILE_ATTRS_NULL ((struct file_attrs){0})

void file_attrs_fini(struct file_attrs *attrs);
int file_attrs_add(struct file_attrs *attrs, const char *prefix, const char *name,
                   const char *value); /* 0 | -ENOMEM | -E2BIG */
/* From a request's content type and user metadata, and back into an answer. */
int file_attrs_from_req(struct file_attrs *attrs, const struct store_req *req);
int file_attrs_to_meta(const struct file_attrs *attrs, struct store_meta *meta);
/* One text: "name length\nvalue\n"…; the value may hold any byte but NUL. */
int file_attrs_write(const struct file_attrs *attrs, int fd);
int file_attrs_read(int fd, struct file_attrs *ret_attrs);

/* fd: the file, open for reading; key: where it is or will be. */
int file_attr_load(struct file_store *fs, int fd, const char *key, struct file_attrs *ret_attrs);
int file_attr_save(struct file_store *fs, int fd, const char *key, const struct file_attrs *attrs);
/* The two halves of save(): -ENOTSUP says that it takes a record. */
int file_attr_save_xattrs(int fd, const struct file_attrs *attrs);
int file_attr_save_record(struct file_store *fs, int fd, const char *key,
                          const struct file_attrs *attrs);
/* Takes away what there is first. */
int file_attr_replace(struct file_store *fs, int fd, const char *key,
                      const struct file_attrs *attrs);
void file_attr_drop(struct file_store *fs, const char *key); /* the record, if there is one */
bool file_attr_is_implicit(struct file_store *fs, int fd, const char *key);
int file_attr_set_implicit(struct file_store *fs, int fd, const char *key, bool implicit);
