/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Invariants of our own code. must() is always compiled in and aborts; it is never used on anything
 * that a peer, a store, a user or malloc can influence. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__attribute__((noreturn, cold)) void must_failed(const char *expr, const char *file, int line,
                                                 const char *func);

#define must(e) ((e) ? (void)0 : must_failed(#e, __FILE__, __LINE__, __func__))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) a_ = (a);                                                                    \
        __typeof__(b) b_ = (b);                                                                    \
        a_ < b_ ? a_ : b_;                                                                         \
    })
#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) a_ = (a);                                                                    \
        __typeof__(b) b_ = (b);                                                                    \
        a_ > b_ ? a_ : b_;                                                                         \
    })

/* offset + len stays within a signed 64-bit file offset. */
static inline bool range_ok(uint64_t offset, uint64_t len)
{
    return offset <= INT64_MAX && len <= (uint64_t)INT64_MAX - offset;
}
