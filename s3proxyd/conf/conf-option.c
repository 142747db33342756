/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The table and one parser per type. */
#include "s3proxyd/conf/conf-option.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"

#define IDS_MAX 1024u /* users or groups of one volume */

#define DAEMON_STRUCT struct conf
#define VOLUME_STRUCT struct conf_raw
#define OPT(section, name, type, field, def, min, max, help) \
    {CONF_##section, CONF_##type, offsetof(section##_STRUCT, field), min, max, #name, def, help},
static const struct conf_option options[] = {
#include "s3proxyd/conf/conf.tbl"
};
_Static_assert(ARRAY_SIZE(options) <= CONF_OPTIONS_MAX, "raise CONF_OPTIONS_MAX");

const struct conf_option *conf_option_find(enum conf_section section, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].section == section && strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

size_t conf_option_index(const struct conf_option *option)
{
    return (size_t)(option - options);
}

static int bad(struct str *why, const char *text)
{
    return str_add(why, text) < 0 ? -ENOMEM : -EINVAL;
}

static int set_text(const struct conf_option *o, char **field, const char *value, struct str *why)
{
    size_t len = strlen(value);
    char *copy;

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return bad(why, "control characters");
    if (o->type == CONF_PATH && value[0] != '/')
        return bad(why, "must be an absolute path");
    if (len < o->min)
        return bad(why, "must not be empty");
    if (len > o->max)
        return str_addf(why, "longer than %llu characters", (unsigned long long)o->max) < 0
                   ? -ENOMEM
                   : -EINVAL;
    copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

static int set_secret(const struct conf_option *o, struct secret **field, const char *value,
                      struct str *why)
{
    size_t len = strlen(value);
    struct secret *s;
    int r;

    if (len < o->min || len > o->max)
        return bad(why, len < o->min ? "must not be empty" : "too long");
    r = secret_new(value, len, &s);
    if (r < 0)
        return r;
    secret_unref(*field);
    *field = s;
    return 0;
}

static int parse_number(const struct conf_option *o, const char *value, uint64_t *ret,
                        struct str *why)
{
    bool size = o->type == CONF_SIZE;
    int r = size ? str_to_size(value, ret) : str_to_u64(value, 10, ret);

    if (r < 0)
        return str_addf(why, "%s is not a %s", log_esc(value),
                        size ? "size like 512M or 10G" : "number") < 0
                   ? -ENOMEM
                   : -EINVAL;
    if (*ret < o->min || *ret > o->max)
        return str_addf(why, "%s is not between %llu and %llu", log_esc(value),
                        (unsigned long long)o->min, (unsigned long long)o->max) < 0
                   ? -ENOMEM
                   : -EINVAL;
    return 0;
}

static int set_number(const struct conf_option *o, void *field, const char *value, struct str *why)
{
    uint64_t n;
    int r = parse_number(o, value, &n, why);

    if (r < 0)
        return r;
    if (o->type == CONF_COUNT)
        *(unsigned *)field = (unsigned)n;
    else
        *(uint64_t *)field = o->type == CONF_TTL ? n * 1000 : n;
    return 0;
}

/* Words in the order of their values: that of S3_ADDR_* for addressing. */
static int parse_word(const char *const *words, const char *value, struct str *why)
{
    int r;

    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], value) == 0)
            return i;
    r = str_addf(why, "%s is none of:", log_esc(value));
    for (int i = 0; words[i] && r == 0; i++)
        r = str_addf(why, " %s", words[i]);
    return r < 0 ? -ENOMEM : -EINVAL;
}

static int set_word(const struct conf_option *o, void *field, const char *value, struct str *why)
{
    static const char *const bools[] = {"no", "yes", NULL}, *const modes[] = {"ro", "rw", NULL};
    static const char *const addrs[] = {"auto", "path", "virtual", NULL};
    static const char *const keeps[] = {"disk", "memory", NULL};
    int i = parse_word(o->type == CONF_BOOL   ? bools
                       : o->type == CONF_MODE ? modes
                       : o->type == CONF_KEEP ? keeps
                                              : addrs,
                       value, why);

    if (i < 0)
        return i;
    if (o->type == CONF_ADDR)
        *(int *)field = i;
    else
        *(bool *)field = i == 1;
    return 0;
}

/* uid_t and gid_t are both 32 bits; (id_t)-1 means "no change" to the kernel, never somebody. */
static int find_id(bool group, const char *name, uint32_t *ret, struct str *why)
{
    struct passwd pw, *pw_found = NULL;
    struct group gr, *gr_found = NULL;
    char buf[16384];
    uint64_t n;

    if (str_to_u64(name, 10, &n) == 0) {
        if (n >= UINT32_MAX)
            return bad(why, "an id is too large");
        *ret = (uint32_t)n;
        return 0;
    }
    if (group ? getgrnam_r(name, &gr, buf, sizeof(buf), &gr_found) == 0 && gr_found
              : getpwnam_r(name, &pw, buf, sizeof(buf), &pw_found) == 0 && pw_found) {
        *ret = group ? gr_found->gr_gid : pw_found->pw_uid;
        return 0;
    }
    return str_addf(why, "no %s is called %s", group ? "group" : "user", log_esc(name)) < 0
               ? -ENOMEM
               : -EINVAL;
}

static int add_id(struct conf_volume *v, bool group, uint32_t id, struct str *why)
{
    size_t *n = group ? &v->ngroups : &v->nusers;
    uint32_t **ids = group ? &v->groups : &v->users, *grown;

    _Static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t), "ids");
    if (*n >= IDS_MAX)
        return bad(why, "too many names");
    grown = realloc(*ids, (*n + 1) * sizeof(**ids));
    if (!grown)
        return -ENOMEM;
    *ids = grown;
    grown[(*n)++] = id;
    return 0;
}

static int set_ids(bool group, struct conf_volume *v, const char *value, struct str *why)
{
    _cleanup_(freep) char *copy = strdup(value);
    char *rest = copy, *name;

    if (!copy)
        return -ENOMEM;
    if (!group && strcmp(value, "*") == 0) {
        v->any_user = true;
        return 0;
    }
    while ((name = strsep(&rest, ","))) {
        uint32_t id;
        int r;

        name += strspn(name, " \t");
        name[strcspn(name, " \t")] = '\0';
        if (!name[0])
            return bad(why, "an empty name between commas");
        r = find_id(group, name, &id, why);
        if (r == 0)
            r = add_id(v, group, id, why);
        if (r < 0)
            return r;
    }
    return 0;
}

int conf_option_set(const struct conf_option *option, void *target, const char *value,
                    struct str *why)
{
    void *field = (char *)target + option->offset;

    switch (option->type) {
    case CONF_PATH:
    case CONF_STR:
        return set_text(option, field, value, why);
    case CONF_SECRET:
        return set_secret(option, field, value, why);
    case CONF_SIZE:
    case CONF_COUNT:
    case CONF_SECONDS:
    case CONF_TTL:
        return set_number(option, field, value, why);
    case CONF_BOOL:
    case CONF_KEEP:
    case CONF_MODE:
    case CONF_ADDR:
        return set_word(option, field, value, why);
    case CONF_USERS:
    case CONF_GROUPS:
        return set_ids(option->type == CONF_GROUPS, field, value, why);
    }
    return -EINVAL;
}

int conf_option_defaults(enum conf_section section, void *target)
{
    _cleanup_(str_fini) struct str why = STR_NULL;

    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        int r = 0;

        if (options[i].section == section && options[i].def)
            r = conf_option_set(&options[i], target, options[i].def, &why);
        must(r != -EINVAL);
        if (r < 0)
            return r;
    }
    return 0;
}

static const char *const type_names[] = {
    [CONF_PATH] = "path",        [CONF_STR] = "text",
    [CONF_SIZE] = "size",        [CONF_COUNT] = "number",
    [CONF_SECONDS] = "seconds",  [CONF_TTL] = "seconds",
    [CONF_BOOL] = "yes|no",      [CONF_SECRET] = "text",
    [CONF_MODE] = "ro|rw",       [CONF_ADDR] = "auto|path|virtual",
    [CONF_KEEP] = "disk|memory", [CONF_USERS] = "names",
    [CONF_GROUPS] = "names",
};

void conf_print_options(void)
{
    for (int section = CONF_DAEMON; section <= CONF_VOLUME; section++) {
        printf("%s\n", section == CONF_DAEMON ? "[s3proxyd]" : "[NAME OF A VOLUME]");
        for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
            const struct conf_option *o = &options[i];

            if ((int)o->section != section)
                continue;
            printf("  %s = %s", o->name, type_names[o->type]);
            if (o->def)
                printf(" (%s)", o->def);
            printf("\n        %s\n", o->help);
        }
        if (section == CONF_DAEMON)
            printf("\n");
    }
}
