/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See spool-rig.h. */
#include "tests/unit/spool/spool-rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int spool_rig_up(void **state)
{
    static struct spool_rig sr;

    memset(&sr, 0, sizeof(sr));
    rig_up(&sr.rig, 64 * MIB);
    snprintf(sr.path, sizeof(sr.path), "%s/spool", sr.rig.dir);
    assert_int_equal(
        spool_dir_new(sr.rig.loop, sr.rig.pool, sr.rig.cache, sr.path, 256 * MIB, &sr.dir), 0);
    *state = &sr;
    return 0;
}

int spool_rig_down(void **state)
{
    struct spool_rig *sr = *state;

    assert_int_equal(spool_dir_used_bytes(sr->dir), 0);
    spool_dir_free(sr->dir);
    rig_idle(&sr->rig);
    rig_down(&sr->rig);
    return 0;
}

struct spool *spool_on_base(struct spool_rig *sr, uint64_t size, struct fake_object **ret_o)
{
    struct spool *s;

    *ret_o = fake_put_pattern(sr->rig.fake, "k", size);
    struct cache_obj *base = rig_get(&sr->rig, "k");
    assert_int_equal(spool_new(sr->dir, "k", base, size, &s), 0);
    cache_obj_unref(base);
    return s;
}

void io_done(struct spool_io *io)
{
    struct io *i = container_of(io, struct io, io);

    assert_false(i->done);
    i->done = true;
}

static bool io_is_done(void *arg)
{
    return ((struct io *)arg)->done;
}

int io_wait(struct spool_rig *sr, struct io *io, int r)
{
    if (r != -EINPROGRESS)
        return r;
    rig_until(&sr->rig, io_is_done, io);
    return io->io.error;
}

int do_write(struct spool_rig *sr, struct spool *s, uint64_t offset, const void *data, uint64_t n)
{
    struct io io = {.io = {.offset = offset, .size = n, .buf = (void *)data, .done = io_done}};

    return io_wait(sr, &io, spool_write_start(s, &io.io));
}

int do_truncate(struct spool_rig *sr, struct spool *s, uint64_t size)
{
    struct io io = {.io = {.size = size, .done = io_done}};

    return io_wait(sr, &io, spool_truncate_start(s, &io.io));
}

int do_read(struct spool_rig *sr, struct spool *s, uint64_t offset, void *buf, uint64_t n,
            size_t *ret_got)
{
    struct io io = {.io = {.offset = offset, .size = n, .buf = buf, .done = io_done}};
    int r = io_wait(sr, &io, spool_read_start(s, &io.io));

    *ret_got = io.io.got;
    return r;
}

static void committed_done(struct spool_commit *commit)
{
    struct committed *c = container_of(commit, struct committed, c);

    assert_false(c->done);
    c->done = true;
}

static int commit_try(struct spool_rig *sr, struct spool *s, const char *key, struct committed *c)
{
    *c = (struct committed){
        .c = {.store = &sr->rig.fake->store, .key = strdup(key), .done = committed_done}};
    return c->c.key ? spool_commit_start(s, &c->c) : -ENOMEM;
}

void commit_begin(struct spool_rig *sr, struct spool *s, const char *key, struct committed *c)
{
    assert_int_equal(commit_try(sr, s, key, c), -EINPROGRESS);
    assert_false(c->done);
}

static bool committed_is_done(void *arg)
{
    return ((struct committed *)arg)->done;
}

int commit_wait(struct spool_rig *sr, struct committed *c)
{
    rig_until(&sr->rig, committed_is_done, c);
    return c->c.error;
}

int do_commit(struct spool_rig *sr, struct spool *s, const char *key)
{
    struct committed c;

    int r = commit_try(sr, s, key, &c);
    if (r == -EINPROGRESS)
        r = commit_wait(sr, &c);
    spool_commit_fini(&c.c);
    return r;
}
