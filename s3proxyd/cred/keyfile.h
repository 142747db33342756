/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A small text file that may hold keys: read whole through one descriptor, so that what was
 * checked is what was read, and wiped from memory afterwards. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define KEYFILE_MAX_BYTES (1024u * 1024)

struct keyfile {
    char *text; /* len bytes and a NUL; may be changed in place */
    size_t len;
    struct stat st; /* of the open file */
};
#define KEYFILE_NULL ((struct keyfile){0})

/* 0 | -ELOOP (a link and !follow) | -EISDIR, -EINVAL (not a regular file) | -EFBIG | -errno */
int keyfile_read(const char *path, bool follow, struct keyfile *ret_file);
void keyfile_fini(struct keyfile *file);
