/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Where attributes stand: xattrs first, a record when the file system says no. One object never
 * uses both: what save() could not put into xattrs goes into the record as a whole. */
#include "s3proxyd/file/file-attr.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/digest.h"
#include "s3proxyd/file/file-io.h"
#include "s3proxyd/file/file-path.h"

#define XATTR_PREFIX "user.hafiz."
#define LIST_MAX_BYTES (64u * 1024) /* the kernel's XATTR_LIST_MAX */
#define RECORD_ETAG "etag"

static bool unsupported(int error)
{
    return error == ENOTSUP || error == EPERM || error == ENOSYS;
}

/* .hafiz/meta/<digest of the key>. */
static int record_name(const char *key, char name[DIGEST_SHA256_HEX_SIZE])
{
    return digest_sha256_hex(key, strlen(key), name);
}

/* What a record is bound to; directories change their size and mtime by themselves. */
static int record_etag(int fd, char *buf)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    file_io_etag(&st, buf);
    return 0;
}

static int record_load(struct file_store *fs, int fd, const char *key, struct file_attrs *ret)
{
    char name[DIGEST_SHA256_HEX_SIZE], etag[FILE_IO_ETAG_SIZE];
    _cleanup_(file_attrs_fini) struct file_attrs all = FILE_ATTRS_NULL;
    _cleanup_(closep) int dir = file_path_open(fs, FILE_PRIVATE_DIR "/meta", O_PATH | O_DIRECTORY);
    _cleanup_(closep) int rec = -1;
    int r;

    if (dir < 0)
        return file_path_absent(dir) ? 0 : dir;
    r = record_name(key, name);
    if (r < 0)
        return r;
    rec = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (rec < 0)
        return errno == ENOENT ? 0 : -errno;
    r = file_attrs_read(rec, &all);
    if (r == 0)
        r = record_etag(fd, etag);
    if (r < 0)
        return r;
    if (all.n == 0 || !str_eq(all.pairs[0].name, RECORD_ETAG) || !str_eq(all.pairs[0].value, etag))
        return 0; /* of a file that is no more */
    for (size_t i = 1; i < all.n; i++) {
        r = file_attrs_add(ret, "", all.pairs[i].name, all.pairs[i].value);
        if (r < 0)
            return r;
    }
    return 0;
}

int file_attr_save_record(struct file_store *fs, int fd, const char *key,
                          const struct file_attrs *attrs)
{
    char name[DIGEST_SHA256_HEX_SIZE], etag[FILE_IO_ETAG_SIZE];
    _cleanup_(file_attrs_fini) struct file_attrs all = FILE_ATTRS_NULL;
    _cleanup_(file_io_temp_fini) struct file_io_temp temp = FILE_IO_TEMP_NULL;
    _cleanup_(closep) int dir = file_path_private(fs, "meta");
    int r = dir < 0 ? dir : record_name(key, name);

    if (r == 0)
        r = record_etag(fd, etag);
    if (r == 0)
        r = file_attrs_add(&all, "", RECORD_ETAG, etag);
    for (size_t i = 0; i < attrs->n && r == 0; i++)
        r = file_attrs_add(&all, "", attrs->pairs[i].name, attrs->pairs[i].value);
    if (r == 0)
        r = file_io_temp_open(fs, &temp);
    if (r == 0)
        r = file_attrs_write(&all, temp.fd);
    if (r == 0 && fdatasync(temp.fd) < 0)
        r = -errno;
    if (r < 0)
        return r;
    fs->has_records = true;
    return file_io_temp_rename(&temp, dir, name);
}

void file_attr_drop(struct file_store *fs, const char *key)
{
    char name[DIGEST_SHA256_HEX_SIZE];
    _cleanup_(closep) int dir = -1;

    if (!fs->has_records || record_name(key, name) < 0)
        return;
    dir = file_path_open(fs, FILE_PRIVATE_DIR "/meta", O_PATH | O_DIRECTORY);
    if (dir >= 0)
        (void)unlinkat(dir, name, 0);
}

/* Adds one xattr of ours to *ret. One that vanishes or grows meanwhile is left out. */
static int load_one(int fd, const char *xattr, char *buf, struct file_attrs *ret)
{
    ssize_t len = fgetxattr(fd, xattr, buf, FILE_ATTR_MAX_BYTES);

    if (len < 0)
        return errno == ENODATA || errno == ERANGE ? 0 : -errno;
    if (memchr(buf, '\0', (size_t)len))
        return 0; /* not written by us */
    buf[len] = '\0';
    return file_attrs_add(ret, "", xattr + sizeof(XATTR_PREFIX) - 1, buf);
}

static int xattrs_load(int fd, const char *list, size_t len, struct file_attrs *ret)
{
    _cleanup_(freep) char *buf = NULL;
    int r = 0;

    for (const char *at = list; at < list + len && r == 0; at += strlen(at) + 1) {
        if (!str_starts(at, XATTR_PREFIX))
            continue;
        if (!buf && !(buf = malloc(FILE_ATTR_MAX_BYTES + 1)))
            return -ENOMEM;
        r = load_one(fd, at, buf, ret);
    }
    return r;
}

int file_attr_load(struct file_store *fs, int fd, const char *key, struct file_attrs *ret_attrs)
{
    _cleanup_(freep) char *list = NULL;
    ssize_t len = flistxattr(fd, NULL, 0);
    int r;

    if (len < 0 && !unsupported(errno))
        return -errno;
    if (len <= 0)
        return len < 0 || fs->has_records ? record_load(fs, fd, key, ret_attrs) : 0;
    list = malloc(LIST_MAX_BYTES);
    if (!list)
        return -ENOMEM;
    len = flistxattr(fd, list, LIST_MAX_BYTES);
    if (len < 0)
        return -errno;
    r = xattrs_load(fd, list, (size_t)len, ret_attrs);
    if (r == 0 && ret_attrs->n == 0 && fs->has_records)
        r = record_load(fs, fd, key, ret_attrs);
    return r;
}

static int xattr_set(int fd, const struct store_pair *pair)
{
    char name[sizeof(XATTR_PREFIX) + PROTO_NAME_MAX_BYTES];

    if ((size_t)snprintf(name, sizeof(name), XATTR_PREFIX "%s", pair->name) > XATTR_NAME_MAX)
        return -ERANGE;
    return fsetxattr(fd, name, pair->value, strlen(pair->value), 0) < 0 ? -errno : 0;
}

static void xattr_remove(int fd, const char *pair_name)
{
    char name[sizeof(XATTR_PREFIX) + PROTO_NAME_MAX_BYTES];

    (void)snprintf(name, sizeof(name), XATTR_PREFIX "%s", pair_name);
    (void)fremovexattr(fd, name);
}

int file_attr_save_xattrs(int fd, const struct file_attrs *attrs)
{
    size_t i;
    int r = 0;

    for (i = 0; i < attrs->n && r == 0; i++)
        r = xattr_set(fd, &attrs->pairs[i]);
    if (r == 0)
        return 0;
    while (i-- > 0)
        xattr_remove(fd, attrs->pairs[i].name);
    /* Not supported, or more than fits beside the inode. */
    if (unsupported(-r) || r == -ENOSPC || r == -E2BIG || r == -ERANGE || r == -EDQUOT)
        return -ENOTSUP;
    return r;
}

int file_attr_save(struct file_store *fs, int fd, const char *key, const struct file_attrs *attrs)
{
    int r = file_attr_save_xattrs(fd, attrs);

    if (r == -ENOTSUP)
        return file_attr_save_record(fs, fd, key, attrs);
    if (r == 0)
        file_attr_drop(fs, key);
    return r;
}

int file_attr_replace(struct file_store *fs, int fd, const char *key,
                      const struct file_attrs *attrs)
{
    _cleanup_(file_attrs_fini) struct file_attrs old = FILE_ATTRS_NULL;
    int r = file_attr_load(fs, fd, key, &old);

    if (r < 0)
        return r;
    for (size_t i = 0; i < old.n; i++)
        xattr_remove(fd, old.pairs[i].name);
    return file_attr_save(fs, fd, key, attrs);
}

bool file_attr_is_implicit(struct file_store *fs, int fd, const char *key)
{
    _cleanup_(file_attrs_fini) struct file_attrs attrs = FILE_ATTRS_NULL;
    char value[8];

    if (fgetxattr(fd, XATTR_PREFIX FILE_ATTR_IMPLICIT, value, sizeof(value)) >= 0)
        return true;
    if (!unsupported(errno) && !fs->has_records)
        return false;
    if (record_load(fs, fd, key, &attrs) < 0)
        return false;
    for (size_t i = 0; i < attrs.n; i++)
        if (str_eq(attrs.pairs[i].name, FILE_ATTR_IMPLICIT))
            return true;
    return false;
}

int file_attr_set_implicit(struct file_store *fs, int fd, const char *key, bool implicit)
{
    struct store_pair pair = {(char[]){FILE_ATTR_IMPLICIT}, (char[]){"1"}};
    struct file_attrs attrs = {&pair, 1, 0};

    if (implicit)
        return file_attr_save(fs, fd, key, &attrs);
    file_attr_drop(fs, key);
    if (fremovexattr(fd, XATTR_PREFIX FILE_ATTR_IMPLICIT) < 0 && errno != ENODATA &&
        !unsupported(errno))
        return -errno;
    return 0;
}
