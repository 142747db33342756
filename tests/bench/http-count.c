/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See http-count.h. A request line and three headers are all that is looked at. */
#include "tests/bench/http-count.h"

#include <string.h>
#include <strings.h>

#include "proto/base/must.h"

const char *const http_kind_names[HTTP_KINDS] = {
    [HTTP_GET] = "get", [HTTP_RANGE] = "range", [HTTP_HEAD] = "head",     [HTTP_LIST] = "list",
    [HTTP_PUT] = "put", [HTTP_POST] = "post",   [HTTP_DELETE] = "delete", [HTTP_OTHER] = "other",
};

struct text {
    const char *s;
    size_t len;
};

static bool text_has(struct text t, const char *word)
{
    return memmem(t.s, t.len, word, strlen(word)) != NULL;
}

/* The value of a header, or an empty text. `head` begins with the request line. */
static struct text header(struct text head, const char *name)
{
    size_t name_len = strlen(name);
    const char *end = head.s + head.len, *line = head.s;
    while ((line = memmem(line, (size_t)(end - line), "\r\n", 2))) {
        line += 2;
        if ((size_t)(end - line) <= name_len || strncasecmp(line, name, name_len) ||
            line[name_len] != ':')
            continue;
        const char *value = line + name_len + 1;
        const char *stop = memmem(value, (size_t)(end - value), "\r\n", 2);
        while (value < stop && *value == ' ')
            value++;
        return (struct text){value, (size_t)(stop - value)};
    }
    return (struct text){NULL, 0};
}

static bool number(struct text t, uint64_t *ret)
{
    uint64_t n = 0;
    if (t.len == 0 || t.len > 18)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        if (t.s[i] < '0' || t.s[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(t.s[i] - '0');
    }
    *ret = n;
    return true;
}

/* GET /bucket?list-type=2, GET /bucket/?delimiter=/ and GET /bucket list; GET /bucket?location does
 * not. */
static enum http_kind get_kind(struct text target, struct text head)
{
    const char *mark = memchr(target.s, '?', target.len);
    struct text path = {target.s, mark ? (size_t)(mark - target.s) : target.len};
    struct text query = {mark ? mark + 1 : "", mark ? target.len - path.len - 1 : 0};
    while (path.len && path.s[0] == '/') {
        path.s++;
        path.len--;
    }
    const char *slash = memchr(path.s, '/', path.len);
    if (!path.len || !slash || slash == path.s + path.len - 1) {
        static const char *const words[] = {
            "list-type=", "prefix=", "delimiter=", "max-keys=", "marker="};
        bool list = query.len == 0;
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
            list = list || text_has(query, words[i]);
        return list ? HTTP_LIST : HTTP_OTHER;
    }
    return header(head, "range").len ? HTTP_RANGE : HTTP_GET;
}

static enum http_kind kind_of(struct text method, struct text target, struct text head)
{
    static const struct {
        const char *method;
        enum http_kind kind;
    } kinds[] = {
        {"HEAD", HTTP_HEAD}, {"PUT", HTTP_PUT}, {"POST", HTTP_POST}, {"DELETE", HTTP_DELETE}};
    if (method.len == 3 && !memcmp(method.s, "GET", 3))
        return get_kind(target, head);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (method.len == strlen(kinds[i].method) && !memcmp(method.s, kinds[i].method, method.len))
            return kinds[i].kind;
    return HTTP_OTHER;
}

static bool give_up(struct http_count *c)
{
    c->opaque = true;
    return false;
}

bool http_count_head(struct http_count *c, const char *data, size_t len, enum http_kind *ret_kind)
{
    if (len && (data[0] < 'A' || data[0] > 'Z'))
        return give_up(c);
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end)
        return len >= HTTP_HEAD_MAX ? give_up(c) : false;
    struct text head = {data, (size_t)(end - data) + 2};
    const char *eol = memmem(data, head.len, "\r\n", 2);
    const char *space = memchr(data, ' ', (size_t)(eol - data));
    const char *last = space ? memchr(space + 1, ' ', (size_t)(eol - space - 1)) : NULL;
    if (!last)
        return give_up(c);
    struct text length = header(head, "content-length");
    uint64_t body = 0;
    if (header(head, "transfer-encoding").len || (length.len && !number(length, &body)))
        return give_up(c);
    struct text method = {data, (size_t)(space - data)};
    struct text target = {space + 1, (size_t)(last - space - 1)};
    *ret_kind = kind_of(method, target, head);
    c->left = head.len + 2 + body;
    return true;
}
