/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Call ids of a client. Private to the client, under its lock. An id is never given out again while a reply
 * to it may still come. */
#pragma once

#include <stdint.h>

#include "proto/client.h"

struct slot {
    struct client_call *call; /* NULL: orphaned, or free */
    uint16_t generation;      /* high half of the id; 0 before first use */
    uint16_t method;
    bool used;
    uint32_t next_free;
};

struct slots { /* all zero: empty */
    struct slot *v;
    uint32_t count;
    uint32_t free; /* first free one + 1; 0: none */
};

void slots_fini(struct slots *t);
int slot_take(struct slots *t, struct client_call *call); /* sets call->id. 0 | -ENOMEM */
struct slot *slot_find(struct slots *t, uint64_t id);     /* NULL: no such id in use */
void slot_orphan(struct slots *t, uint32_t id);           /* its call is gone, its reply may come */
void slot_free(struct slots *t, uint32_t id);
void slots_forget_orphans(struct slots *t); /* the connection is gone: no reply will come */
