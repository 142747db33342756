/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Which opens of a read-only mount are handed to the kernel together with the cache file, so that
 * it reads by itself (FUSE passthrough). One inode has one way of reading while anything of it is
 * open, says the kernel (EIO otherwise): the first open decides, and later ones follow until the
 * last close. A later open of another version than the one passed follows as well, but its reads
 * come to us; only what it maps is of the old version. Any thread. */
#pragma once

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "fused/handle.h"

/* The daemon's start: before INIT, with the broker's socket (-1: there is none), and after. */
void pass_prepare(struct fuse_session *session, int broker_fd);
void pass_start(void);
/* Is it worth asking the backend for the promise that the version stays whole? */
bool pass_possible(void);

/* Of an open that is about to be told to the kernel: counted until pass_closed(). whole: the
 * backend promised. h has its version. 0 | -ENOMEM: the open must fail */
int pass_opened(struct handle *h, bool whole);
/* As fuse_reply_open(), for an open that was counted. */
int pass_reply(fuse_req_t fuse, const struct handle *h, const struct fuse_file_info *fi);
/* The kernel has given it back, or never got it. More than once is fine. */
void pass_closed(struct handle *h);
