/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* An array with a free list instead of a hash table: starting a call costs no allocation. */
#include "proto/client-slot.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/must.h"

#define SLOTS_MIN 64u
#define SLOTS_MAX 65536u /* the low half of an id */

void slots_fini(struct slots *t)
{
    free(t->v);
    *t = (struct slots){0};
}

static void make_free(struct slots *t, uint32_t index)
{
    t->v[index].call = NULL;
    t->v[index].used = false;
    t->v[index].next_free = t->free;
    t->free = index + 1;
}

static int grow(struct slots *t)
{
    uint32_t count = t->count ? 2 * t->count : SLOTS_MIN;
    struct slot *v;

    if (count > SLOTS_MAX)
        return -ENOMEM;
    v = realloc(t->v, count * sizeof(*v));
    if (!v)
        return -ENOMEM;
    t->v = v;
    for (uint32_t i = count; i-- > t->count;) {
        v[i] = (struct slot){0};
        make_free(t, i);
    }
    t->count = count;
    return 0;
}

int slot_take(struct slots *t, struct client_call *call)
{
    struct slot *s;
    int r = t->free ? 0 : grow(t);

    if (r < 0)
        return r;
    s = &t->v[t->free - 1];
    call->id = t->free - 1;
    t->free = s->next_free;
    s->call = call;
    s->used = true;
    s->method = (uint16_t)call->method;
    s->generation++;
    if (s->generation == 0)
        s->generation = 1;
    call->id |= (uint32_t)s->generation << 16;
    return 0;
}

struct slot *slot_find(struct slots *t, uint64_t id)
{
    uint32_t index = (uint32_t)(id & 0xffff);

    if (index >= t->count || !t->v[index].used || t->v[index].generation != id >> 16)
        return NULL;
    return &t->v[index];
}

void slot_orphan(struct slots *t, uint32_t id)
{
    struct slot *s = slot_find(t, id);

    must(s && s->call);
    s->call = NULL;
}

void slot_free(struct slots *t, uint32_t id)
{
    must(slot_find(t, id));
    make_free(t, id & 0xffff);
}

void slots_forget_orphans(struct slots *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->v[i].used && !t->v[i].call)
            make_free(t, i);
}
