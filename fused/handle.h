/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Open files. A handle outlives the backend that opened it: it is opened again at the next one, or
 * says ESTALE or EIO until it is closed. Numbers are counted, never pointers. Any thread.
 *
 * A handle's view may be the bytes themselves, which came with OPEN's reply. No map in shared memory
 * tells when they are out of date: PROTOCOL.md "Bytes of OPEN" says when handle_forget_bytes() is
 * called. A read that took the view before goes on; the kernel keeps the pages it reads locked and
 * drops them afterwards, when the push is applied. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fused/view.h"
#include "proto/base/list.h"
#include "proto/base/table.h"
#include "proto/msg.h"

#define HANDLE_BYTES_MAX (8u * 1024 * 1024) /* of all views that are bytes */

struct handle {
    struct table_node node;
    struct list bytes_link; /* among those whose view is bytes; under the table's lock */
    size_t bytes;           /* how many */
    _Atomic unsigned refs;
    uint64_t fh, ino;
    int flags;         /* open(2)'s, without O_TRUNC */
    pid_t opener;      /* see foreign.h */
    _Atomic int error; /* 0, or what every further call gets */
    _Atomic bool released;
    _Atomic uint64_t tell_at; /* 0, or where the backend wants to hear that the reader has come */
    uint64_t stream_from, stream_to; /* behind.c's, under its lock */
    _Atomic uint64_t changes, saved; /* changes the backend has taken, has saved */
    _Atomic bool counted;        /* as open, by pass.c, which owns the next two: */
    bool pass_mapped;            /* only mappings pass, and are of an older version */
    uint32_t pass_id;            /* 0: the kernel reads through us */
    char *etag; /* of the version opened; the table's lock guards etag and view */
    struct view *view;
};

int handle_new(uint64_t ino, int flags, pid_t opener, struct handle **ret);
void handle_unref(struct handle *h); /* NULL is fine */
struct handle *handle_ref(struct handle *h);

int handle_add(struct handle *h);           /* into the table, which holds one count. 0 | -ENOMEM */
struct handle *handle_get(uint64_t fh);     /* counted, or NULL */
void handle_drop(struct handle *h);         /* out of the table; marks it released */
struct view *handle_view(struct handle *h); /* counted, or NULL */
/* Both taken (view: the count; etag is copied). 0 | -ENOMEM: etag unchanged */
int handle_set_version(struct handle *h, struct view *view, struct msg_str etag);
/* Its version is these bytes. Beyond HANDLE_BYTES_MAX they are not kept: reads ask. 0 | -ENOMEM */
int handle_set_bytes(struct handle *h, const void *bytes, size_t len, struct msg_str etag);
size_t handle_bytes_room(void); /* the size of a file that surely would be kept; 0: none */
void handle_forget_bytes(uint64_t ino); /* of its handles; 0: of all */
char *handle_etag(struct handle *h); /* malloc'd; empty when it has changed since */
/* All of them, counted, in a malloc'd array. 0 | -ENOMEM */
int handle_all(struct handle ***ret, size_t *ret_count);

static inline bool handle_unsaved(const struct handle *h)
{
    return h->changes != h->saved;
}
