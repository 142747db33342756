/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* From what the user asked for to two live connections: which backend, volume or bucket, HELLO,
 * ATTACH, and BIND on the second connection. Kept by the keeper for the life of the mount, because
 * after a lost backend exactly the same is asked again. Blocking. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fused/backend.h"
#include "fused/keys.h"
#include "fused/opts.h"
#include "fused/source.h"

struct attach {
    const struct opts *opts;
    struct source source;
    struct keys keys;
    struct backend backend;
    bool volume;  /* decided: SOURCE is a volume of the backend */
    bool decided; /* an attach succeeded: backend and kind stay as they are */
    bool prefetched; /* all that is to be: need not be asked for again */
    unsigned char instance[16];
};

struct attached {
    int rpc_fd, push_fd, ring_fd; /* ring_fd -1 when read-only */
    uint64_t root, ring_bytes, rw;
};
#define ATTACHED_NULL ((struct attached){-1, -1, -1, 0, 0, 0})
void attach_close(struct attached *a);

/* Parses SOURCE and finds the keys. *a always needs attach_fini(). 0 | -EINVAL | -ENOMEM */
int attach_init(struct attach *a, struct opts *opts, char **ret_why);
void attach_fini(struct attach *a);
/* 0 | -errno; *ret_why: a text for the user, malloc'd, or NULL. Notices go to the log. */
int attach_run(struct attach *a, struct attached *ret, char **ret_why);
