/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A FUSE daemon that means harm: it has the real broker register FILE, mounts a file at MOUNTPOINT
 * (which is one), writable for all, and answers every open with the registration. Then it does what
 * a user would: opens it for reading and for writing, and truncates it. Says on standard output how
 * each of them went, as an errno or as how many bytes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fused/broker.h"
#include "fused/init-patch.h"

struct open_out {
    uint64_t fh;
    uint32_t open_flags;
    uint32_t backing_id;
};

static int fuse_fd;
static uint32_t backing;
static struct stat st;
static struct init_patch patch = {.pass = true};

static void reply(const struct fuse_in_header *ask, int error, const void *body, size_t len)
{
    struct fuse_out_header head = {(uint32_t)(sizeof(head) + len), -error, ask->unique};
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)body, len}};

    (void)!writev(fuse_fd, iov, 2);
}

static void reply_init(const struct fuse_in_header *ask, size_t len)
{
    uint32_t out[16] = {7, 38, 65536, FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC, 8 << 16 | 10, 131072};
    struct fuse_out_header head = {sizeof(head) + sizeof(out), 0, ask->unique};
    struct iovec iov[2] = {{&head, sizeof(head)}, {out, sizeof(out)}};

    init_patch_request(&patch, ask, len);
    init_patch_reply(&patch, &head, sizeof(head), out, sizeof(out));
    (void)!writev(fuse_fd, iov, 2);
}

static void *serve(void *arg)
{
    static union {
        struct fuse_in_header head;
        char bytes[1 << 18];
    } ask;
    ssize_t n;

    (void)arg;
    while ((n = read(fuse_fd, ask.bytes, sizeof(ask.bytes))) > 0) {
        struct fuse_attr_out attr = {.attr = {.ino = 1, .mode = S_IFREG | 0666, .nlink = 1}};
        struct open_out open_out = {1, 1u << 7, backing};
        attr.attr.size = (uint64_t)st.st_size;
        if (ask.head.opcode == FUSE_INIT)
            reply_init(&ask.head, (size_t)n);
        else if (ask.head.opcode == FUSE_GETATTR || ask.head.opcode == FUSE_SETATTR)
            reply(&ask.head, 0, &attr, sizeof(attr));
        else if (ask.head.opcode == FUSE_OPEN)
            reply(&ask.head, 0, &open_out, sizeof(open_out));
        else if (ask.head.opcode != FUSE_FORGET)
            reply(&ask.head, ask.head.opcode == FUSE_RELEASE ? 0 : ENOSYS, NULL, 0);
    }
    return NULL;
}

/* As a user: no descriptor of the mount, no rights. */
static void use(const char *path)
{
    char buf[4096];
    int fd = open(path, O_RDONLY);

    printf("read %zd\n", fd < 0 ? -errno : read(fd, buf, sizeof(buf)));
    if (fd >= 0)
        close(fd);
    usleep(200000); /* RELEASE is not waited for */
    fd = open(path, O_RDWR);
    printf("write %zd\n", fd < 0 ? -errno : pwrite(fd, "harm", 4, 0));
    fd = open(path, O_WRONLY | O_TRUNC);
    printf("truncate %d\n", fd < 0 ? -errno : 0);
    fflush(stdout);
}

static int in_child(const char *path)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        close(fuse_fd);
        use(path);
        _exit(0);
    }
    return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    char words[128];
    int pair[2];
    pthread_t thread;

    int file = argc == 3 ? open(argv[1], O_RDONLY) : -1;
    fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (file < 0 || fuse_fd < 0 || fstat(file, &st) < 0 || broker_pair(pair) < 0)
        return 2;
    snprintf(words, sizeof(words), "fd=%d,rootmode=100000,user_id=0,group_id=0,allow_other",
             fuse_fd);
    if (mount("harm", argv[2], "fuse.harm", 0, words) < 0)
        return 2;
    if (fork() == 0)
        _exit(broker_run(pair[1], fuse_fd, st.st_uid, true));
    close(pair[1]);
    int r = pthread_create(&thread, NULL, serve, NULL);
    (void)access(argv[2], F_OK); /* comes back after INIT */
    if (r == 0)
        r = broker_open(pair[0], file, (uint64_t)st.st_size, &backing);
    printf("register %d\n", r);
    fflush(stdout);
    if (r == 0)
        r = in_child(argv[2]);
    (void)umount2(argv[2], MNT_DETACH);
    return r ? 1 : 0;
}
