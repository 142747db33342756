/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Lists of name/value pairs in memory, and the one text form in which they stand in files below
 * .hafiz (records and uploads). The text may have been changed by others: lengths are checked on
 * reading. */
#include "s3proxyd/file/file-attr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"

/* Every pair's head line is shorter than this. */
#define HEAD_MAX_BYTES (PROTO_NAME_MAX_BYTES + 32u)
#define TEXT_MAX_BYTES (FILE_ATTR_MAX_BYTES + (FILE_ATTR_MAX + 8) * HEAD_MAX_BYTES)

void file_attrs_fini(struct file_attrs *attrs)
{
    for (size_t i = 0; i < attrs->n; i++) {
        free(attrs->pairs[i].name);
        free(attrs->pairs[i].value);
    }
    free(attrs->pairs);
    *attrs = FILE_ATTRS_NULL;
}

int file_attrs_add(struct file_attrs *attrs, const char *prefix, const char *name,
                   const char *value)
{
    size_t bytes = strlen(prefix) + strlen(name) + strlen(value);
    struct store_pair *pairs, pair;

    if (attrs->n >= FILE_ATTR_MAX || bytes > FILE_ATTR_MAX_BYTES - attrs->bytes)
        return -E2BIG;
    if (strlen(prefix) + strlen(name) > PROTO_NAME_MAX_BYTES || strpbrk(name, " \n"))
        return -EINVAL;
    pairs = realloc(attrs->pairs, (attrs->n + 1) * sizeof(*pairs));
    if (!pairs)
        return -ENOMEM;
    attrs->pairs = pairs;
    pair.name = str_dup_printf("%s%s", prefix, name);
    pair.value = strdup(value);
    if (!pair.name || !pair.value) {
        free(pair.name);
        free(pair.value);
        return -ENOMEM;
    }
    attrs->pairs[attrs->n++] = pair;
    attrs->bytes += bytes;
    return 0;
}

int file_attrs_from_req(struct file_attrs *attrs, const struct store_req *req)
{
    int r = 0;

    if (req->content_type)
        r = file_attrs_add(attrs, "", FILE_ATTR_TYPE, req->content_type);
    for (size_t i = 0; i < req->nuser && r == 0; i++)
        r = file_attrs_add(attrs, FILE_ATTR_META, req->user[i].name, req->user[i].value);
    return r;
}

int file_attrs_to_meta(const struct file_attrs *attrs, struct store_meta *meta)
{
    const size_t skip = sizeof(FILE_ATTR_META) - 1;

    if (attrs->n == 0)
        return 0;
    meta->user = calloc(attrs->n, sizeof(*meta->user));
    if (!meta->user)
        return -ENOMEM;
    for (size_t i = 0; i < attrs->n; i++) {
        const struct store_pair *from = &attrs->pairs[i];
        struct store_pair *to = &meta->user[meta->nuser];

        if (strcmp(from->name, FILE_ATTR_TYPE) == 0 && !meta->content_type) {
            meta->content_type = strdup(from->value);
            if (!meta->content_type)
                return -ENOMEM;
        }
        if (!str_starts(from->name, FILE_ATTR_META))
            continue;
        meta->nuser++; /* counted first: whoever frees meta frees halves too */
        to->name = strdup(from->name + skip);
        to->value = strdup(from->value);
        if (!to->name || !to->value)
            return -ENOMEM;
    }
    return 0;
}

int file_attrs_write(const struct file_attrs *attrs, int fd)
{
    _cleanup_(str_fini) struct str text = STR_NULL;
    int r = 0;

    for (size_t i = 0; i < attrs->n && r == 0; i++)
        r = str_addf(&text, "%s %zu\n%s\n", attrs->pairs[i].name, strlen(attrs->pairs[i].value),
                     attrs->pairs[i].value);
    return r < 0 || text.len == 0 ? r : fd_write_full(fd, text.s, text.len);
}

/* One pair at *at; advances. */
static int parse_pair(char **at, char *end, struct file_attrs *ret)
{
    char *nl = memchr(*at, '\n', (size_t)(end - *at));
    char *space, *value;
    uint64_t len;

    if (!nl)
        return -EIO;
    *nl = '\0';
    space = strrchr(*at, ' ');
    value = nl + 1;
    if (!space || str_to_u64(space + 1, 10, &len) < 0 || len >= (uint64_t)(end - value) ||
        value[len] != '\n' || memchr(value, '\0', (size_t)len))
        return -EIO;
    *space = value[len] = '\0';
    int r = file_attrs_add(ret, "", *at, value);

    *at = value + len + 1;
    return r == -E2BIG || r == -EINVAL ? -EIO : r;
}

int file_attrs_read(int fd, struct file_attrs *ret_attrs)
{
    _cleanup_(freep) char *text = malloc(TEXT_MAX_BYTES);
    size_t len;
    int r = text ? fd_pread_full(fd, text, TEXT_MAX_BYTES, 0, &len) : -ENOMEM;

    if (r < 0)
        return r;
    for (char *at = text; at < text + len && r == 0;)
        r = parse_pair(&at, text + len, ret_attrs);
    return r;
}
