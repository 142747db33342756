/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A store in memory that gives the answers a real one gives only on bad days: late, in small
 * pieces, cut short, refused. Everything happens on the loop, one step per turn, so a test can stop
 * it anywhere. */
#pragma once

#include "proto/base/loop.h"
#include "s3proxyd/store/store.h"

struct fake_object {
    struct list link;
    char *key, etag[32];
    uint8_t *data;
    uint64_t size;
};

struct fake {
    struct store store;
    struct loop *loop;
    struct list objects, uploads, jobs;
    unsigned versions;

    /* What the test asks for */
    bool hold;             /* nothing moves while set */
    const char *hold_key;  /* nothing of this object does */
    uint64_t step_bytes;   /* of a GET, per turn */
    unsigned fail_op_mask; /* 1 << STORE_…: these fail with fail_error … */
    int fail_error;
    unsigned fail_after;    /* … after so many of them went well … */
    unsigned fail_count;    /* … this often; 0: always */
    uint64_t fail_at_bytes; /* a GET fails only after so many bytes */
    bool short_get;         /* says 0 but sends half */
    unsigned stall_count;   /* so many GETs, from the next on, stop for good … */
    uint64_t stall_at_bytes; /* … after so many bytes */
    bool deaf;               /* what stalls does not hear that it is cancelled, until it is released */

    /* What it saw */
    unsigned ops[STORE_MPU_ABORT + 1];
    unsigned in_flight, max_in_flight;
    char gets[256]; /* the first letters of what was asked for, in that order */
    uint64_t got_bytes;
    uint64_t max_body_bytes;
};

int fake_new(struct loop *loop, struct fake **ret_fake);
void fake_free(struct fake *fake);
struct fake_object *fake_put(struct fake *fake, const char *key, const void *data, uint64_t size);
struct fake_object *fake_put_pattern(struct fake *fake, const char *key, uint64_t size);
struct fake_object *fake_find(struct fake *fake, const char *key);
void fake_delete(struct fake *fake, const char *key);
unsigned fake_uploads_open(const struct fake *fake);
void fake_release(struct fake *fake); /* ends hold */
void fake_no_failures(struct fake *fake);

uint8_t fake_pattern_byte(uint64_t offset, unsigned version);
