/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A spool's life, and the queue that serialises what is done to it: one operation at a time, in
 * order, but while a commit reads the file, writes and truncates wait and reads go past them. */
#include "s3proxyd/spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/spool/spool-int.h"

#define XATTR_KEY "user.hafiz.key"

struct spool_retire { /* a copy of the key it shall have in the cache */
    struct cache *cache;
    struct cache_key key;
    char *strings[4];
};

static void retire_free(struct spool_retire *retire)
{
    for (size_t i = 0; retire && i < ARRAY_SIZE(retire->strings); i++)
        free(retire->strings[i]);
    free(retire);
}
DEFINE_CLEANUP(struct spool_retire *, retire_free)

static void spool_release(struct spool *spool)
{
    if (spool->fd >= 0)
        spool->dir->spools--;
    closep(&spool->fd);
    cache_obj_unref(spool->base);
    extents_fini(&spool->set);
    retire_free(spool->retire);
    free(spool->name);
    free(spool);
}
DEFINE_CLEANUP(struct spool *, spool_release)

static int make_file(struct spool *spool)
{
    char file[SPOOL_FILE_SIZE];

    spool->number = spool->dir->next++;
    spool_file_name(spool, file);
    spool->fd = openat(spool->dir->fd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (spool->fd < 0)
        return -errno;
    spool->dir->spools++;
    (void)!fsetxattr(spool->fd, XATTR_KEY, spool->name, strlen(spool->name),
                     0); /* where there are */
    if (ftruncate(spool->fd, (off_t)spool->size) == 0)
        return 0;
    int r = -errno;
    unlinkat(spool->dir->fd, file, 0);
    return r;
}

int spool_new(struct spool_dir *dir, const char *name, struct cache_obj *base, uint64_t size,
              struct spool **ret_spool)
{
    _cleanup_(spool_releasep) struct spool *spool = calloc(1, sizeof(*spool));

    if (!spool)
        return -ENOMEM;
    *spool = (struct spool){.dir = dir, .fd = -1, .size = size};
    list_init(&spool->queue);
    if (!range_ok(0, size))
        return -EFBIG;
    spool->name = strdup(name);
    if (!spool->name)
        return -ENOMEM;
    if (base) {
        spool->base = cache_obj_ref(base);
        spool->base_limit = spool->missing = MIN(size, cache_obj_size(base));
    }
    spool->generation = base && cache_obj_size(base) == size ? 0 : 1;
    spool->marked_clean = spool->generation == 0;
    int r = make_file(spool);
    if (r < 0)
        return r;
    *ret_spool = take(spool);
    return 0;
}

static void drop_file(struct spool *spool)
{
    char file[SPOOL_FILE_SIZE];

    spool_file_name(spool, file);
    unlinkat(spool->dir->fd, file, 0);
}

static void adopt_file(struct spool *spool)
{
    char file[SPOOL_FILE_SIZE];
    _cleanup_(freep) char *path = NULL;

    spool_file_name(spool, file);
    path = str_dup_printf("%s/%s", spool->dir->path, file);
    if (!path || spool->missing > 0 || spool->size != spool->retire->key.size) {
        drop_file(spool);
        return;
    }
    fremovexattr(spool->fd, XATTR_KEY);
    int r = cache_adopt(spool->retire->cache, &spool->retire->key, path);
    if (r < 0) /* read again from the store, then */
        log_debug("spool", "%s not adopted: %s", log_esc(spool->name), strerror(-r));
}

/* Nobody uses it any more. */
static void end_now(struct spool *spool)
{
    must(spool->nops == 0 && !spool->commit);
    extents_clip(&spool->set, 0);
    spool->engaged = false;
    spool_recount(spool);
    if (spool->end == SPOOL_RETIRES)
        adopt_file(spool);
    else if (spool->end == SPOOL_ASIDE)
        spool_dir_keep_orphan(spool);
    else
        drop_file(spool);
    spool_release(spool);
}

static void end_when_idle(struct spool *spool)
{
    must(!spool->commit && spool->end != SPOOL_LIVES);
    if (spool->nops == 0)
        end_now(spool);
}

void spool_free(struct spool *spool)
{
    if (!spool)
        return;
    spool->end = SPOOL_DROPS;
    end_when_idle(spool);
}

void spool_set_aside(struct spool *spool)
{
    if (!spool)
        return;
    spool->end = spool_dirty(spool) ? SPOOL_ASIDE : SPOOL_DROPS;
    end_when_idle(spool);
}

static struct spool_retire *retire_copy(struct cache *cache, const struct cache_key *key)
{
    _cleanup_(retire_freep) struct spool_retire *retire = calloc(1, sizeof(*retire));
    const char *from[] = {key->endpoint, key->bucket, key->key, key->etag};

    if (!retire)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
        retire->strings[i] = strdup(from[i] ? from[i] : "");
        if (!retire->strings[i])
            return NULL;
    }
    retire->cache = cache;
    retire->key = *key;
    retire->key.endpoint = retire->strings[0];
    retire->key.bucket = retire->strings[1];
    retire->key.key = retire->strings[2];
    retire->key.etag = retire->strings[3];
    return take(retire);
}

void spool_retire(struct spool *spool, struct cache *cache, const struct cache_key *key)
{
    spool->end = SPOOL_DROPS;
    if (!spool_dirty(spool)) {
        spool->retire = retire_copy(cache, key);
        if (spool->retire)
            spool->end = SPOOL_RETIRES;
    }
    end_when_idle(spool);
}

uint64_t spool_size(const struct spool *spool)
{
    return spool->size;
}

bool spool_dirty(const struct spool *spool)
{
    return spool->generation != spool->saved_generation || spool->nchanges > 0;
}

uint64_t spool_generation(const struct spool *spool)
{
    return spool->generation;
}

bool spool_changing(const struct spool *spool)
{
    return spool->running && spool->running->kind != SPOOL_READ;
}

void spool_submit(struct spool *spool, struct spool_io *io)
{
    list_add_tail(&spool->queue, &io->link);
    spool_kick(spool);
}

void spool_kick(struct spool *spool)
{
    struct spool_io *io;

    if (spool->running)
        return;
    list_for_each (io, &spool->queue, link) {
        if (spool->commit && io->kind != SPOOL_READ)
            continue;
        list_del(&io->link);
        spool->running = io;
        if (io->kind == SPOOL_READ)
            spool_read_begin(io);
        else if (io->kind == SPOOL_WRITE)
            spool_write_begin(io);
        else
            spool_truncate_begin(io);
        return;
    }
}

void spool_finish(struct spool_io *io)
{
    struct spool *spool = io->spool;

    must(spool->running == io);
    spool->running = NULL;
    spool_dir_unreserve(spool->dir, io->reserved);
    io->reserved = 0;
    spool->nops--;
    spool->nchanges -= io->kind != SPOOL_READ;
    if (spool->commit)
        spool_commit_wake(spool);
    spool_kick(spool);
    if (spool->end != SPOOL_LIVES)
        end_when_idle(spool);
    io->done(io);
}
