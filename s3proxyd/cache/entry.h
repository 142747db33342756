/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The table of what is on disk, and the names of the files. */
#pragma once

#include "s3proxyd/cache/obj.h"

#define ENTRY_PATH_SIZE 80u /* "xx/<64 hex>.data" and a NUL */

int entry_hash(const struct cache_key *key, uint8_t ret_hash[ENTRY_HASH_BYTES]); /* 0 | -ENOMEM */
void entry_path(const uint8_t hash[ENTRY_HASH_BYTES], const char *suffix,
                char out[ENTRY_PATH_SIZE]);
int entry_make_parent(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES]);
void entry_unlink(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES]);

struct cache_entry *entry_find(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES]);
int entry_add(struct cache *cache, const uint8_t hash[ENTRY_HASH_BYTES],
              struct cache_entry **ret_entry); /* as the most recently used; 0 | -ENOMEM */
void entry_forget(struct cache_entry *entry, struct cache *cache); /* the files stay */
void entry_drop(struct cache_entry *entry, struct cache *cache);   /* and go; it has no obj */
/* The same when nobody reads the file past us; else it stays, the next one to be evicted. */
void entry_retire(struct cache_entry *entry, struct cache *cache);
