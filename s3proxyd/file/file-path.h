/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Keys ↔ paths. A key is the path below the directory, as it is; a key that ends in '/' is a
 * directory marker and a real directory. No lookup ever leaves the directory or follows a link. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/file/file-store.h"

struct file_path {
    char key[PROTO_KEY_MAX_BYTES + 1];
    char dir[PROTO_KEY_MAX_BYTES + 1]; /* of the leaf: "" or ends in '/' */
    char leaf[PROTO_NAME_MAX_BYTES + 1];
    bool is_dir; /* the key ended in '/' */
};

/* 0 | -EINVAL (empty, '.' or '..' component, leading '/', first component .hafiz) | -ENAMETOOLONG |
 * -EILSEQ (not UTF-8) */
int file_path_split(const char *key, struct file_path *ret_path);
/* May a directory entry of this name show up in listings? */
bool file_path_name_ok(const char *name, size_t len, bool at_root);

/* path: relative, "" for the directory itself, a final '/' is ignored. ret: descriptor | -ENOENT |
 * -ENOTDIR | -ELOOP (a link on the way or at the end) | -EXDEV (something is mounted there: it may
 * be this very store, and objects could not be renamed into it) | -errno */
int file_path_open(struct file_store *fs, const char *path, int flags);
/* The leaf's directory. */
int file_path_open_parent(struct file_store *fs, const struct file_path *path);
/* What is made takes its mode from the directory it is made in, not from a umask: the backend's own
 * is strict, and objects are for other programs too. Never for everybody to write. */
mode_t file_path_mode(const struct stat *parent, bool is_dir);
int file_path_make_dir(int parent, const char *name); /* 0 | -EEXIST | -errno */
int file_path_sync(int dir);                          /* 0 | -errno */
/* As file_path_open_parent(), made where missing and marked as implicit; with the lock held. */
int file_path_make_parent(struct file_store *fs, const struct file_path *path);
/* Removes `dir` and what is above it as long as they are implicit and empty; with the lock held. */
void file_path_prune(struct file_store *fs, const char *dir);
/* A directory below .hafiz, made where missing. ret: descriptor | -errno */
int file_path_private(struct file_store *fs, const char *name);
/* Means "no such key" where a key is looked for: absent, below a file, behind a link or a mount. */
bool file_path_absent(int error);
