/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A named profile of the AWS tools. Both files are read: `credentials` ([name]) and `config`
 * ([profile name], [default]); keys of the first win. A profile that is a recipe for getting
 * keys (a role, single sign-on, a program) is refused by name rather than half followed. */
#include "s3proxyd/cred/cred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "s3proxyd/cred/ini.h"
#include "s3proxyd/cred/keyfile.h"

enum { ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, REGION, ENDPOINT_URL, NFIELDS };

static const char *const field_names[NFIELDS] = {
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "region", "endpoint_url",
};

static const struct {
    const char *name, *why;
    bool beats_keys; /* the AWS tools look at it before static keys */
} recipes[] = {
    {"role_arn", "the profile assumes a role (role_arn), which is not supported yet", true},
    {"sso_session", "the profile uses single sign-on, which is not supported yet", true},
    {"sso_start_url", "the profile uses single sign-on, which is not supported yet", true},
    {"sso_account_id", "the profile uses single sign-on, which is not supported yet", true},
    {"login_session", "the profile uses a console login, which is not supported yet", false},
    {"credential_process", "the profile runs a program, which is not supported yet", false},
};

/* Values point into the files' texts, which outlive this struct's use. */
struct profile {
    const char *name;
    bool is_config; /* while parsing: sections are [profile x] */
    bool found;
    const char *fields[NFIELDS];
    const char *recipe_why, *late_recipe_why;
};

/* `profile name`, `profile "name"` → name; NULL if the section is no profile. */
static const char *profile_of(const char *section, bool is_config, char *buf, size_t size)
{
    size_t len;

    if (!is_config || strcmp(section, "default") == 0)
        return section;
    if (strncmp(section, "profile", 7) != 0 || !strchr(" \t", section[7]) || !section[7])
        return NULL;
    section += 7;
    section += strspn(section, " \t");
    len = strlen(section);
    if (len >= 2 && strchr("\"'", section[0]) && section[len - 1] == section[0]) {
        if (len - 2 >= size)
            return NULL;
        memcpy(buf, section + 1, len - 2);
        buf[len - 2] = '\0';
        return buf;
    }
    return section;
}

static int profile_line(void *arg, const struct ini_line *line)
{
    struct profile *p = arg;
    char buf[256];
    const char *name = profile_of(line->section, p->is_config, buf, sizeof(buf));

    if (!name || strcmp(name, p->name) != 0)
        return 0;
    p->found = true;
    if (!line->name || line->indented)
        return 0;
    for (size_t i = 0; i < NFIELDS; i++)
        if (strcmp(line->name, field_names[i]) == 0 && !p->fields[i] && line->value[0])
            p->fields[i] = line->value;
    for (size_t i = 0; i < ARRAY_SIZE(recipes); i++) {
        const char **why = recipes[i].beats_keys ? &p->recipe_why : &p->late_recipe_why;

        if (strcmp(line->name, recipes[i].name) == 0 && !*why)
            *why = recipes[i].why;
    }
    return 0;
}

static int refuse(const char *why, int error, const char **ret_why)
{
    if (ret_why)
        *ret_why = why;
    return error;
}

static int read_one(const char *home, const char *file_name, struct profile *p,
                    struct keyfile *file, const char **ret_why)
{
    _cleanup_(freep) char *path = str_dup_printf("%s/.aws/%s", home, file_name);
    const char *why;
    unsigned line;
    int r;

    if (!path)
        return refuse("out of memory", -ENOMEM, ret_why);
    r = keyfile_read(path, true, file);
    if (r == -ENOENT || r == -ENOTDIR)
        return 0;
    if (r == -EACCES || r == -EPERM)
        return refuse("the profile files in ~/.aws cannot be read by this user", -EACCES, ret_why);
    if (r < 0)
        return refuse("the profile files in ~/.aws cannot be read", r == -ENOMEM ? r : -EINVAL,
                      ret_why);
    if (ini_parse(file->text, file->len, profile_line, p, &line, &why) < 0)
        return refuse(p->is_config ? "~/.aws/config does not parse"
                                   : "~/.aws/credentials does not parse",
                      -EINVAL, ret_why);
    return 0;
}

static int check(const struct profile *p, const char **ret_why)
{
    if (!p->found)
        return refuse("no such profile in ~/.aws/credentials or ~/.aws/config", -ENOENT, ret_why);
    if (p->recipe_why)
        return refuse(p->recipe_why, -EOPNOTSUPP, ret_why);
    if (!p->fields[ACCESS_KEY] && !p->fields[SECRET_KEY])
        return p->late_recipe_why ? refuse(p->late_recipe_why, -EOPNOTSUPP, ret_why)
                                  : refuse("the profile has no keys", -EINVAL, ret_why);
    if (!p->fields[ACCESS_KEY] || !p->fields[SECRET_KEY])
        return refuse("the profile has only one of access key and secret key", -EINVAL, ret_why);
    return 0;
}

static size_t len_of(const char *s)
{
    return s ? strlen(s) : 0;
}

static int build(const struct profile *p, struct cred **ret, char **ret_region, char **ret_endpoint,
                 const char **ret_why)
{
    const char *const *f = p->fields;
    _cleanup_(freep) char *region = f[REGION] ? strdup(f[REGION]) : NULL;
    _cleanup_(freep) char *endpoint = f[ENDPOINT_URL] ? strdup(f[ENDPOINT_URL]) : NULL;
    int r;

    if ((f[REGION] && !region) || (f[ENDPOINT_URL] && !endpoint))
        return refuse("out of memory", -ENOMEM, ret_why);
    r = cred_new_static(f[ACCESS_KEY], len_of(f[ACCESS_KEY]), f[SECRET_KEY], len_of(f[SECRET_KEY]),
                        f[SESSION_TOKEN], len_of(f[SESSION_TOKEN]), ret);
    if (r < 0)
        return refuse(r == -EINVAL ? "the profile's keys hold odd bytes" : "out of memory", r,
                      ret_why);
    if (ret_region)
        *ret_region = take(region);
    if (ret_endpoint)
        *ret_endpoint = take(endpoint);
    return 0;
}

int cred_new_profile(const char *home, const char *profile, struct cred **ret, char **ret_region,
                     char **ret_endpoint, const char **ret_why)
{
    _cleanup_(keyfile_fini) struct keyfile credentials = KEYFILE_NULL, config = KEYFILE_NULL;
    struct profile p = {.name = profile};
    bool has_keys, has_token;
    int r;

    if (!home || home[0] != '/')
        return refuse("no home directory to look for profiles in", -ENOENT, ret_why);
    r = read_one(home, "credentials", &p, &credentials, ret_why);
    if (r < 0)
        return r;
    has_keys = p.fields[ACCESS_KEY] || p.fields[SECRET_KEY];
    has_token = p.fields[SESSION_TOKEN] != NULL;
    p.is_config = true;
    r = read_one(home, "config", &p, &config, ret_why);
    if (has_keys && !has_token) /* a token belongs to its keys: never one from the other file */
        p.fields[SESSION_TOKEN] = NULL;
    if (r == 0)
        r = check(&p, ret_why);
    return r < 0 ? r : build(&p, ret, ret_region, ret_endpoint, ret_why);
}
