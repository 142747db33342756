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

/* Own definitions: the headers of Debian 12 end at ABI 2. */
#define LANDLOCK_VERSION_FLAG 1u
struct landlock_attr {
    uint64_t fs, net, scoped;
};

static void landlock_enter(void)
{
    static const uint64_t fs_bits[] = {0, 13, 14, 15, 15, 16}; /* rights known to ABI 1, 2, … */
    struct landlock_attr attr = {0};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);

    if (abi < 1) {
        log_debug("sandbox", "no Landlock: %m");
        return;
    }
    attr.fs = (1ull << fs_bits[MIN(abi, (long)ARRAY_SIZE(fs_bits) - 1)]) - 1;
    attr.net = abi >= 4 ? 3 : 0; /* bind, connect */
    attr.scoped =
        abi >= 6 ? 1 : 0; /* abstract sockets; signals stay, foreign.c asks with signal 0 */
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    _cleanup_(closep) int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        log_warn("sandbox", "Landlock refused: %m");
}

static int drop_privileges(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}, {0}};

    for (unsigned long cap = 0; cap < 64; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* for root only; unknown ones fail */
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                           setresuid(NOBODY, NOBODY, NOBODY) < 0))
        log_warn("sandbox",
                 "staying root without capabilities: %m"); /* a user namespace without nobody */
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
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
    int r = drop_privileges();
    if (r < 0)
        return r;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    landlock_enter();
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
int sandbox_lock(void)
{
    return 0; /* the sanitizers' own threads and reports need more than the daemon does */
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

int sandbox_lock(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    int r = ctx ? 0 : -ENOMEM;

    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(calls); i++) {
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
        if (r == -EDOM) /* a call this architecture does not have */
            r = 0;
    }
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
