/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The operations: which message is done by which steps, what it needs and whether CANCEL may end the wait. */
#include "s3proxyd/op/op-rename.h"
#include "s3proxyd/op/ops.h"

#define UNPACK_(NAME, name, id, phase, replay, payload)                                            \
    __attribute__((unused)) static int unpack_##name(struct op *op, const struct msg_head *head)   \
    {                                                                                              \
        return msg_unpack_##name##_req(head->fields, head->fields_len, &op->req.name);             \
    }
MSG_TABLE(UNPACK_)
#undef UNPACK_

#define OP_(NAME, name, flags, steps) {MSG_##NAME, flags, unpack_##name, steps, 0, NULL}
#define READS OP_READS | OP_CANCELS

static const struct op_type types[] = {
    {MSG_ATTACH, OP_READS, unpack_attach, attach_steps, sizeof(struct op_attach), attach_fini},
    {MSG_RENAME, OP_WRITES, unpack_rename, rename_steps, sizeof(struct op_rename), rename_fini},
    OP_(STATUS, status, OP_READS, status_steps),
    OP_(REFRESH, refresh, OP_READS, refresh_steps),
    OP_(WARM, warm, OP_READS, warm_steps),
    OP_(WARM_STATUS, warm_status, OP_READS, warm_status_steps),
    OP_(BIND, bind, OP_READS, bind_steps),
    OP_(DETACH, detach, OP_READS, detach_steps),
    OP_(LOOKUP, lookup, READS, lookup_steps),
    OP_(FORGET, forget, OP_READS, forget_steps),
    OP_(GETATTR, getattr, READS, getattr_steps),
    OP_(SETATTR, setattr, OP_WRITES, setattr_steps),
    OP_(READDIR, readdir, READS, readdir_steps),
    OP_(OPEN, open, READS, open_steps),
    OP_(CREATE, create, OP_WRITES, create_steps),
    OP_(READ, read, READS, read_steps),
    OP_(AHEAD, ahead, READS, ahead_steps),
    OP_(WRITE, write, OP_WRITES, write_steps),
    OP_(FLUSH, flush, READS, flush_steps),
    OP_(FSYNC, fsync, READS, fsync_steps),
    OP_(RELEASE, release, OP_READS, release_steps),
    OP_(UNLINK, unlink, OP_WRITES, unlink_steps),
    OP_(MKDIR, mkdir, OP_WRITES, mkdir_steps),
    OP_(RMDIR, rmdir, OP_WRITES, rmdir_steps),
    OP_(STATFS, statfs, OP_READS, statfs_steps),
    OP_(SYMLINK, symlink, OP_WRITES, eperm_steps),
    OP_(READLINK, readlink, OP_READS, eopnotsupp_steps),
    OP_(GETXATTR, getxattr, OP_READS, eopnotsupp_steps),
    OP_(SETXATTR, setxattr, OP_WRITES, eopnotsupp_steps),
    OP_(LISTXATTR, listxattr, OP_READS, eopnotsupp_steps),
    OP_(REMOVEXATTR, removexattr, OP_WRITES, eopnotsupp_steps),
    OP_(GETLK, getlk, OP_READS, eopnotsupp_steps),
    OP_(SETLK, setlk, OP_READS, eopnotsupp_steps),
};

const struct op_type *op_type(enum msg_method method)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].method == method)
            return &types[i];
    return NULL;
}
