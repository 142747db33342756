/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A cache in memory is a cache directory on a tmpfs that lives no longer than its backend: for
 * machines without a disk worth the name, and for data that must not reach one. */
#pragma once

#include <stdint.h>

struct memory_dir;

/* Makes an own, empty directory below /dev/shm, and first removes what backends of this user left
 * there that did not end well. 0 | -EOPNOTSUPP (no tmpfs there) | -errno */
int memory_dir_new(struct memory_dir **ret_dir, const char **ret_why);
const char *memory_dir_path(const struct memory_dir *dir);
void memory_dir_free(struct memory_dir *dir); /* with all that is in it; NULL: nothing */

/* Bytes that can be used without pushing others out; UINT64_MAX: not known. */
uint64_t memory_available(void);
/* What a cache may have of it, of at most `bytes`: half. And what it keeps free: at most a quarter.
 */
uint64_t memory_share(uint64_t bytes);
uint64_t memory_spare(uint64_t bytes);
