/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Operations on a spool that wait for their end, on top of the cache's rig. */
#pragma once

#include "tests/unit/cache/rig.h"

#include "s3proxyd/spool/spool.h"

struct spool_rig {
    struct rig rig;
    struct spool_dir *dir;
    char path[96];
};
int spool_rig_up(void **state);
int spool_rig_down(void **state);

/* Of the object "k" of that size, which is put first. */
struct spool *spool_on_base(struct spool_rig *sr, uint64_t size, struct fake_object **ret_o);

struct io { /* an operation that remembers */
    struct spool_io io;
    bool done;
};
void io_done(struct spool_io *io);
int io_wait(struct spool_rig *sr, struct io *io, int r); /* r: what start said; the final error */

int do_write(struct spool_rig *sr, struct spool *s, uint64_t offset, const void *data, uint64_t n);
int do_truncate(struct spool_rig *sr, struct spool *s, uint64_t size);
int do_read(struct spool_rig *sr, struct spool *s, uint64_t offset, void *buf, uint64_t n,
            size_t *ret_got);

struct committed {
    struct spool_commit c;
    bool done;
};
void commit_begin(struct spool_rig *sr, struct spool *s, const char *key, struct committed *c);
int commit_wait(struct spool_rig *sr, struct committed *c); /* its error; c is still to be fini'd */
int do_commit(struct spool_rig *sr, struct spool *s, const char *key); /* begin, wait, fini */
