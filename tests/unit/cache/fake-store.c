/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See fake-store.h. */
#include "tests/unit/cache/fake-store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/must.h"
#include "proto/base/str.h"
#include "proto/limits.h"
#include "s3proxyd/aws/digest.h"

struct upload {
    struct list link;
    char *key, id[16];
    struct upload_part {
        uint8_t *data;
        uint64_t size;
    } parts[64];
};

struct job {
    struct list link;
    struct loop_task task;
    struct fake *fake;
    struct store_req *req;
    bool cancelled;
    bool begun;
    uint64_t at;
    uint64_t fail_at;
    bool stalls;
    uint64_t stall_at;
    int error;
};

/* Not malloc(): tests that make it fail mean the code under test. */
static void *alloc(size_t size)
{
    void *p = aligned_alloc(64, (size + 64) / 64 * 64);

    must(p);
    memset(p, 0, size);
    return p;
}

static char *copy_of(const char *s)
{
    return memcpy(alloc(strlen(s) + 1), s, strlen(s) + 1);
}

uint8_t fake_pattern_byte(uint64_t offset, unsigned version)
{
    uint64_t x = (offset >> 3) * 0x9E3779B97F4A7C15ULL + version * 1000003ULL;
    x ^= x >> 29;
    return (uint8_t)(x >> ((offset & 7) * 8)) | 1; /* never 0: a hole is never right */
}

static struct fake *fake_of(struct store *store)
{
    return container_of(store, struct fake, store);
}

struct fake_object *fake_find(struct fake *fake, const char *key)
{
    struct fake_object *o;

    list_for_each (o, &fake->objects, link)
        if (str_eq(o->key, key))
            return o;
    return NULL;
}

static void object_free(struct fake_object *o)
{
    list_del(&o->link);
    free(o->key);
    free(o->data);
    free(o);
}

static void upload_free(struct upload *u)
{
    list_del(&u->link);
    for (size_t i = 0; i < ARRAY_SIZE(u->parts); i++)
        free(u->parts[i].data);
    free(u->key);
    free(u);
}

void fake_delete(struct fake *fake, const char *key)
{
    struct fake_object *o = fake_find(fake, key);

    if (o)
        object_free(o);
}

static struct fake_object *put_owned(struct fake *fake, const char *key, uint8_t *data,
                                     uint64_t size)
{
    struct fake_object *o = alloc(sizeof(*o));

    fake_delete(fake, key);
    o->key = copy_of(key);
    o->data = data;
    o->size = size;
    snprintf(o->etag, sizeof(o->etag), "\"v%u\"", ++fake->versions);
    list_add_tail(&fake->objects, &o->link);
    return o;
}

struct fake_object *fake_put(struct fake *fake, const char *key, const void *data, uint64_t size)
{
    uint8_t *copy = alloc(size ? size : 1);

    memcpy(copy, data, size);
    return put_owned(fake, key, copy, size);
}

struct fake_object *fake_put_pattern(struct fake *fake, const char *key, uint64_t size)
{
    uint8_t *data = alloc(size ? size : 1);

    for (uint64_t i = 0; i < size; i++)
        data[i] = fake_pattern_byte(i, fake->versions + 1);
    return put_owned(fake, key, data, size);
}

unsigned fake_uploads_open(const struct fake *fake)
{
    const struct upload *u;
    unsigned n = 0;

    list_for_each (u, &fake->uploads, link)
        n++;
    return n;
}

static void finish(struct job *job, int error)
{
    struct store_req *req = job->req;

    req->error = error;
    if (error < 0)
        snprintf(req->error_text, sizeof(req->error_text), "fake says %s", strerror(-error));
    job->fake->in_flight--;
    list_del(&job->link);
    free(job);
    req->done(req);
}

/* Is this one to fail? */
static int injected(struct fake *fake, const struct store_req *req)
{
    if (!(fake->fail_op_mask & (1u << req->op)))
        return 0;
    if (fake->fail_after > 0) {
        fake->fail_after--;
        return 0;
    }
    if (fake->fail_count > 0 && --fake->fail_count == 0)
        fake->fail_op_mask = 0;
    return fake->fail_error;
}

static void sum_blocks(const struct store_req *req, uint64_t from, uint64_t to, const uint8_t *data)
{
    const struct store_sink *s = &req->sink;

    for (uint64_t b = from / BLOCK_BYTES; s->block_crcs && b * BLOCK_BYTES < to; b++) {
        uint64_t first = b * BLOCK_BYTES, end = MIN(first + BLOCK_BYTES, s->object_size);
        if (first >= req->offset && end <= to)
            s->block_crcs[b - req->offset / BLOCK_BYTES] =
                digest_crc32c(0, data + first, end - first);
    }
}

/* One step of a GET; true: over. */
static bool get_step(struct job *job, int *ret_error)
{
    struct store_req *req = job->req;
    struct fake_object *o = fake_find(job->fake, req->key);
    uint64_t stop = job->fake->short_get ? req->length / 2 : req->length;

    *ret_error = !o ? -ENOENT : req->if_match && !str_eq(req->if_match, o->etag) ? -ESTALE : 0;
    if (*ret_error == 0 && job->error && job->at >= job->fail_at)
        *ret_error = job->error;
    if (*ret_error < 0)
        return true;
    must(req->offset + req->length <= o->size);
    uint64_t n = MIN(job->fake->step_bytes, stop - job->at);
    uint64_t from = req->offset + job->at;
    int r = fd_pwrite_full(req->sink.fd, o->data + from, n, req->sink.fd_offset + job->at);
    if (r < 0) {
        *ret_error = r;
        return true;
    }
    job->at += n;
    req->got = job->at;
    job->fake->got_bytes += n;
    sum_blocks(req, from, from + n, o->data);
    if (req->sink.progress)
        req->sink.progress(req, job->at);
    return job->at == stop;
}

static int body_of(struct store_req *req, uint8_t **ret_data)
{
    uint8_t *data = alloc(req->length ? req->length : 1);
    size_t got = req->length;
    int r = 0;

    if (req->body.fd < 0)
        memcpy(data, req->body.memory ? req->body.memory : "", req->length);
    else
        r = fd_pread_full(req->body.fd, data, req->length, req->body.offset, &got);
    if (r == 0 && got < req->length)
        r = -EIO; /* a body shorter than announced */
    if (r < 0)
        free(data);
    else
        *ret_data = data;
    return r;
}

static int condition(struct fake *fake, const struct store_req *req)
{
    struct fake_object *o = fake_find(fake, req->key);

    if (req->if_none_match && o)
        return -EEXIST;
    if (req->if_match && (!o || !str_eq(o->etag, req->if_match)))
        return o ? -ESTALE : -ENOENT;
    return 0;
}

static struct upload *upload_find(struct fake *fake, const char *id)
{
    struct upload *u;

    list_for_each (u, &fake->uploads, link)
        if (str_eq(u->id, id))
            return u;
    return NULL;
}

static int mpu_create(struct fake *fake, struct store_req *req)
{
    struct upload *u = alloc(sizeof(*u));

    u->key = copy_of(req->key);
    snprintf(u->id, sizeof(u->id), "u%u", ++fake->versions);
    list_add_tail(&fake->uploads, &u->link);
    req->ret_upload_id = copy_of(u->id);
    return 0;
}

static int mpu_part(struct fake *fake, struct store_req *req)
{
    struct upload *u = upload_find(fake, req->upload_id);
    char etag[32];
    uint8_t *data;

    if (!u)
        return -EIO;
    must(req->part_number >= 1 && req->part_number <= ARRAY_SIZE(u->parts));
    int r = body_of(req, &data);
    if (r < 0)
        return r;
    struct upload_part *p = &u->parts[req->part_number - 1];
    free(p->data);
    *p = (struct upload_part){data, req->length};
    snprintf(etag, sizeof(etag), "\"p%u\"", req->part_number);
    req->meta.etag = copy_of(etag);
    return 0;
}

static int mpu_complete(struct fake *fake, struct store_req *req)
{
    struct upload *u = upload_find(fake, req->upload_id);
    uint64_t size = 0, at = 0;

    if (!u)
        return -EIO;
    int r = condition(fake, req);
    if (r < 0)
        return r;
    for (size_t i = 0; i < req->nparts; i++) {
        char etag[32];
        snprintf(etag, sizeof(etag), "\"p%zu\"", i + 1);
        must(str_eq(req->part_etags[i], etag));
        if (i + 1 < req->nparts && u->parts[i].size < fake->store.part_min_bytes)
            return -EINVAL;
        size += u->parts[i].size;
    }
    must(size == req->length);
    uint8_t *data = alloc(size);
    for (size_t i = 0; i < req->nparts; at += u->parts[i++].size)
        memcpy(data + at, u->parts[i].data, u->parts[i].size);
    req->meta.etag = copy_of(put_owned(fake, req->key, data, size)->etag);
    upload_free(u);
    return 0;
}

static int mutate(struct fake *fake, struct store_req *req)
{
    struct upload *u;
    uint8_t *data;
    int r;

    switch (req->op) {
    case STORE_PUT:
        r = condition(fake, req);
        if (r == 0)
            r = body_of(req, &data);
        if (r == 0)
            req->meta.etag = copy_of(put_owned(fake, req->key, data, req->length)->etag);
        return r;
    case STORE_MPU_CREATE:
        return mpu_create(fake, req);
    case STORE_MPU_PART:
        return mpu_part(fake, req);
    case STORE_MPU_COMPLETE:
        return mpu_complete(fake, req);
    case STORE_MPU_ABORT:
        u = upload_find(fake, req->upload_id);
        if (u)
            upload_free(u);
        return u ? 0 : -ENOENT;
    default:
        return -ENOSYS;
    }
}

static void step(void *arg)
{
    struct job *job = arg;
    struct fake *fake = job->fake;
    int error = 0;

    bool held = fake->hold || (fake->hold_key && str_eq(fake->hold_key, job->req->key));

    if (held && !job->cancelled)
        return; /* fake_release() starts it again */
    if (job->cancelled) {
        finish(job, -ECANCELED);
        return;
    }
    if (!job->begun) {
        job->begun = true;
        job->error = injected(fake, job->req);
        job->fail_at = fake->fail_at_bytes;
        job->stalls = job->req->op == STORE_GET && fake->stall_count > 0;
        job->stall_at = fake->stall_at_bytes;
        fake->stall_count -= job->stalls;
    }
    if (job->stalls && job->at >= job->stall_at)
        return; /* until it is cancelled */
    if (job->req->op == STORE_GET) {
        if (get_step(job, &error))
            finish(job, error);
        else
            loop_task_add(fake->loop, &job->task);
        return;
    }
    finish(job, job->error ? job->error : mutate(fake, job->req));
}

static void submit(struct store *store, struct store_req *req)
{
    struct fake *fake = fake_of(store);
    struct job *job = alloc(sizeof(*job));

    job->fake = fake;
    job->req = req;
    req->impl = job;
    req->got = 0;
    fake->ops[req->op]++;
    fake->in_flight++;
    if (req->op == STORE_GET && strlen(fake->gets) + 1 < sizeof(fake->gets))
        fake->gets[strlen(fake->gets)] = req->key[0];
    fake->max_in_flight = MAX(fake->max_in_flight, fake->in_flight);
    if (req->op == STORE_PUT || req->op == STORE_MPU_PART)
        fake->max_body_bytes = MAX(fake->max_body_bytes, req->length);
    loop_task_init(&job->task, step, job);
    list_add_tail(&fake->jobs, &job->link);
    loop_task_add(fake->loop, &job->task);
}

static void cancel(struct store *store, struct store_req *req)
{
    struct job *job = req->impl;

    if (fake_of(store)->deaf)
        return;
    job->cancelled = true;
    loop_task_add(fake_of(store)->loop, &job->task);
}

static void free_store(struct store *store)
{
    fake_free(fake_of(store));
}

static const struct store_impl fake_impl = {
    .name = "fake", .submit = submit, .cancel = cancel, .free = free_store};

int fake_new(struct loop *loop, struct fake **ret_fake)
{
    struct fake *fake = alloc(sizeof(*fake));

    if (!fake)
        return -ENOMEM;
    fake->store = (struct store){.impl = &fake_impl,
                                 .endpoint = "http://fake",
                                 .bucket = "b",
                                 .part_min_bytes = 5u << 20,
                                 .parts_max = 10000,
                                 .object_max_bytes = 5ULL << 40};
    fake->loop = loop;
    fake->step_bytes = 100000; /* no multiple of a block */
    list_init(&fake->objects);
    list_init(&fake->uploads);
    list_init(&fake->jobs);
    *ret_fake = fake;
    return 0;
}

void fake_release(struct fake *fake)
{
    struct job *job;

    fake->hold = fake->deaf = false;
    fake->hold_key = NULL;
    list_for_each (job, &fake->jobs, link) {
        job->stalls = false;
        loop_task_add(fake->loop, &job->task);
    }
}

void fake_no_failures(struct fake *fake)
{
    fake->fail_op_mask = fake->fail_after = fake->fail_count = 0;
    fake->fail_error = 0;
    fake->fail_at_bytes = 0;
    fake->short_get = false;
}

void fake_free(struct fake *fake)
{
    must(list_empty(&fake->jobs));
    while (!list_empty(&fake->objects))
        object_free(list_first(&fake->objects, struct fake_object, link));
    while (!list_empty(&fake->uploads))
        upload_free(list_first(&fake->uploads, struct upload, link));
    free(fake);
}
