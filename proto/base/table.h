/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Intrusive chained hash table that grows by doubling. Keys live in the caller's structs; the caller
 * supplies the 64-bit hash and an equality test. Hashes of strings a peer chooses go through
 * table_hash_bytes(), which is keyed per process. Not thread-safe: owned by one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **buckets;
    size_t nbuckets, count;
};

#define TABLE_NULL ((struct table){0})

typedef bool table_eq_fn(const struct table_node *node, const void *key);

void table_fini(struct table *t); /* frees the buckets, never the members */
int table_add(struct table *t, struct table_node *node, uint64_t hash); /* 0 | -ENOMEM */
struct table_node *table_find(const struct table *t, uint64_t hash, table_eq_fn *eq,
                              const void *key);
void table_del(struct table *t, struct table_node *node); /* no-op when absent */
/* Iteration: table_next(t, NULL) is the first member; deleting the current one while iterating is
 * allowed only after the following one was fetched. */
struct table_node *table_next(const struct table *t, const struct table_node *node);

uint64_t table_hash_bytes(const void *data, size_t len); /* keyed, see table.c */
uint64_t table_hash_u64(uint64_t v);
