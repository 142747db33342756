/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A loop, a pool, a fake store and a cache in a temporary directory, for the tests of cache and
 * spool. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "s3proxyd/cache/cache.h"
#include "tests/unit/cache/fake-store.h"

#define KIB 1024ULL
#define MIB (1024ULL * 1024)

struct rig {
    struct loop *loop;
    struct loop_timer *timer; /* of rig_until() */
    struct until *until;
    struct mailbox *home;
    struct pool *pool;
    struct fake *fake;
    struct cache *cache;
    char dir[64];
    struct cache_config config;
};

void rig_up(struct rig *rig, uint64_t cache_bytes);
void rig_down(struct rig *rig);
void rig_reopen(struct rig *rig, bool clean); /* the next backend; not clean: as after kill -9 */
/* Turns the loop until cond(arg); fails the test after some seconds. */
void rig_until(struct rig *rig, bool (*cond)(void *), void *arg);
void rig_idle(struct rig *rig); /* until no fetch is under way */

struct cache_obj *rig_get(struct rig *rig, const char *key); /* the present version */
/* Fills and reads [offset, offset+len) and compares with the store's content of `o`. */
void rig_read_check(struct rig *rig, struct cache_obj *obj, const struct fake_object *o,
                    uint64_t offset, uint64_t len, struct cache_history *ra);
int rig_fill(struct rig *rig, struct cache_obj *obj, uint64_t offset, uint64_t len,
             struct cache_history *ra);
struct cache_stats rig_stats(const struct rig *rig);
uint64_t rig_disk_bytes(const struct rig *rig); /* allocated below objects/ */

struct waited { /* a wait that remembers */
    struct cache_wait wait;
    bool done;
    int error;
};
void waited_done(struct cache_wait *wait, int error);
bool waited_is_done(void *waited); /* for rig_until() */
