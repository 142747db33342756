/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One pass over the lines of an INI text, cutting it up in place: nothing that may be a key is
 * copied. */
#include "s3proxyd/cred/ini.h"

#include <errno.h>
#include <string.h>

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static char *trim(char *s)
{
    char *end;

    while (blank(*s))
        s++;
    end = s + strlen(s);
    while (end > s && blank(end[-1]))
        end--;
    *end = '\0';
    return s;
}

static void cut_comment(char *s)
{
    for (char *p = s; *p; p++) {
        if ((*p == '#' || *p == ';') && p > s && blank(p[-1])) {
            *p = '\0';
            return;
        }
    }
}

/* Cuts one non-empty line into the parts of *line. NULL, or why it cannot be. */
static const char *split(char *s, struct ini_line *line)
{
    char *eq, *close;

    if (*s == '[') {
        close = strchr(s, ']');
        if (!close)
            return "section without a closing bracket";
        if (*trim(close + 1) != '\0')
            return "text after the section's closing bracket";
        *close = '\0';
        line->section = trim(s + 1);
        line->name = line->value = NULL;
        return line->section[0] ? NULL : "section without a name";
    }
    eq = strchr(s, '=');
    if (!eq)
        return "neither `name = value` nor [section]";
    *eq = '\0';
    line->name = trim(s);
    line->value = trim(eq + 1);
    return line->name[0] ? NULL : "value without a name";
}

int ini_parse(char *text, size_t len, ini_fn *fn, void *arg, unsigned *ret_line,
              const char **ret_why)
{
    struct ini_line line = {.section = ""};
    char *at = text, *end = text + len;

    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        at += 3;
    while (at < end) {
        char *nl = memchr(at, '\n', (size_t)(end - at)), *next = nl ? nl + 1 : end, *s;
        const char *why = NULL;
        int r;

        line.number++;
        if (nl)
            *nl = '\0';
        line.indented = blank(*at);
        if (memchr(at, '\0', (size_t)((nl ? nl : end) - at)))
            why = "zero byte";
        s = trim(at);
        at = next;
        if (!why && (*s == '\0' || *s == '#' || *s == ';'))
            continue;
        cut_comment(s);
        if (!why)
            why = split(s, &line);
        if (why) {
            *ret_line = line.number;
            *ret_why = why;
            return -EINVAL;
        }
        r = fn(arg, &line);
        if (r != 0)
            return r;
    }
    return 0;
}
