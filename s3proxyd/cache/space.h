/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The bound on disk use: charges before anything is written, evicts the least recently used. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "s3proxyd/cache/obj.h"

/* Charges `bytes` to the entry, evicting others (or the entry's own old blocks) as needed.
 * must: somebody waits for it, so the bound may be passed, but not the end of the disk.
 * 0 | -ENOSPC */
int space_reserve(struct cache *cache, struct cache_entry *entry, uint64_t bytes, bool must);
void space_release(struct cache *cache, struct cache_entry *entry, uint64_t bytes);
void space_recharge(struct cache *cache, struct cache_entry *entry, uint64_t bytes);
void space_evict(struct cache *cache, uint64_t bytes);
/* Frees the disk blocks of absent blocks [first, end). */
void space_punch(struct cache_obj *obj, uint64_t first, uint64_t end);
