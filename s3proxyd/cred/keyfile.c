/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The one way in which files with keys are read. Opened without blocking: a FIFO of that name
 * must not hang the program. */
#include "s3proxyd/cred/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

static int read_text(int fd, size_t size, struct keyfile *ret_file)
{
    size_t len = 0;
    char *text = malloc(size + 1);

    if (!text)
        return -ENOMEM;
    while (len < size) {
        ssize_t n = read(fd, text + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int r = -errno;

            explicit_bzero(text, size);
            free(text);
            return r;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    ret_file->text = text;
    ret_file->len = len;
    return 0;
}

int keyfile_read(const char *path, bool follow, struct keyfile *ret_file)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW);
    _cleanup_(closep) int fd = open(path, flags);
    struct stat st;
    int r;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size > (off_t)KEYFILE_MAX_BYTES)
        return -EFBIG;
    r = read_text(fd, (size_t)st.st_size, ret_file);
    if (r == 0)
        ret_file->st = st;
    return r;
}

void keyfile_fini(struct keyfile *file)
{
    if (file->text)
        explicit_bzero(file->text, file->len);
    free(file->text);
    *file = KEYFILE_NULL;
}
