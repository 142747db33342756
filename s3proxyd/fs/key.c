/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Names and keys. A key that cannot be a path (empty component, ".", "..", over-long or not UTF-8) is
 * hidden, never renamed; a name that cannot be a key is refused before anything is sent. */
#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/fs/fs.h"

int key_name_check(const char *name, size_t len)
{
    if (len == 0 || memchr(name, '/', len) || memchr(name, 0, len))
        return -EINVAL;
    if (len > PROTO_NAME_MAX_BYTES)
        return -ENAMETOOLONG;
    if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
        return -EINVAL;
    if (!str_utf8_ok(name, len))
        return -EILSEQ;
    return 0;
}

const char *key_entry_name(const char *key, size_t key_len, size_t prefix_len, size_t *ret_len)
{
    if (key_len <= prefix_len)
        return NULL;
    const char *name = key + prefix_len;
    size_t len = key_len - prefix_len;
    if (name[len - 1] == '/')
        len--;
    if (key_name_check(name, len) < 0)
        return NULL;
    *ret_len = len;
    return name;
}

/* Appends the key of `inode`, which must be a directory, with its final '/'. */
static int dir_key_add(struct str *out, const struct inode *dir, unsigned depth)
{
    if (!dir->parent)
        return dir->gone ? -ESTALE : 0;
    if (depth > PROTO_KEY_MAX_BYTES)
        return -ENAMETOOLONG;
    int r = dir_key_add(out, dir->parent, depth + 1);
    if (r < 0)
        return r;
    r = str_add(out, dir->name);
    return r < 0 ? r : str_add(out, "/");
}

static int finish_key(struct str *out, char **ret_key)
{
    if (out->len > PROTO_KEY_MAX_BYTES)
        return -ENAMETOOLONG;
    if (!out->s && str_add(out, "") < 0)
        return -ENOMEM;
    *ret_key = take(out->s);
    return *ret_key ? 0 : -ENOMEM;
}

int inode_child_key(const struct inode *parent, const char *name, bool is_dir, char **ret_key)
{
    _cleanup_(str_fini) struct str out = STR_NULL;
    int r = dir_key_add(&out, parent, 0);
    if (r < 0)
        return r;
    r = str_add(&out, name);
    if (r == 0 && is_dir)
        r = str_add(&out, "/");
    return r < 0 ? r : finish_key(&out, ret_key);
}

int inode_key(const struct inode *inode, char **ret_key)
{
    if (inode->gone)
        return -ESTALE;
    if (inode->parent)
        return inode_child_key(inode->parent, inode->name, inode->is_dir, ret_key);
    *ret_key = strdup("");
    return *ret_key ? 0 : -ENOMEM;
}

char *inode_path(const struct inode *inode, const struct inode *root)
{
    _cleanup_(freep) char *key = NULL, *base = NULL;
    if (inode_key(inode, &key) < 0 || inode_key(root, &base) < 0)
        return strdup(inode->name ? inode->name : "");
    size_t skip = strlen(base);
    return strdup(strncmp(key, base, skip) == 0 ? key + skip : key);
}
