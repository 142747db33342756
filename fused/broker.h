/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The one capability that a running mount needs: registering files with the kernel for passthrough
 * wants CAP_SYS_ADMIN of whoever asks, and the daemon has none. So a process of its own holds it,
 * nothing else (no key, no path, no network: sandbox.h), and the mount's /dev/fuse descriptor. The
 * daemon hands it descriptors of cache files over a SOCK_SEQPACKET pair. It registers each through
 * a read-only mount of that very file: the kernel opens a registered file again with whatever mode
 * the user's open has, and so no open for writing can get through. Both sides take the other for
 * taken over. It ends when the daemon does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BROKER_FILES_MAX 8192u /* registered at a time: what a mad daemon can make it hold */

/* --- the broker's process --- */

/* owner: of the files it accepts. Returns the exit status, when the other end is closed. */
int broker_run(int fd, int fuse_fd, uid_t owner, bool foreground);
/* Answers questions until the other end is closed; broker_run()'s main part. 0 | -errno */
int broker_serve(int fd, int fuse_fd, uid_t owner);
/* Is it a file of the owner's, of that size, and the descriptor for reading only? 0 | -EPERM */
int broker_check(int data_fd, uint64_t size, uid_t owner);

/* --- the daemon's side; one question at a time --- */

int broker_pair(int ret_fds[2]); /* 0: the daemon's, which waits for an answer only so long */
/* 0 | the broker's -errno | -EPIPE, -EPROTO, -ETIMEDOUT: it is of no use any more */
int broker_open(int fd, int data_fd, uint64_t size, uint32_t *ret_id);
int broker_close(int fd, uint32_t id); /* waits for nothing */
