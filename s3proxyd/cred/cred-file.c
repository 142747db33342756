/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The password file of s3fs, so that one who comes from there brings it along. Its rules are
 * kept: lines `ak:sk` or `bucket:ak:sk`, comments, no blanks; a bucket named twice is an error;
 * no bit for others, none for the group unless it is /etc/passwd-s3fs, never executable. s3fs
 * checks the path and opens it afterwards; here the open file is checked, a link refused, and
 * the owner must be root or this user. */
#include "s3proxyd/cred/cred.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "s3proxyd/cred/keyfile.h"

#define SYSTEM_FILE "/etc/passwd-s3fs"

struct span {
    const char *s;
    size_t len;
};

struct line { /* one parsed line; bucket.len 0: for every bucket without a line of its own */
    struct span bucket, access_key, secret;
};

static int refuse(const char *why, int error, const char **ret_why)
{
    if (ret_why)
        *ret_why = why;
    return error;
}

static int check_mode(const char *path, const struct stat *st, const char **ret_why)
{
    bool system_file = strcmp(path, SYSTEM_FILE) == 0;

    if (st->st_uid != 0 && st->st_uid != geteuid())
        return refuse("the password file belongs to another user", -EACCES, ret_why);
    if (st->st_mode & S_IRWXO)
        return refuse("the password file must not be open to others (chmod 600)", -EACCES, ret_why);
    if ((st->st_mode & S_IRWXG) && !system_file)
        return refuse("the password file must not be open to its group (chmod 600)", -EACCES,
                      ret_why);
    if (st->st_mode & S_IWGRP)
        return refuse("the password file must not be writable by its group (chmod 640)", -EACCES,
                      ret_why);
    if (st->st_mode & (S_IXUSR | S_IXGRP))
        return refuse("the password file must not be executable (chmod 600)", -EACCES, ret_why);
    return 0;
}

static struct span trim(const char *s, const char *end)
{
    while (s < end && strchr(" \t\r\n", *s))
        s++;
    while (end > s && strchr(" \t\r\n", end[-1]))
        end--;
    return (struct span){s, (size_t)(end - s)};
}

static int parse_line(struct span text, struct line *ret, const char **ret_why)
{
    const char *end = text.s + text.len;
    const char *first = memchr(text.s, ':', text.len), *last = end;

    if (memchr(text.s, ' ', text.len) || memchr(text.s, '\t', text.len))
        return refuse("the password file has a line with blanks", -EINVAL, ret_why);
    if (text.s[0] == '[')
        return refuse("the password file has a line that begins with a bracket", -EINVAL, ret_why);
    if (!first)
        return refuse("the password file has a line without a colon", -EINVAL, ret_why);
    while (*--last != ':')
        ;
    *ret = (struct line){{text.s, 0}, {text.s, (size_t)(first - text.s)}, {NULL, 0}};
    if (first != last) {
        ret->bucket = ret->access_key;
        ret->access_key = (struct span){first + 1, (size_t)(last - first - 1)};
        if (ret->bucket.len == 0)
            return refuse("the password file has a line with an empty bucket", -EINVAL, ret_why);
    }
    ret->secret = (struct span){last + 1, (size_t)(end - last - 1)};
    if (ret->access_key.len == 0 || ret->secret.len == 0)
        return refuse("the password file has a line with an empty key", -EINVAL, ret_why);
    return 0;
}

static bool same_bucket(const struct line *a, const struct line *b)
{
    return a->bucket.len == b->bucket.len && memcmp(a->bucket.s, b->bucket.s, a->bucket.len) == 0;
}

/* Takes the next line that says something off *at. 1: *ret is set; 0: no more. */
static int next_line(const char **at, const char *end, struct line *ret, const char **ret_why)
{
    while (*at < end) {
        const char *nl = memchr(*at, '\n', (size_t)(end - *at));
        struct span text = trim(*at, nl ? nl : end);
        int r;

        *at = nl ? nl + 1 : end;
        if (text.len == 0 || text.s[0] == '#')
            continue;
        if (memchr(text.s, '\0', text.len))
            return refuse("the password file has a line with a zero byte", -EINVAL, ret_why);
        r = parse_line(text, ret, ret_why);
        return r < 0 ? r : 1;
    }
    return 0;
}

/* Does a line after `at` name the same bucket as `line`? */
static int named_again(const struct line *line, const char *at, const char *end,
                       const char **ret_why)
{
    struct line other;
    int r;

    while ((r = next_line(&at, end, &other, ret_why)) > 0)
        if (same_bucket(line, &other))
            return refuse("the password file has two lines for one bucket", -EINVAL, ret_why);
    return r;
}

static int choose(const char *text, size_t len, const char *bucket, struct line *ret,
                  const char **ret_why)
{
    const char *at = text, *end = text + len;
    bool found = false, exact = false;
    struct line line;
    int r;

    while ((r = next_line(&at, end, &line, ret_why)) > 0) {
        bool mine = bucket && line.bucket.len == strlen(bucket) &&
                    memcmp(line.bucket.s, bucket, line.bucket.len) == 0 && line.bucket.len > 0;

        r = named_again(&line, at, end, ret_why);
        if (r < 0)
            return r;
        if (!mine && (line.bucket.len > 0 || exact))
            continue;
        *ret = line;
        found = true;
        exact = mine;
    }
    if (r < 0)
        return r;
    return found ? 0 : refuse("the password file has no keys for this bucket", -ENOENT, ret_why);
}

int cred_new_passwd_file(const char *path, const char *bucket, struct cred **ret,
                         const char **ret_why)
{
    _cleanup_(keyfile_fini) struct keyfile file = KEYFILE_NULL;
    struct line line = {0};
    int r = keyfile_read(path, false, &file);

    if (r == -ELOOP)
        return refuse("the password file is a symbolic link", -EACCES, ret_why);
    if (r == -EISDIR || r == -EINVAL)
        return refuse("the password file is not a regular file", -EINVAL, ret_why);
    if (r == -EFBIG)
        return refuse("the password file is too large", -EINVAL, ret_why);
    if (r < 0)
        return refuse(r == -ENOENT   ? "the password file does not exist"
                      : r == -EACCES ? "the password file cannot be read by this user"
                                     : "the password file cannot be read",
                      r, ret_why);
    r = check_mode(path, &file.st, ret_why);
    if (r == 0)
        r = choose(file.text, file.len, bucket, &line, ret_why);
    if (r < 0)
        return r;
    r = cred_new_static(line.access_key.s, line.access_key.len, line.secret.s, line.secret.len,
                        NULL, 0, ret);
    if (r == -EINVAL)
        return refuse("the password file has a key with unexpected bytes", r, ret_why);
    return r < 0 ? refuse("out of memory", r, ret_why) : 0;
}
