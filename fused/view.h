/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The local view of one object version: the sparse cache file and the map that says which blocks of
 * it are present. Both are the backend's, which may take blocks away any time. Of a small file it
 * may be a copy of the bytes instead, see handle.h. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct view;

/* Takes both descriptors, also on failure. 0 | -EPROTO (they do not fit each other or size) |
 * -errno */
int view_new(int cache_fd, int sidecar_fd, uint64_t size, struct view **ret);
/* All bytes of a small file, copied: nothing of the backend's. 0 | -ENOMEM */
int view_new_bytes(const void *bytes, size_t len, struct view **ret);
struct view *view_ref(struct view *v);
void view_unref(struct view *v); /* NULL is fine */
int view_fd(const struct view *v); /* of the cache file; borrowed */
uint64_t view_size(const struct view *v);
/* Reads as read(2) would, short at the end of the file only. 0 | -EAGAIN: ask the backend */
int view_read(const struct view *v, uint64_t offset, size_t size, void *buf, size_t *ret_got);
