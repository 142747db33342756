/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* For libfuse 3.17 and later, which has the words. */
#include "fused/pass-kernel.h"

static bool asked, agreed;

int pass_kernel_prepare(struct fuse_session *session, bool wanted)
{
    (void)session;
    asked = wanted;
    return 0;
}

void pass_kernel_init(struct fuse_conn_info *conn)
{
    if (!asked || !(conn->capable & FUSE_CAP_PASSTHROUGH))
        return;
    conn->want |= FUSE_CAP_PASSTHROUGH;
    conn->max_backing_stack_depth = 1; /* see STACK_DEPTH in init-patch.c */
    agreed = true;
}

bool pass_kernel_agreed(void)
{
    return agreed;
}

int pass_kernel_reply(fuse_req_t fuse, const struct fuse_file_info *fi, uint32_t id, bool direct)
{
    struct fuse_file_info passed = *fi;

    passed.keep_cache = 0;
    passed.direct_io = direct;
    passed.backing_id = (int32_t)id;
    return fuse_reply_open(fuse, &passed);
}
