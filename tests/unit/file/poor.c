/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A poorer system, linked in by --wrap: a file system without xattrs and a kernel without
 * openat2(). All tests of objects run on it as well. */
#include <errno.h>
#include <stddef.h>
#include <sys/types.h>

int __wrap_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags);
ssize_t __wrap_fgetxattr(int fd, const char *name, void *value, size_t size);
ssize_t __wrap_flistxattr(int fd, char *list, size_t size);
int __wrap_fremovexattr(int fd, const char *name);
long __wrap_syscall(long number, ...);

int __wrap_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    (void)fd, (void)name, (void)value, (void)size, (void)flags;
    errno = ENOTSUP;
    return -1;
}

ssize_t __wrap_fgetxattr(int fd, const char *name, void *value, size_t size)
{
    (void)fd, (void)name, (void)value, (void)size;
    errno = ENOTSUP;
    return -1;
}

ssize_t __wrap_flistxattr(int fd, char *list, size_t size)
{
    (void)fd, (void)list, (void)size;
    errno = ENOTSUP;
    return -1;
}

int __wrap_fremovexattr(int fd, const char *name)
{
    (void)fd, (void)name;
    errno = ENOTSUP;
    return -1;
}

long __wrap_syscall(long number, ...) /* the file store makes no other call by number */
{
    (void)number;
    errno = ENOSYS;
    return -1;
}
