/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The sandboxed process that answers the kernel. Its threads:
 *     workers (4)  read /dev/fuse; answer from the cache file or start a call; wait for no reply
 *     peer         receives replies, answers the kernel; gets a new backend when one is lost
 *     push reader  reads INVALIDATE frames
 *     notifiers (3) apply them, which is where the kernel makes one wait
 *     clock        FORGET batches, interrupts, the end of patience with a lost backend
 * Locks are leaves: nothing but the C library is called under one. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fused/attach.h"

struct fuse_session;
struct client;

struct daemon {
    struct fuse_session *session;
    struct client *client;
    int relay_fd, broker_fd; /* broker_fd: -1 where nothing is passed */
    _Atomic uint64_t root; /* the backend's number of the kernel's inode 1 */
    uint64_t timeo_ns;
    bool rw, direct_io, foreground;
    _Atomic uint64_t stamp; /* of the newest push: older replies are not cached */
    _Atomic bool ending;
    bool *ready; /* set when INIT is answered */
};

/* Serves a mounted session until it is unmounted; a is taken. Returns the exit status. */
int daemon_run(struct daemon *d, struct attached *a);
/* Wakes the clock: something waits for it. */
void daemon_poke(void);

static inline uint64_t daemon_ino_in(const struct daemon *d, uint64_t ino)
{
    return ino == 1 ? d->root : ino;
}
static inline uint64_t daemon_ino_out(const struct daemon *d, uint64_t ino)
{
    return ino == d->root ? 1 : ino;
}
