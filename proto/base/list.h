/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Intrusive doubly linked list. A `struct list` is a head or a member; an unlinked member points at
 * itself, so list_del() twice is harmless. */
#pragma once

#include <stdbool.h>

#include "proto/base/must.h"

struct list {
    struct list *next, *prev;
};

#define LIST_INIT(l) ((struct list){&(l), &(l)})

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_add_tail(struct list *head, struct list *m)
{
    m->prev = head->prev;
    m->next = head;
    head->prev->next = m;
    head->prev = m;
}

static inline void list_add_head(struct list *head, struct list *m)
{
    list_add_tail(head->next, m);
}

static inline void list_del(struct list *m)
{
    m->prev->next = m->next;
    m->next->prev = m->prev;
    list_init(m);
}

/* Moves all members of `from` to the tail of `to`; `from` is empty afterwards. */
static inline void list_splice_tail(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_entry(l, type, member) container_of(l, type, member)
#define list_first(head, type, member)                                                             \
    (list_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_for_each(it, head, member)                                                            \
    for (it = list_entry((head)->next, __typeof__(*it), member); &it->member != (head);            \
         it = list_entry(it->member.next, __typeof__(*it), member))
#define list_for_each_safe(it, tmp, head, member)                                                  \
    for (it = list_entry((head)->next, __typeof__(*it), member),                                   \
        tmp = list_entry(it->member.next, __typeof__(*it), member);                                \
         &it->member != (head);                                                                    \
         it = tmp, tmp = list_entry(it->member.next, __typeof__(*it), member))
