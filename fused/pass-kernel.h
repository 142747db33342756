/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The two places where passthrough is said to the kernel: INIT's reply and OPEN's. libfuse knows
 * the words since 3.17 (pass-lib.c); before, they are made by hand (pass-hand.c). The build has one
 * of the two. */
#pragma once

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

/* Before the first request. wanted: passthrough. 0 | -errno: nothing will be passed */
int pass_kernel_prepare(struct fuse_session *session, bool wanted);
/* In the handler of INIT. */
void pass_kernel_init(struct fuse_conn_info *conn);
/* After INIT is answered: did both sides agree? */
bool pass_kernel_agreed(void);
/* OPEN's reply. direct: reads go to us all the same, only mappings pass. As fuse_reply_open() */
int pass_kernel_reply(fuse_req_t fuse, const struct fuse_file_info *fi, uint32_t id, bool direct);
