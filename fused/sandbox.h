/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the daemon may still do once everything it needs is open: read and write its descriptors.
 * And the broker, which has one capability and may use it in two ways only. */
#pragma once

#include <fcntl.h>
#include <linux/mount.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* While there is one thread: no new privileges, no capabilities, not root, no files (Landlock), no
 * core dumps, as many descriptors as allowed. 0 | -errno */
int sandbox_enter(void);
/* Once all threads exist: the list of system calls, for all of them. 0 | -errno */
int sandbox_lock(void);

/* The kernel's words for passthrough: the headers of Debian 12 do not have them. */
struct sandbox_backing {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define SANDBOX_BACKING_OPEN _IOW(229, 1, struct sandbox_backing)
#define SANDBOX_BACKING_CLOSE _IOW(229, 2, uint32_t)
#define SANDBOX_OPEN_TREE_FLAGS (OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)
#define SANDBOX_FUSE_FD 4 /* the broker's descriptor of the mount */

/* The same two for the broker: CAP_SYS_ADMIN stays. */
int sandbox_enter_broker(void);
int sandbox_lock_broker(void);
