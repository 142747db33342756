/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What libfuse 3.14 does not say in its reply to FUSE_INIT, added to the bytes on their way:
 * passthrough, which it does not know before 3.17, and that lookups and listings of one directory
 * may come side by side, which it forgets. Pure functions of the two messages. The structs are the
 * kernel's, of a later header than Debian 12 has. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INIT_PATCH_REPLY_BYTES 64u /* struct fuse_init_out */

struct init_patch {
    bool pass;        /* passthrough is wanted */
    uint64_t unique;  /* of the INIT that was asked; 0: none yet */
    uint64_t offered; /* the kernel's flags, both words */
    bool agreed;      /* the reply said passthrough */
};

/* Looks at a request. true: it is INIT, and its reply is wanted. */
bool init_patch_request(struct init_patch *p, const void *request, size_t len);
/* head: a fuse_out_header; body: what follows it. true: body is INIT's reply, changed in place. */
bool init_patch_reply(struct init_patch *p, const void *head, size_t head_len, void *body,
                      size_t body_len);
