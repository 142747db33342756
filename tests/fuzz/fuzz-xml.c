/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The XML readers on any bytes. The first byte of an input says which document is expected, the
 * second how large the pieces are it arrives in; what comes out must not depend on the pieces. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "s3proxyd/aws/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_doc(enum xml_want want, const uint8_t *data, size_t size, size_t piece,
                    struct xml_reply *ret)
{
    struct xml *x;

    if (xml_new(want, &x) < 0)
        abort();
    for (size_t at = 0; at < size; at += piece)
        if (xml_feed(x, data + at, MIN(piece, size - at)) < 0)
            break;
    int r = xml_finish(x, ret);
    xml_free(x);
    return r;
}

static void check_text(const char *s, size_t size)
{
    must(memchr(s, '\0', size) && str_utf8_ok(s, strlen(s)));
}

static void check(enum xml_want want, const struct xml_reply *r)
{
    const struct xml_error *e = &r->error;

    check_text(e->code, sizeof(e->code));
    check_text(e->message, sizeof(e->message));
    check_text(e->region, sizeof(e->region));
    check_text(e->request_id, sizeof(e->request_id));
    check_text(e->endpoint, sizeof(e->endpoint));
    check_text(e->bucket, sizeof(e->bucket));
    for (size_t i = 0; i < r->nentries; i++) {
        const struct store_entry *n = &r->entries[i];
        must(n->key && n->key_len > 0 && strlen(n->key) == n->key_len);
        must(n->key_len <= XML_TEXT_MAX_BYTES && n->size <= INT64_MAX);
        must(!n->is_prefix || (n->size == 0 && !n->etag));
    }
    for (size_t i = 0; i < r->nfailed; i++) {
        must(r->failed[i].key);
        check_text(r->failed[i].code, sizeof(r->failed[i].code));
        check_text(r->failed[i].message, sizeof(r->failed[i].message));
    }
    must(want != XML_ERROR || r->is_error);
    if (r->is_error)
        return;
    must(!!r->next_token == r->truncated);
    must(want != XML_INITIATE || (r->upload_id && *r->upload_id));
    must((want != XML_COMPLETE && want != XML_COPY) || (r->etag && *r->etag));
}

static void same(const struct xml_reply *a, const struct xml_reply *b)
{
    must(a->is_error == b->is_error && memcmp(&a->error, &b->error, sizeof(a->error)) == 0);
    must(a->nentries == b->nentries && a->nhidden == b->nhidden && a->truncated == b->truncated);
    must(a->nfailed == b->nfailed && a->mtime_ns == b->mtime_ns);
    must(str_eq(a->next_token, b->next_token) && str_eq(a->etag, b->etag) &&
         str_eq(a->upload_id, b->upload_id));
    for (size_t i = 0; i < a->nentries; i++)
        must(str_eq(a->entries[i].key, b->entries[i].key) &&
             a->entries[i].size == b->entries[i].size &&
             str_eq(a->entries[i].etag, b->entries[i].etag));
}

/* What can be carried is written so that our own reader gets it back. */
static void check_writer(const char *key)
{
    struct str body = STR_NULL;
    int r = xml_write_delete(&body, &key, 1);

    must(r == 0 || r == -EILSEQ);
    must((r == 0) == xml_can_carry(key));
    if (r == 0) {
        struct str doc = STR_NULL;
        struct xml_reply reply = XML_REPLY_NULL;
        const char *from = strstr(body.s, "<Key>"), *to = strstr(body.s, "</Key>");
        must(str_addf(&doc, "<DeleteResult><Error>%.*s</Key></Error></DeleteResult>",
                      (int)(to - from), from) == 0);
        r = read_doc(XML_DELETE, (const uint8_t *)doc.s, doc.len, doc.len, &reply);
        must(r == -EMSGSIZE || (r == 0 && reply.nfailed == 1 && str_eq(reply.failed[0].key, key)));
        xml_reply_fini(&reply);
        str_fini(&doc);
    }
    str_fini(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xml_reply whole = XML_REPLY_NULL, pieces = XML_REPLY_NULL;

    if (size < 2)
        return 0;
    enum xml_want want = data[0] % (XML_DELETE + 1);
    size_t piece = 1 + data[1];
    data += 2;
    size -= 2;
    int r = read_doc(want, data, size, size ? size : 1, &whole);
    int s = read_doc(want, data, size, piece, &pieces);
    /* Two faults in one document may be met in another order, but good stays good. */
    must((r == 0) == (s == 0));
    if (r == 0) {
        check(want, &whole);
        same(&whole, &pieces);
    }
    xml_reply_fini(&whole);
    xml_reply_fini(&pieces);

    char *key = strndup((const char *)data, size < 4000 ? size : 4000);
    if (key)
        check_writer(key);
    free(key);
    return 0;
}
