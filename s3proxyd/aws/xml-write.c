/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The two XML bodies S3 is sent. Strings go together by hand: there is little of it, and the one
 * thing that matters, which characters XML can carry and how, stands here in full. */
#include "s3proxyd/aws/xml.h"

#include <errno.h>
#include <string.h>

#define NAMESPACE "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

bool xml_can_carry(const char *s)
{
    if (!str_utf8_ok(s, strlen(s)))
        return false;
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p < 0x20 && *p != '\t' && *p != '\n' && *p != '\r')
            return false;
        if (p[0] == 0xEF && p[1] == 0xBF && p[2] >= 0xBE) /* U+FFFE, U+FFFF: no characters */
            return false;
    }
    return true;
}

/* TAB, LF and CR as references, or the parser at the other end would make LF of them. */
static const char *reference(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&apos;";
    case '\t':
        return "&#9;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    default:
        return NULL;
    }
}

static int add_text(struct str *out, const char *s)
{
    static const char special[] = "&<>\"'\t\n\r";

    while (*s) {
        size_t plain = strcspn(s, special);
        int r = str_addn(out, s, plain);
        if (r < 0)
            return r;
        s += plain;
        if (*s && (r = str_add(out, reference(*s++))) < 0)
            return r;
    }
    return 0;
}

static int all_can_be_carried(const char *const *strings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!xml_can_carry(strings[i]))
            return -EILSEQ;
    return 0;
}

/* On failure `out` is cut back to what it was. */
static int settle(struct str *out, size_t len_before, int r)
{
    if (r < 0 && out->s) {
        out->len = len_before;
        out->s[len_before] = '\0';
    }
    return r;
}

int xml_write_complete(struct str *out, const char *const *part_etags, size_t nparts)
{
    size_t before = out->len;
    int r = all_can_be_carried(part_etags, nparts);

    if (r < 0)
        return r;
    r = str_add(out, "<CompleteMultipartUpload " NAMESPACE ">");
    for (size_t i = 0; i < nparts && r == 0; i++) {
        r = str_addf(out, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
        if (r == 0)
            r = add_text(out, part_etags[i]);
        if (r == 0)
            r = str_add(out, "</ETag></Part>");
    }
    if (r == 0)
        r = str_add(out, "</CompleteMultipartUpload>");
    return settle(out, before, r);
}

int xml_write_delete(struct str *out, const char *const *keys, size_t nkeys)
{
    size_t before = out->len;
    int r = all_can_be_carried(keys, nkeys);

    if (r < 0)
        return r;
    r = str_add(out, "<Delete " NAMESPACE "><Quiet>true</Quiet>");
    for (size_t i = 0; i < nkeys && r == 0; i++) {
        r = str_add(out, "<Object><Key>");
        if (r == 0)
            r = add_text(out, keys[i]);
        if (r == 0)
            r = str_add(out, "</Key></Object>");
    }
    if (r == 0)
        r = str_add(out, "</Delete>");
    return settle(out, before, r);
}
