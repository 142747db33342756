/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The words between the two sides are here and nowhere else. */
#include "fused/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "fused/sandbox.h"
#include "proto/base/cleanup.h"
#include "proto/base/must.h"

#define ANSWER_TIMEOUT_S 2

enum { ASK_OPEN = 1, ASK_CLOSE = 2 }; /* CLOSE is not answered */

struct ask {
    uint32_t kind;
    uint32_t id;   /* ASK_CLOSE */
    uint64_t size; /* ASK_OPEN, with one descriptor */
};
struct answer {
    int32_t error;
    uint32_t id;
};

#define FDS_ROOM ((CMSG_SPACE(sizeof(int)) - CMSG_LEN(0)) / sizeof(int)) /* alignment makes it 2 */

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* --- the broker's process --- */

int broker_check(int data_fd, uint64_t size, uid_t owner)
{
    struct stat st;
    int flags = fcntl(data_fd, F_GETFL);

    if (flags < 0 || fstat(data_fd, &st) < 0)
        return -errno;
    if ((flags & O_ACCMODE) != O_RDONLY || flags & O_PATH || !S_ISREG(st.st_mode) ||
        st.st_uid != owner || st.st_size <= 0 || (uint64_t)st.st_size != size)
        return -EPERM;
    return 0;
}

/* A mount of this one file that nobody can reach by name. As an O_PATH descriptor it needs no right
 * to the file, and it lives as long as the kernel has something open through it. */
static int read_only(int data_fd, int *ret_fd)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                          MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME,
                              .attr_clr = MOUNT_ATTR__ATIME};
    _cleanup_(closep) int fd = (int)syscall(SYS_open_tree, data_fd, "", SANDBOX_OPEN_TREE_FLAGS);

    if (fd < 0 || syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int do_open(int fuse_fd, int data_fd, uint64_t size, uid_t owner, uint32_t *ret_id)
{
    _cleanup_(closep) int fd = -1;
    int r = broker_check(data_fd, size, owner);

    if (r == 0)
        r = read_only(data_fd, &fd);
    if (r < 0)
        return r;
    struct sandbox_backing map = {.fd = fd};
    int id = ioctl(fuse_fd, SANDBOX_BACKING_OPEN, &map);
    if (id <= 0)
        return id < 0 ? -errno : -EPROTO;
    *ret_id = (uint32_t)id;
    return 0;
}

static int do_close(int fuse_fd, uint32_t id)
{
    return ioctl(fuse_fd, SANDBOX_BACKING_CLOSE, &id) < 0 ? -errno : 0;
}

/* Everything that came is ours to close: what is not wanted must not stay open here. */
static int take_descriptors(const struct cmsghdr *c, int *ret_fd)
{
    int fds[FDS_ROOM];
    size_t n = c->cmsg_len > CMSG_LEN(0) ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return -EPROTO;
    n = MIN(n, FDS_ROOM);
    memcpy(fds, CMSG_DATA(c), n * sizeof(int));
    if (n == 1) {
        *ret_fd = fds[0];
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    return -EPROTO;
}

/* 0 | -EPIPE: closed | -EPROTO: not in these words. *ret_fd: -1 or one */
static int receive(int fd, struct ask *ret, int *ret_fd)
{
    union control control = {.bytes = {0}};
    struct iovec iov = {ret, sizeof(*ret)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t n;

    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    const struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL;
    int r = c ? take_descriptors(c, ret_fd) : 0;
    if (n <= 0)
        return n < 0 ? -errno : -EPIPE;
    return r == 0 && n == sizeof(*ret) && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? 0 : -EPROTO;
}

int broker_serve(int fd, int fuse_fd, uid_t owner)
{
    unsigned files = 0;

    for (;;) {
        _cleanup_(closep) int data_fd = -1;
        struct ask ask;
        struct answer answer = {.error = -EINVAL};
        int r = receive(fd, &ask, &data_fd);

        if (r < 0)
            return r == -EPIPE ? 0 : r;
        if (ask.kind == ASK_OPEN && data_fd >= 0) {
            answer.error = files < BROKER_FILES_MAX
                               ? do_open(fuse_fd, data_fd, ask.size, owner, &answer.id)
                               : -EMFILE;
            files += answer.error == 0;
        } else if (ask.kind == ASK_CLOSE && data_fd < 0) {
            files -= do_close(fuse_fd, ask.id) == 0 && files > 0;
            continue;
        }
        if (send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
            return -errno;
    }
}

int broker_run(int fd, int fuse_fd, uid_t owner, bool foreground)
{
    _cleanup_(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int std = 0; !foreground && null >= 0 && std < 3; std++)
        (void)dup2(null, std);
    /* Everything else goes: the mount ends with its last descriptor, and this is to be the last
     * process that has one only while the daemon lives. */
    int high_fd = fcntl(fd, F_DUPFD_CLOEXEC, 5), high_fuse = fcntl(fuse_fd, F_DUPFD_CLOEXEC, 5);
    if (high_fd < 0 || high_fuse < 0 || dup3(high_fd, 3, O_CLOEXEC) < 0 ||
        dup3(high_fuse, SANDBOX_FUSE_FD, O_CLOEXEC) < 0 || close_range(5, ~0U, 0) < 0)
        return 2;
    null = -1;
    if (sandbox_enter_broker() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
        sandbox_lock_broker() < 0)
        return 2;
    return broker_serve(3, SANDBOX_FUSE_FD, owner) < 0 ? 2 : 0;
}

/* --- the daemon's side --- */

int broker_pair(int ret_fds[2])
{
    const struct timeval patience = {.tv_sec = ANSWER_TIMEOUT_S};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
        return -errno;
    (void)setsockopt(ret_fds[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(ret_fds[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return 0;
}

static int say(int fd, const struct ask *ask, int data_fd)
{
    union control control = {.bytes = {0}};
    struct iovec iov = {(void *)ask, sizeof(*ask)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (data_fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
        control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS,
                                        .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(&control.head), &data_fd, sizeof(int));
    }
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == sizeof(*ask) ? 0 : n < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
}

static int hear(int fd, uint32_t *ret_id)
{
    struct answer answer = {0};
    ssize_t n;

    do
        n = recv(fd, &answer, sizeof(answer), MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
    if (n != sizeof(answer) || answer.error > 0 || answer.error < -4095)
        return -EPROTO;
    if (answer.error == 0 && (answer.id == 0 || answer.id > INT32_MAX))
        return -EPROTO;
    if (answer.error == 0)
        *ret_id = answer.id;
    return answer.error;
}

int broker_open(int fd, int data_fd, uint64_t size, uint32_t *ret_id)
{
    int r = say(fd, &(struct ask){.kind = ASK_OPEN, .size = size}, data_fd);
    return r < 0 ? r : hear(fd, ret_id);
}

int broker_close(int fd, uint32_t id)
{
    return say(fd, &(struct ask){.kind = ASK_CLOSE, .id = id}, -1);
}
