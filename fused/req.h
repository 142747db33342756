/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One kernel request that became a call to the backend. The worker that read it starts the call and
 * forgets it; the answer runs on the peer thread. Whoever takes the kernel's request answers it,
 * once: normally the answer, but when a signal came and the backend does not react, the clock
 * (EINTR). An answer that comes later than that finds nobody and undoes what the backend did. */
#pragma once

#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fused/daemon.h"
#include "fused/handle.h"
#include "fused/ring.h"
#include "proto/client.h"

struct req;
/* Called for success only; errors are passed to the kernel by req.c. */
typedef void req_answer_fn(struct req *r, const struct client_reply *reply);

struct req {
    struct client_call call;
    struct daemon *d;
    fuse_req_t fuse; /* only through req_take() */
    req_answer_fn *answer;
    struct handle *h; /* counted, or NULL */
    struct ring_waiter waiter;
    uint32_t slot; /* RING_NONE, or ours */
    void *data;    /* a payload that waits for a slot; freed with the request */
    uint64_t ino, offset, mark;
    size_t size;
    bool flag;  /* the op's own */
    bool saves; /* FLUSH, FSYNC: fine on a lost handle that has nothing unsaved */
    _Atomic unsigned refs;
    _Atomic bool taken, started;
    _Atomic uint32_t call_id;
    struct list cancel;
    uint64_t give_up_ns;
    size_t name_len;
    char name[];
};

/* NULL: the kernel has been told ENOMEM. name may be NULL. */
struct req *req_new(fuse_req_t fuse, req_answer_fn *answer, const char *name);
/* Sends the call and gives r up. fields: packed; freed here. packed: what packing returned. */
void req_start(struct req *r, enum msg_method method, struct str *fields, int packed);
/* Ends a request that made no call. error: -errno */
void req_fail(struct req *r, int error);

/* Packs and starts in one go: req_call(r, LOOKUP, lookup, .parent = 1, …) */
#define req_call(r, NAME, name, ...)                        \
    do {                                                    \
        struct msg_##name##_req m_ = {__VA_ARGS__};         \
        struct str fields_ = STR_NULL;                      \
        int packed_ = msg_pack_##name##_req(&fields_, &m_); \
        req_start(r, MSG_##NAME, &fields_, packed_);        \
    } while (0)

/* A oneway message, packed and sent: req_oneway(d, RELEASE, release, .fh = 1) */
#define req_oneway(d, NAME, name, ...)                                      \
    do {                                                                    \
        struct msg_##name##_req m_ = {__VA_ARGS__};                         \
        struct str fields_ = STR_NULL;                                      \
        if (msg_pack_##name##_req(&fields_, &m_) == 0)                      \
            client_send_oneway((d)->client, MSG_##NAME, &fields_, NULL, 0); \
        str_fini(&fields_);                                                 \
    } while (0)

/* The kernel's request, for the one who answers it; NULL: it has been answered. */
fuse_req_t req_take(struct req *r);
void req_reply_err(struct req *r, int error); /* error: 0 or -errno */
int req_errno(int error);                     /* -errno of a reply to the kernel's positive one */

/* The clock's share: sends CANCELs, gives up. true: something is still waiting. */
bool req_tick(struct daemon *d);
