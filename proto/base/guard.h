/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Mappings of files that may be cut, or whose disk may fail, while they are mapped: an access is a
 * SIGBUS then, and the end of the process. A guarded mapping becomes private memory instead, all of
 * it at once: zeros, but for what prepare() writes. The access goes on there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct guard;

/* prepare() runs in a signal handler: plain stores only. 0 | -ENOMEM | -errno; the map stays the
 * caller's */
int guard_new(void *map, size_t bytes, void (*prepare)(void *fresh), struct guard **ret_guard);
bool guard_broken(const struct guard *guard); /* NULL: no */
void guard_free(struct guard *guard);         /* before munmap(); NULL: nothing */
