/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* SOURCE, checked before anybody is asked: what cannot be a bucket or a prefix is refused here with
 * a line that says which part is wrong, instead of as an odd answer of some server. */
#include "fused/source.h"

#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "proto/limits.h"

static int fail(char **why, char *text)
{
    *why = text;
    return text ? -EINVAL : -ENOMEM;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

/* No "", "." or ".." between slashes: no directory below such a prefix could have a name. */
static bool components_ok(const char *s)
{
    while (*s) {
        size_t len = strcspn(s, "/");
        if (len == 0 || (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.') ||
            len > PROTO_NAME_MAX_BYTES)
            return false;
        s += len;
        s += *s == '/';
    }
    return true;
}

static int set_prefix(struct source *s, const char *text, char **why)
{
    text += *text == '/';
    if (!components_ok(text))
        return fail(
            why, str_dup_printf("the prefix '%s' has an empty, '.', '..' or too long part", text));
    size_t len = strlen(text);
    if (len + 1 > PROTO_KEY_MAX_BYTES)
        return fail(why, str_dup_printf("the prefix is longer than a key may be"));
    s->prefix = str_dup_printf("%s%s", text, len == 0 || text[len - 1] == '/' ? "" : "/");
    return s->prefix ? 0 : -ENOMEM;
}

static int set_bucket(struct source *s, const char *name, size_t len, char **why)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

    if (len == 0)
        return fail(why, str_dup_printf("the bucket's name is missing"));
    if (memchr(name, '@', len))
        return fail(why, str_dup_printf("keys do not belong into SOURCE, where everybody can read "
                                        "them; see --help"));
    if (strspn(name, letters) < len || len > 255 || name[0] == '.' || name[0] == '-')
        return fail(why, str_dup_printf("'%.*s' cannot be the name of a bucket",
                                        (int)MIN(len, 255u), name));
    s->bucket = strndup(name, len);
    return s->bucket ? 0 : -ENOMEM;
}

static int parse_file(const char *path, struct source *s, char **why)
{
    if (path[0] != '/')
        return fail(why, str_dup_printf("file:// needs an absolute directory: file:///directory"));
    const char *rest = path + strspn(path, "/");
    if (!components_ok(rest))
        return fail(why, str_dup_printf("'%s' has an empty, '.' or '..' part", path));
    size_t len = strlen(rest);
    s->bucket = str_dup_printf("/%.*s", (int)(len - (len > 0 && rest[len - 1] == '/')), rest);
    s->prefix = strdup("");
    return s->bucket && s->prefix ? 0 : -ENOMEM;
}

static int parse_word(const char *text, struct source *s, char **why)
{
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);

    if (str_starts(text, "s3:") || str_starts(text, "gs:") || str_starts(text, "file:"))
        return fail(why,
                    str_dup_printf("'%s' lacks the slashes of s3://, gs:// or file:///", text));
    if (memchr(text, '/', len))
        return fail(why, str_dup_printf("'%s' is neither a bucket nor a volume; a directory is "
                                        "file:///directory, a prefix s3://bucket/prefix",
                                        text));
    int r = set_bucket(s, text, len, why);
    return r < 0 ? r : set_prefix(s, colon ? colon + 1 : "", why);
}

int source_parse(const char *text, struct source *s, char **why)
{
    *s = (struct source){.kind = SOURCE_WORD};
    *why = NULL;
    if (strlen(text) >= PROTO_SOURCE_MAX_BYTES)
        return fail(why, str_dup_printf("SOURCE is too long"));
    if (text[0] == '\0')
        return fail(why, str_dup_printf("SOURCE is empty"));
    if (has_control(text))
        return fail(why, str_dup_printf("SOURCE contains a control character"));
    if (!str_utf8_ok(text, strlen(text)))
        return fail(why, str_dup_printf("SOURCE is not UTF-8"));
    if (str_starts(text, "file://")) {
        s->kind = SOURCE_FILE;
        return parse_file(text + 7, s, why);
    }
    const char *rest = strstr(text, "://");
    if (!rest)
        return parse_word(text, s, why);
    rest += 3;
    if (str_starts(text, "s3://"))
        s->kind = SOURCE_S3;
    else if (str_starts(text, "gs://"))
        s->kind = SOURCE_GS;
    else
        return fail(why,
                    str_dup_printf("'%.*s' is not a kind of SOURCE: s3://, gs:// and file:// are",
                                   (int)(rest - text), text));
    size_t len = strcspn(rest, "/");
    int r = set_bucket(s, rest, len, why);
    return r < 0 ? r : set_prefix(s, rest + len, why);
}

void source_fini(struct source *s)
{
    free(s->bucket);
    free(s->prefix);
    s->bucket = s->prefix = NULL;
}
