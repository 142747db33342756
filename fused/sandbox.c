/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A daemon taken over through the kernel's or the backend's bytes should find nothing: no key is in
 * this process, no file can be opened, no process started, no socket made. Landlock is used as far
 * as the kernel has it; a missing seccomp is an error, since every kernel we run on has it. */
#include "fused/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"

#define NOBODY 65534u
#define BROKER_FDS 16u /* its own five, and what one question brings */

/* Own definitions: the headers of Debian 12 end at ABI 2. */
#define LANDLOCK_VERSION_FLAG 1u
struct landlock_attr {
    uint64_t fs, net, scoped;
};

static void landlock_enter(bool files)
{
    static const uint64_t fs_bits[] = {0, 13, 14, 15, 15, 16}; /* rights known to ABI 1, 2, … */
    struct landlock_attr attr = {0};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);

    if (abi < 1) {
        log_debug("sandbox", "no Landlock: %m");
        return;
    }
    if (files)
        attr.fs = (1ull << fs_bits[MIN(abi, (long)ARRAY_SIZE(fs_bits) - 1)]) - 1;
    else if (abi < 4)
        return; /* nothing but files could be forbidden */
    attr.net = abi >= 4 ? 3 : 0; /* bind, connect */
    attr.scoped =
        abi >= 6 ? 1 : 0; /* abstract sockets; signals stay, foreign.c asks with signal 0 */
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    _cleanup_(closep) int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        log_warn("sandbox", "Landlock refused: %m");
}

/* keep: a set of the first 32 capabilities. */
static int drop_privileges(uint32_t keep)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct kept[2] = {{.effective = keep, .permitted = keep}, {0}};

    for (unsigned long cap = 0; cap < 64; cap++)
        if (cap >= 32 || !(keep >> cap & 1))
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* for root only; unknown ones fail */
    if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return -errno;
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                           setresuid(NOBODY, NOBODY, NOBODY) < 0))
        log_warn("sandbox",
                 "staying root without capabilities: %m"); /* a user namespace without nobody */
    return syscall(SYS_capset, &head, kept) < 0 ? -errno : 0;
}

int sandbox_enter(void)
{
    const struct rlimit no_core = {0, 0};
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* each open file of a user is one of ours */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
        return -errno;
    int r = drop_privileges(0);
    if (r < 0)
        return r;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    landlock_enter(true);
    return 0;
}

int sandbox_enter_broker(void)
{
    const struct rlimit few = {BROKER_FDS, BROKER_FDS}, none = {0, 0};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
        setrlimit(RLIMIT_NOFILE, &few) < 0)
        return -errno;
    int r = drop_privileges(1u << CAP_SYS_ADMIN);
    if (r < 0)
        return r;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    /* What is registered is opened by the kernel with our credentials: rules for files would count. */
    landlock_enter(false);
    return 0;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifdef SANITIZED
/* The sanitizers' own threads and reports need more than these programs do. */
int sandbox_lock(void)
{
    return 0;
}

int sandbox_lock_broker(void)
{
    return 0;
}
#else
static const int calls[] = {
    /* descriptors we have */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(shutdown),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(fcntl),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek),
    /* memory; mmap and mprotect are below */
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk),
    /* threads, time, the process itself */
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(getpid),
    SCMP_SYS(gettid), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(tgkill), /* abort(), and foreign.c */
};

static int allow(scmp_filter_ctx ctx, const int *list, size_t n)
{
    int r = ctx ? seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

    for (size_t i = 0; r == 0 && i < n; i++) {
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, list[i], 0);
        if (r == -EDOM) /* a call this architecture does not have */
            r = 0;
    }
    return r;
}

static const int broker_calls[] = {
    SCMP_SYS(recvmsg), SCMP_SYS(sendto),       SCMP_SYS(close), SCMP_SYS(fcntl),
    SCMP_SYS(fstat),   SCMP_SYS(newfstatat),   SCMP_SYS(exit),  SCMP_SYS(exit_group),
    SCMP_SYS(munmap),  SCMP_SYS(rt_sigreturn),
};

int sandbox_lock_broker(void)
{
    const struct scmp_arg_cmp fuse = SCMP_A0(SCMP_CMP_EQ, SANDBOX_FUSE_FD);
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = allow(ctx, broker_calls, ARRAY_SIZE(broker_calls));

    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 2, fuse,
                             SCMP_A1(SCMP_CMP_EQ, SANDBOX_BACKING_OPEN));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 2, fuse,
                             SCMP_A1(SCMP_CMP_EQ, SANDBOX_BACKING_CLOSE));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(open_tree), 1,
                             SCMP_A2(SCMP_CMP_EQ, SANDBOX_OPEN_TREE_FLAGS));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mount_setattr), 1,
                             SCMP_A2(SCMP_CMP_EQ, AT_EMPTY_PATH));
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}

int sandbox_lock(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    int r = allow(ctx, calls, ARRAY_SIZE(calls));

    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, no_exec);
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_exec);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}
#endif
