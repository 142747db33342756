/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The bounded parser: expat in streaming mode, stopped at the first thing S3 does not send.
 * Elements are recognised by their path; only the text of those in the table of xml-fields.c is
 * kept. */
#include "s3proxyd/aws/xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "s3proxyd/aws/xml-fields.h"

/* A tag or comment that is still open after so many bytes is an attack: expat looks at it again
 * from its start with every piece. */
#define TOKEN_MAX_BYTES (64 * 1024)
#define PATH_MAX_BYTES 192u

struct xml {
    XML_Parser parser;
    int error;
    size_t total;
    bool started, ended; /* something but blanks came; the root's end tag did */
    unsigned depth;
    char path[PATH_MAX_BYTES];
    size_t path_len[XML_DEPTH_MAX + 1]; /* length of the path at each depth */
    const struct xml_field *text_field; /* whose text is being collected */
    struct str text;
    struct xml_build build;
};

/* Expat may still call a handler or two after it was stopped (the end of "<a/>" whose start
 * failed), so each handler looks at the error first. */
static void fail(struct xml *x, int error)
{
    if (x->error == 0)
        x->error = error;
    XML_StopParser(x->parser, XML_FALSE);
}

/* A path that does not fit cannot be one of the table's: it is cut, which matches nothing either,
 * as the longest row is far shorter. */
static void path_push(struct xml *x, const char *name)
{
    size_t at = x->path_len[x->depth], left = sizeof(x->path) - at;
    size_t len = strlen(name), slash = x->depth > 0;

    if (slash && left > 1)
        x->path[at++] = '/', left--;
    if (len >= left)
        len = left - 1;
    memcpy(x->path + at, name, len);
    x->path[at + len] = '\0';
    x->path_len[++x->depth] = at + len;
}

static void on_start(void *arg, const char *name, const char **attributes)
{
    struct xml *x = arg;
    (void)attributes;

    if (x->error < 0)
        return;
    if (x->depth == XML_DEPTH_MAX)
        return fail(x, -EMSGSIZE);
    if (x->depth == 0 && !xml_fields_root_ok(x->build.want, name))
        return fail(x, -EBADMSG);
    if (x->text_field) /* an element inside what should be text */
        return fail(x, -EBADMSG);
    path_push(x, name);

    const struct xml_field *field = xml_fields_find(x->build.want, x->path);
    if (field && field->is_text) {
        x->text_field = field;
        str_clear(&x->text);
    }
}

static void on_end(void *arg, const char *name)
{
    struct xml *x = arg;
    (void)name;

    if (x->error < 0)
        return;
    const struct xml_field *field = xml_fields_find(x->build.want, x->path);
    if (field) {
        int r = field->end(&x->build, x->text_field && x->text.s ? x->text.s : "");
        if (r < 0)
            return fail(x, r);
    }
    x->text_field = NULL;
    x->depth--;
    x->path[x->path_len[x->depth]] = '\0';
    if (x->depth == 0)
        x->ended = true;
}

static void on_text(void *arg, const char *s, int len)
{
    struct xml *x = arg;
    size_t n = (size_t)len;

    if (x->error < 0 || !x->text_field || len <= 0)
        return;
    if (n > XML_TEXT_MAX_BYTES - x->text.len) {
        if (!x->text_field->cut)
            return fail(x, -EMSGSIZE);
        n = XML_TEXT_MAX_BYTES - x->text.len;
    }
    int r = str_addn(&x->text, s, n);
    if (r < 0)
        fail(x, r);
}

/* No entity can be declared without it, so this ends all games with them. */
static void on_doctype(void *arg, const char *name, const char *system_id, const char *public_id,
                       int internal)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)internal;
    fail(arg, -EBADMSG);
}

int xml_new(enum xml_want want, struct xml **ret_xml)
{
    struct xml *x = calloc(1, sizeof(*x));

    if (!x)
        return -ENOMEM;
    x->build.want = want;
    x->parser = XML_ParserCreate("UTF-8"); /* whatever the declaration says */
    if (!x->parser) {
        free(x);
        return -ENOMEM;
    }
    XML_SetUserData(x->parser, x);
    XML_SetElementHandler(x->parser, on_start, on_end);
    XML_SetCharacterDataHandler(x->parser, on_text);
    XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
    *ret_xml = x;
    return 0;
}

void xml_free(struct xml *x)
{
    if (!x)
        return;
    XML_ParserFree(x->parser);
    str_fini(&x->text);
    xml_fields_fini(&x->build);
    free(x);
}

static int parse(struct xml *x, const char *data, size_t len, bool final)
{
    if (XML_Parse(x->parser, data, (int)len, final) != XML_STATUS_OK && x->error == 0)
        x->error = XML_GetErrorCode(x->parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EBADMSG;
    return x->error;
}

int xml_feed(struct xml *x, const void *data, size_t len)
{
    const char *p = data;

    if (x->error < 0)
        return x->error;
    if (len > XML_TOTAL_MAX_BYTES - x->total)
        return x->error = -EMSGSIZE;
    x->total += len;
    if (!x->started) {
        /* Before a slow Complete's answer AWS sends blanks; expat wants the declaration first. */
        while (len > 0 && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
            p++;
            len--;
            x->total--; /* they are no part of the document, and may go on for minutes */
        }
        x->started = len > 0;
    }
    while (len > 0) {
        size_t piece = len < TOKEN_MAX_BYTES / 2 ? len : TOKEN_MAX_BYTES / 2;
        if (parse(x, p, piece, false) < 0)
            return x->error;
        p += piece;
        len -= piece;
        XML_Index at = XML_GetCurrentByteIndex(x->parser);
        if (at >= 0 && (XML_Index)(x->total - len) - at > TOKEN_MAX_BYTES)
            return x->error = -EMSGSIZE;
    }
    return 0;
}

int xml_finish(struct xml *x, struct xml_reply *ret)
{
    if (x->error < 0)
        return x->error;
    if (!x->started)
        return -ENODATA;
    if (parse(x, "", 0, true) < 0)
        return x->error;
    if (!x->ended)
        return x->error = -EBADMSG;
    x->error = xml_fields_finish(&x->build);
    if (x->error < 0)
        return x->error;
    *ret = x->build.reply;
    x->build.reply = XML_REPLY_NULL;
    x->error = -EBADMSG; /* there is nothing to get any more */
    return 0;
}
