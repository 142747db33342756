/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* For libfuse before 3.17: a custom io of the session sees INIT and its reply; OPEN's reply is made
 * here. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fused/init-patch.h"
#include "fused/pass-kernel.h"
#include "proto/base/must.h"

#define FOPEN_DIRECT_IO (1u << 0)
#define FOPEN_NOFLUSH (1u << 5)
#define FOPEN_PASSTHROUGH (1u << 7)

struct open_out { /* struct fuse_open_out of kernel 6.9 */
    uint64_t fh;
    uint32_t open_flags;
    int32_t backing_id;
};

static struct init_patch patch;   /* one thread serves until INIT is answered */
static atomic_bool waiting; /* for INIT */

static ssize_t io_read(int fd, void *buf, size_t size, void *userdata)
{
    ssize_t n = read(fd, buf, size);

    (void)userdata;
    if (n > 0 && atomic_load_explicit(&waiting, memory_order_acquire))
        (void)init_patch_request(&patch, buf, (size_t)n);
    return n;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    (void)userdata;
    if (!atomic_load_explicit(&waiting, memory_order_acquire) || count != 2 ||
        iov[1].iov_len != INIT_PATCH_REPLY_BYTES)
        return writev(fd, iov, count);
    char body[INIT_PATCH_REPLY_BYTES];
    struct iovec changed[2] = {iov[0], {body, sizeof(body)}};
    memcpy(body, iov[1].iov_base, sizeof(body));
    if (init_patch_reply(&patch, iov[0].iov_base, iov[0].iov_len, body, sizeof(body)))
        atomic_store_explicit(&waiting, false, memory_order_release);
    return writev(fd, changed, 2);
}

int pass_kernel_prepare(struct fuse_session *session, bool wanted)
{
    static const struct fuse_custom_io io = {.read = io_read, .writev = io_writev};

    patch.pass = wanted;
    atomic_store(&waiting, true);
    return fuse_session_custom_io(session, &io, fuse_session_fd(session));
}

void pass_kernel_init(struct fuse_conn_info *conn)
{
    (void)conn;
}

bool pass_kernel_agreed(void)
{
    return patch.agreed;
}

int pass_kernel_reply(fuse_req_t fuse, const struct fuse_file_info *fi, uint32_t id, bool direct)
{
    struct open_out out = {.fh = fi->fh,
                           .open_flags = FOPEN_PASSTHROUGH | (fi->noflush ? FOPEN_NOFLUSH : 0) |
                                         (direct ? FOPEN_DIRECT_IO : 0),
                           .backing_id = (int32_t)id};

    return fuse_reply_buf(fuse, (const char *)&out, sizeof(out));
}
