/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Between xml.c, which knows expat and bounds, and xml-fields.c, which knows S3's documents: the
 * table of elements whose text means something, and the reply as it fills. Nobody else includes
 * this. */
#pragma once

#include "s3proxyd/aws/xml.h"

struct xml_build {
    enum xml_want want;
    struct xml_reply reply;
    bool url_encoded;         /* the listing said EncodingType=url; may come after the keys */
    struct store_entry entry; /* inside Contents or CommonPrefixes */
    bool has_size;
    struct xml_failed failed; /* inside Error of a DeleteResult */
    char *token, *marker;     /* as in the document */
    size_t entries_cap, failed_cap;
};

struct xml_field {
    unsigned wants;   /* 1 << enum xml_want, or-ed; 0: in any document */
    const char *path; /* "ListBucketResult/Contents/Key" */
    bool is_text;     /* its text is collected; else a container */
    bool cut;         /* text above XML_TEXT_MAX_BYTES is cut, not refused */
    int (*end)(struct xml_build *b, const char *text); /* 0 | -EBADMSG | -EMSGSIZE | -ENOMEM */
};

bool xml_fields_root_ok(enum xml_want want, const char *name);
const struct xml_field *xml_fields_find(enum xml_want want, const char *path); /* or NULL */
int xml_fields_finish(struct xml_build *b); /* is it all there; decodes. 0 | -EBADMSG | -ENOMEM */
void xml_fields_fini(struct xml_build *b);
