/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The store: what a bucket can do, whoever provides it. Two implementations: s3/ and file/.
 *
 * A request is one struct: the caller fills the inputs, submits, and gets done() exactly once, later,
 * on the main loop, with the outputs filled. It is touched by nobody else in between but the store
 * (from its own threads). Retries, signing, re-routing and the S3→errno table are inside the store.
 * Errors are the errno of reference "A4" (s3/s3-error.tbl). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3proxyd/store/pace.h"
#include "s3proxyd/work/pool.h"

struct store;
struct store_req;

enum store_op {
    STORE_CHECK,        /* may we list here, does the bucket exist: one LIST with max-keys 1 */
    STORE_LIST,         /* one page: key = prefix, delimiter '/' unless list.recursive */
    STORE_HEAD,
    STORE_GET,          /* range [offset, offset+length) into the sink */
    STORE_PUT,          /* whole object from the body */
    STORE_DELETE,
    STORE_DELETE_MANY,  /* keys[]; per-key errors in key_errors[] */
    STORE_COPY,         /* src_key → key, server side, <= 5 GiB */
    STORE_MPU_CREATE,   /* → upload_id */
    STORE_MPU_PART,     /* part_number from the body → meta.etag */
    STORE_MPU_PART_COPY,/* part_number from src_key [offset, offset+length) → meta.etag */
    STORE_MPU_COMPLETE, /* part_etags[1..nparts], length = object size → meta.etag */
    STORE_MPU_ABORT,
};

/* What is known of one object version. Strings are owned by the struct. */
struct store_meta {
    char *etag;          /* as the server gave it, quotes included; opaque */
    uint64_t size;
    int64_t mtime_ns;    /* LastModified */
    int64_t date_ns;     /* the server's own clock at that answer; 0: unknown */
    char *content_type, *storage_class, *version_id; /* or NULL */
    struct store_pair {  /* user metadata, names in lower case without x-amz-meta- */
        char *name, *value;
    } *user;
    size_t nuser;
};
void store_meta_fini(struct store_meta *m);

struct store_entry {     /* of a listing */
    char *key;           /* full key; a common prefix ends in '/' and has is_prefix */
    size_t key_len;      /* keys may hold any byte but NUL */
    bool is_prefix;
    uint64_t size;
    int64_t mtime_ns;
    char *etag;          /* NULL for a prefix */
};

/* Where a GET's bytes go. From the store's thread: pwrite to fd, CRC-32C of each BLOCK_BYTES block of the
 * file that lies completely in the range (or reaches object_size), then, at most every few hundred KiB,
 * progress() on the main loop with the count of bytes written so far from the range's start. */
struct store_sink {
    int fd;                 /* borrowed; stays open until done */
    uint64_t fd_offset;     /* where the range's first byte goes: for cache files = offset */
    uint64_t object_size;
    uint32_t *block_crcs;   /* caller's array, one per block from offset/BLOCK_BYTES; or NULL */
    void (*progress)(struct store_req *req, uint64_t got); /* may be NULL */
};

struct store_req {
    /* inputs, owned by the caller and unchanged until done */
    enum store_op op;
    const char *key;        /* full key, NUL-terminated UTF-8, prefix of the mount included */
    const char *if_match;   /* an ETag (quoted), or "*"; PUT, GET, COMPLETE, COPY target, DELETE */
    bool if_none_match;     /* `*`: only if absent. PUT, COMPLETE, COPY target */
    uint64_t offset, length;
    struct store_sink sink;
    struct {                /* PUT, MPU_PART: length bytes of fd at offset, or of memory if fd is -1 */
        int fd;
        uint64_t offset;
        const void *memory;
    } body;
    const struct store_pair *user; /* PUT, MPU_CREATE; COPY: replaces when set */
    size_t nuser;
    const char *content_type;      /* or NULL */
    const char *src_key, *src_if_match;
    const char *upload_id;
    unsigned part_number;          /* from 1 */
    const char *const *part_etags; /* COMPLETE: nparts of them */
    size_t nparts;
    const char *const *keys;       /* DELETE_MANY, at most 1000 */
    size_t nkeys;
    struct {
        bool recursive;            /* no delimiter */
        unsigned max_keys;         /* 0: 1000 */
        const char *token;         /* continuation of an earlier page, or NULL */
        const char *start_after;   /* or NULL */
    } list;
    uint64_t deadline_ns;          /* CLOCK_MONOTONIC, retries included; 0: the store's default */
    void (*done)(struct store_req *req);

    /* outputs, released by store_req_fini() */
    int error;                     /* 0 or -errno */
    char error_text[256];          /* what the server said, one line, for the log and the user */
    struct store_meta meta;
    uint64_t got;                  /* GET: bytes written */
    bool throttled;                /* the store said "slow down" on the way */
    _Atomic uint64_t arriving;     /* GET, readable while under way: bytes that came, written or not */
    char *ret_upload_id;
    int *key_errors;               /* DELETE_MANY, per key */
    struct store_entry *entries;   /* LIST; in the store's order */
    size_t nentries;
    char *next_token;              /* NULL: last page */

    /* the store's own, while submitted */
    struct store *store;
    void *impl;
    struct work work;
    struct mail mail;
    _Atomic bool cancelled;
};
void store_req_fini(struct store_req *req); /* frees the outputs; the inputs are the caller's */

/* Counters, readable from the main loop at any time. */
struct store_stats {
    uint64_t requests[STORE_MPU_ABORT + 1], errors, retries, throttled, bytes_in, bytes_out;
};

struct store_impl { /* two of them: s3/s3.c and file/file.c */
    const char *name;
    void (*submit)(struct store *store, struct store_req *req);
    void (*cancel)(struct store *store, struct store_req *req);
    void (*stats)(struct store *store, struct store_stats *ret);
    void (*free)(struct store *store); /* no request in flight */
};
struct store {
    const struct store_impl *impl;
    const char *endpoint, *bucket; /* for cache keys and status; file store: directory as bucket */
    uint64_t copy_max_bytes;       /* largest COPY source; above it parts are copied */
    uint64_t part_min_bytes, object_max_bytes;
    unsigned parts_max;
    struct pace pace; /* of large GETs; main loop, kept by those who submit them */
};

static inline void store_submit(struct store *store, struct store_req *req)
{
    req->store = store;
    store->impl->submit(store, req);
}
/* Hastens the end: done() still comes, with -ECANCELED or with whatever had happened already. A mutation
 * that was sent is waited for. Main loop only. */
static inline void store_cancel(struct store_req *req)
{
    req->store->impl->cancel(req->store, req);
}
static inline void store_free(struct store *store)
{
    if (store)
        store->impl->free(store);
}
