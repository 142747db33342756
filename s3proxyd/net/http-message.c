/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What of an exchange needs no libcurl: the reply's header section, kept as "Name\0Value\0..." in
 * one buffer, and the request's body. */
#include "s3proxyd/net/http.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proto/base/must.h"

int http_head_add(struct http *x, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : 0;
    const char *end = line + len, *value = colon + 1;

    if (!name_len || memchr(line, '\0', len))
        return 0; /* blank, or nonsense nobody will look up */
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && strchr("\r\n\t ", end[-1]))
        end--;
    if (x->head.len + len + 2 > HTTP_HEAD_MAX_BYTES)
        return -E2BIG;
    if (str_addn(&x->head, line, name_len) < 0 || str_addn(&x->head, "", 1) < 0 ||
        str_addn(&x->head, value, (size_t)(end - value)) < 0 || str_addn(&x->head, "", 1) < 0)
        return -ENOMEM;
    return 0;
}

bool http_header_next(const struct http *x, size_t *pos, const char **ret_name,
                      const char **ret_value)
{
    if (*pos >= x->head.len)
        return false;
    *ret_name = x->head.s + *pos;
    *ret_value = *ret_name + strlen(*ret_name) + 1;
    *pos = (size_t)(*ret_value - x->head.s) + strlen(*ret_value) + 1;
    return true;
}

const char *http_header(const struct http *x, const char *name)
{
    const char *have, *value;
    size_t pos = 0;

    while (http_header_next(x, &pos, &have, &value)) {
        if (!strcasecmp(have, name))
            return value;
    }
    return NULL;
}

int http_body_read(struct http *x, void *into, size_t max, size_t *ret_got)
{
    size_t len = (size_t)MIN((uint64_t)max, x->body.length - x->body_done);
    ssize_t got = (ssize_t)len;

    if (len && x->body.fd < 0)
        memcpy(into, (const char *)x->body.memory + x->body_done, len);
    else if (len)
        got = pread(x->body.fd, into, len, (off_t)(x->body.offset + x->body_done));
    if (got < 0)
        return -errno;
    if (len && got == 0) /* shorter than promised: somebody truncated it */
        return -EIO;
    x->body_done += (uint64_t)got;
    x->bytes_out += (uint64_t)got;
    *ret_got = (size_t)got;
    return 0;
}

void http_fini(struct http *x)
{
    str_fini(&x->head);
}
