/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The names in one directory, sorted as S3 sorts keys, and only as many of the smallest as a page
 * can use: a directory of a million files takes the memory of a page. */
#pragma once

#include <dirent.h>

#include "s3proxyd/file/file-store.h"

struct file_names {
    char **at; /* "name", or "name/" for a directory */
    size_t n, cap;
    bool cut;        /* there are more, all greater than the last one */
    struct stat dir; /* as it was before it was read */
};
#define FILE_NAMES_NULL ((struct file_names){0})

void file_names_fini(struct file_names *names);

/* Which names are wanted. */
struct file_names_want {
    const char *dir;         /* "" or ends in '/' */
    const char *name_prefix; /* names begin so */
    const char *after;       /* dir + name is greater than this */
    bool descend;            /* or is a directory that `after` lies in */
    size_t max;
};
/* 0 | -ENOENT and the like (file_path_absent) | -errno */
int file_names_read(struct file_job *job, const struct file_names_want *want,
                    struct file_names *ret_names);

int file_names_open(struct file_job *job, const char *dir, DIR **ret_dir);
/* The next entry that can be shown, or NULL: the end, or *ret_error. */
const struct dirent *file_names_next(struct file_job *job, DIR *d, const char *dir,
                                     bool *ret_is_dir, int *ret_error);

/* What is left of a directory when a page is full, kept for the next page: at most one in a store.
 * It holds for the very continuation (directory, token) and as long as the directory does not
 * change. */
struct file_names_rest;
/* Takes ownership of the names from `first` on; best effort. */
void file_names_keep(struct file_store *fs, const struct file_names_want *want,
                     struct file_names *names, size_t first, const char *token);
/* True: *ret_names continue after want->after. */
bool file_names_resume(struct file_job *job, const struct file_names_want *want,
                       struct file_names *ret_names);
void file_names_forget(struct file_store *fs);
