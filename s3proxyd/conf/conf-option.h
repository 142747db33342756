/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* conf.tbl as data, and the parser of one value. What a section says is gathered raw, with the
 * line of every option, and judged as a whole when the section ends. */
#pragma once

#include "proto/base/str.h"
#include "s3proxyd/conf/conf.h"
#include "s3proxyd/cred/secret.h"

#define CONF_OPTIONS_MAX 40u /* rows of conf.tbl; checked */

enum conf_section { CONF_DAEMON, CONF_VOLUME };
enum conf_type {
    CONF_PATH,
    CONF_STR,
    CONF_SIZE,
    CONF_COUNT,
    CONF_SECONDS,
    CONF_TTL,
    CONF_BOOL,
    CONF_KEEP,
    CONF_SECRET,
    CONF_MODE,
    CONF_ADDR,
    CONF_USERS,
    CONF_GROUPS
};

struct conf_option {
    enum conf_section section;
    enum conf_type type;
    size_t offset; /* in struct conf or struct conf_raw */
    uint64_t min, max;
    const char *name, *def, *help;
};

struct conf_raw { /* a volume's section while it is read */
    struct conf_volume v;
    char *access_key, *key_file, *profile;
    struct secret *secret_key, *session_token;
    bool anonymous;
    unsigned line;                    /* of the section */
    unsigned lines[CONF_OPTIONS_MAX]; /* of each option of the table; 0: not given */
};

const struct conf_option *conf_option_find(enum conf_section section, const char *name);
size_t conf_option_index(const struct conf_option *option);
/* Parses value into its field of `target`. 0 | -ENOMEM | -EINVAL with *why extended by the
 * reason */
int conf_option_set(const struct conf_option *option, void *target, const char *value,
                    struct str *why);
int conf_option_defaults(enum conf_section section, void *target); /* 0 | -ENOMEM */

/* The line of a volume's option, or of its section when it was not given. */
unsigned conf_raw_line(const struct conf_raw *raw, const char *name);
bool conf_raw_given(const struct conf_raw *raw, const char *name);
void conf_raw_fini(struct conf_raw *raw);
/* Judges the section: contradictions, credentials. 0 | -ENOMEM | -EINVAL with *why and *ret_line */
int conf_volume_finish(struct conf_raw *raw, struct str *why, unsigned *ret_line);
void conf_volume_fini(struct conf_volume *v);
