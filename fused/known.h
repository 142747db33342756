/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The inode numbers the kernel holds: under which name it last got each (for "forget everything",
 * which the kernel has no call for) and how often (it gives them back by FORGET). FORGETs for the
 * backend are collected and sent many at a time. Numbers here are the backend's. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KNOWN_BATCH 256u

struct known_pair {
    uint64_t ino, count; /* as in FORGET's payload */
};

/* The kernel gets one more count of ino by this name in directory parent (its number for it).
 * Without memory the name is not remembered: then it is valid for its time only. */
void known_add(uint64_t ino, uint64_t parent, const char *name, size_t len);
/* The kernel gave counts back. true: a batch is full, send it. */
bool known_forget(uint64_t ino, uint64_t count);
/* Takes up to KNOWN_BATCH collected pairs. */
size_t known_take(struct known_pair ret_pairs[KNOWN_BATCH]);
size_t known_waiting(void);

/* Calls fn for everything that was there when the walk began and still is; others may go on
 * meanwhile. */
typedef void known_fn(void *arg, uint64_t ino, uint64_t parent, const char *name, size_t len);
void known_walk(known_fn *fn, void *arg);
