/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Bounded readers for the XML that S3 answers with, over expat's streaming parser, and writers for
 * the two bodies it is sent. A reader is fed as bytes arrive and judges at the end; what it accepts
 * is complete (end tag seen), UTF-8, without DOCTYPE, at most 16 MiB and 8 levels deep. Any reply,
 * also one with status 200, may turn out to be an <Error> document: is_error. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/str.h"
#include "s3proxyd/store/store.h"

#define XML_TOTAL_MAX_BYTES (16u * 1024 * 1024)
#define XML_DEPTH_MAX 8u
#define XML_TEXT_MAX_BYTES (16u * 1024) /* one element's text; error texts are cut instead */
#define XML_ENTRIES_MAX 10000u          /* we ask for 1000 */

enum xml_want {
    XML_LIST,     /* ListObjectsV2 */
    XML_LIST_V1,  /* ListObjects: next_token is then the marker of the next page */
    XML_ERROR,    /* an error status: only <Error> will do */
    XML_INITIATE, /* InitiateMultipartUploadResult → upload_id */
    XML_COMPLETE, /* CompleteMultipartUploadResult → etag */
    XML_COPY,     /* CopyObjectResult or CopyPartResult → etag, mtime_ns */
    XML_DELETE,   /* DeleteResult → failed */
};

struct xml_error { /* always terminated, cut to what fits, as sent otherwise: escape before logging
                    */
    char code[128], message[512], region[64], request_id[128], endpoint[256], bucket[128];
};

struct xml_reply {
    bool is_error;
    struct xml_error error;

    struct store_entry *entries; /* in the server's order; keys are decoded */
    size_t nentries;
    size_t nhidden; /* entries left out: empty key, NUL in it, or an escape that does not decode */
    bool truncated;
    char *next_token; /* set if and only if truncated */

    char *upload_id, *etag;
    int64_t mtime_ns; /* 0: not given */

    struct xml_failed {
        char *key;
        char code[128], message[256];
    } * failed;
    size_t nfailed;
};
#define XML_REPLY_NULL ((struct xml_reply){0})
void xml_reply_fini(struct xml_reply *r);

struct xml;
int xml_new(enum xml_want want, struct xml **ret_xml); /* 0 | -ENOMEM */
void xml_free(struct xml *x);
/* 0 | -EBADMSG (not what was asked for, broken, forbidden) | -EMSGSIZE (a bound) | -ENOMEM. The
 * first error sticks: later feeds and finish return it. Blanks before the document are skipped. */
int xml_feed(struct xml *x, const void *data, size_t len);
/* Ends the document. 0: *ret is filled (is_error included), owned by the caller | -ENODATA: there
 * was nothing but blanks | the errors of xml_feed(). A listing that says truncated without telling
 * how to go on, an entry without size, a result without the ETag or upload id it is about are
 * -EBADMSG. */
int xml_finish(struct xml *x, struct xml_reply *ret);

/* Can XML 1.0 carry this key: valid UTF-8 without control characters other than TAB, LF, CR? */
bool xml_can_carry(const char *s);
/* Bodies, appended. part_etags[i] belongs to part i + 1. 0 | -ENOMEM | -EILSEQ (!xml_can_carry():
 * nothing is appended then; delete such keys one by one) */
int xml_write_complete(struct str *out, const char *const *part_etags, size_t nparts);
int xml_write_delete(struct str *out, const char *const *keys, size_t nkeys); /* quiet mode */
