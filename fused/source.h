/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the user wrote as SOURCE, taken apart. Nothing is decoded: a percent sign is a percent sign.
 * Pure. */
#pragma once

struct source {
    enum source_kind {
        SOURCE_WORD, /* a volume, or else a bucket: only a backend knows */
        SOURCE_S3,
        SOURCE_GS,
        SOURCE_FILE, /* bucket is an absolute directory */
    } kind;
    char *bucket;
    char *prefix; /* "" or ends in '/' */
};

/* *ret always needs source_fini(). *ret_why: a text for the user, malloc'd or NULL.
 * 0 | -EINVAL | -ENOMEM */
int source_parse(const char *text, struct source *ret, char **ret_why);
void source_fini(struct source *s);
