/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The one hash table. Byte strings are hashed by SipHash-1-3 under a key drawn once per process, so that
 * nobody who chooses names can choose collisions. */
#include "proto/base/table.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proto/base/clock.h"

#define BUCKETS_MIN 16u

static size_t slot_of(const struct table *t, uint64_t hash)
{
    return (size_t)(hash & (t->nbuckets - 1));
}

void table_fini(struct table *t)
{
    free(t->buckets);
    *t = TABLE_NULL;
}

static int resize(struct table *t, size_t nbuckets)
{
    struct table_node **old = t->buckets;
    size_t nold = t->nbuckets;
    struct table_node **fresh = calloc(nbuckets, sizeof(*fresh));

    if (!fresh)
        return -ENOMEM;
    t->buckets = fresh;
    t->nbuckets = nbuckets;
    for (size_t i = 0; i < nold; i++) {
        struct table_node *next;
        for (struct table_node *n = old[i]; n; n = next) {
            next = n->next;
            n->next = fresh[slot_of(t, n->hash)];
            fresh[slot_of(t, n->hash)] = n;
        }
    }
    free(old);
    return 0;
}

int table_add(struct table *t, struct table_node *node, uint64_t hash)
{
    if (!t->buckets) {
        int r = resize(t, BUCKETS_MIN);
        if (r < 0)
            return r;
    } else if (t->count >= t->nbuckets && t->nbuckets <= SIZE_MAX / 4 / sizeof(void *)) {
        resize(t, t->nbuckets * 2); /* without memory the chains just get longer */
    }
    node->hash = hash;
    node->next = t->buckets[slot_of(t, hash)];
    t->buckets[slot_of(t, hash)] = node;
    t->count++;
    return 0;
}

struct table_node *table_find(const struct table *t, uint64_t hash, table_eq_fn *eq,
                              const void *key)
{
    if (!t->buckets)
        return NULL;
    for (struct table_node *n = t->buckets[slot_of(t, hash)]; n; n = n->next)
        if (n->hash == hash && eq(n, key))
            return n;
    return NULL;
}

void table_del(struct table *t, struct table_node *node)
{
    if (!t->buckets)
        return;
    for (struct table_node **at = &t->buckets[slot_of(t, node->hash)]; *at; at = &(*at)->next) {
        if (*at == node) {
            *at = node->next;
            node->next = NULL;
            t->count--;
            return;
        }
    }
}

struct table_node *table_next(const struct table *t, const struct table_node *node)
{
    if (!t->buckets)
        return NULL;
    if (node && node->next)
        return node->next;
    for (size_t i = node ? slot_of(t, node->hash) + 1 : 0; i < t->nbuckets; i++)
        if (t->buckets[i])
            return t->buckets[i];
    return NULL;
}

static uint64_t hash_key[2];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void hash_key_draw(void)
{
    if (getrandom(hash_key, sizeof(hash_key), GRND_NONBLOCK) == (ssize_t)sizeof(hash_key))
        return;
    hash_key[0] = (uint64_t)clock_real_ns() ^ (uint64_t)(uintptr_t)&hash_key;
    hash_key[1] = clock_mono_ns() * 0x9e3779b97f4a7c15ULL;
}

static uint64_t rotl(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

uint64_t table_hash_bytes(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t v[4], m;

    pthread_once(&hash_key_once, hash_key_draw);
    v[0] = hash_key[0] ^ 0x736f6d6570736575ULL;
    v[1] = hash_key[1] ^ 0x646f72616e646f6dULL;
    v[2] = hash_key[0] ^ 0x6c7967656e657261ULL;
    v[3] = hash_key[1] ^ 0x7465646279746573ULL;
    for (size_t left = len; left >= 8; left -= 8, p += 8) {
        memcpy(&m, p, 8);
        m = le64toh(m);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    m = (uint64_t)len << 56;
    for (size_t i = 0; i < len % 8; i++)
        m |= (uint64_t)p[i] << (8 * i);
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t table_hash_u64(uint64_t v)
{
    pthread_once(&hash_key_once, hash_key_draw);
    v ^= hash_key[0];
    v = (v ^ v >> 33) * 0xff51afd7ed558ccdULL;
    v = (v ^ v >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return v ^ v >> 33 ^ hash_key[1];
}
