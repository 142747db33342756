/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The shared memory through which payloads of WRITE reach the backend: slots of
 * PROTO_RING_SLOT_BYTES in a memfd that the backend made and sealed. Who finds no free slot waits
 * in a queue that holds no thread: the waiter is called when a slot comes free. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/list.h"

#define RING_NONE UINT32_MAX

struct ring_waiter {
    struct list link;
    void (*ready)(struct ring_waiter *w, uint32_t slot); /* on the thread that freed the slot */
};

/* The ring of a new connection; takes fd. Slots in use keep their number and their bytes, because
 * calls that were not sent yet still point at them. 0 | -EPROTO | -ENOMEM | -errno */
int ring_set(int fd, uint64_t bytes);
/* A slot, or RING_NONE: then w->ready runs later (w may be NULL: no waiting). */
uint32_t ring_get(struct ring_waiter *w);
void ring_put(uint32_t slot);
void ring_fill(uint32_t slot, const void *data, size_t len); /* len <= PROTO_RING_SLOT_BYTES */
uint64_t ring_offset(uint32_t slot);
