/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Copying one object inside the store: one COPY, or above the store's limit parts copied side by side. The
 * source is guarded by its ETag, so what arrives is the version that was asked for. */
#pragma once

#include "s3proxyd/store/store.h"

#define COPY_PARTS_AT_ONCE 4u

struct copy {
    /* inputs, the caller's, unchanged until done */
    struct store *store;
    const char *src, *dst, *if_match; /* if_match: the source's ETag, or NULL */
    uint64_t size;
    bool if_absent;                   /* the target must not exist: -EEXIST */
    void (*done)(struct copy *copy);  /* once, later */
    void *arg;
    /* outputs */
    int error;
    char error_text[256];
    char *etag;                       /* of the copy; owned */
    int64_t mtime_ns;
    /* copy.c's */
    struct store_req req, parts[COPY_PARTS_AT_ONCE];
    struct store_meta source;
    char *upload_id, **etags;
    uint64_t part_bytes;
    unsigned nparts, next, running;
};
void copy_start(struct copy *copy);
void copy_fini(struct copy *copy);
