/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Versions that kernels read past us (FUSE passthrough). They are whole, and stay so: no block of
 * one is punched, nothing is cut off, as long as anybody may have it open or mapped. A mapping
 * outlives close, RELEASE, the mount and us; only the kernel knows of it, and tells by refusing a
 * write lease on the file (F_SETLEASE). The promise is a word of the sidecar's head, set before the
 * client hears of it, so that the next backend keeps it. Taking away the name alone frees nothing
 * then: such versions keep name and charge until the kernel says that they are free. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/cache/obj.h"

/* Can the file system tell who has a file open? fd: of an unlinked file, open for writing, alone. */
bool promise_possible(int fd);
/* What the sidecar says about an entry whose files were just opened, or made. */
void promise_learn(struct cache *cache, struct cache_entry *entry, const struct side *side);
/* Is it promised? Of an entry nobody has opened in this run, its sidecar is asked. */
bool promise_made(struct cache *cache, struct cache_entry *entry);
/* The same, of an entry without an obj; a promise that nobody relies on any more is withdrawn. */
bool promise_holds(struct cache *cache, struct cache_entry *entry);
/* The entry goes. */
void promise_forget(struct cache *cache, struct cache_entry *entry);
