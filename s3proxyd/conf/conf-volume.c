/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A volume's section as a whole: what contradicts itself is refused here and not at the first
 * mount, and the credentials become one snapshot. Who may mount it is decided here too. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "s3proxyd/conf/conf-option.h"

#define FILE_SCHEME "file://"
#define GROUPS_MAX 65536 /* NGROUPS_MAX */

bool conf_raw_given(const struct conf_raw *raw, const char *name)
{
    const struct conf_option *o = conf_option_find(CONF_VOLUME, name);

    must(o);
    return raw->lines[conf_option_index(o)] > 0;
}

unsigned conf_raw_line(const struct conf_raw *raw, const char *name)
{
    const struct conf_option *o = conf_option_find(CONF_VOLUME, name);
    unsigned line;

    must(o);
    line = raw->lines[conf_option_index(o)];
    return line ? line : raw->line;
}

void conf_volume_fini(struct conf_volume *v)
{
    free(v->name);
    free(v->bucket);
    free(v->prefix);
    free(v->endpoint);
    free(v->region);
    free(v->users);
    free(v->groups);
    cred_unref(v->cred);
    *v = (struct conf_volume){0};
}

void conf_raw_fini(struct conf_raw *raw)
{
    conf_volume_fini(&raw->v);
    free(raw->access_key);
    free(raw->key_file);
    free(raw->profile);
    secret_unref(raw->secret_key);
    secret_unref(raw->session_token);
    *raw = (struct conf_raw){0};
}

/* The reason, and the option whose line is at fault (NULL: the section's). */
struct verdict {
    struct conf_raw *raw;
    struct str *why;
    unsigned *ret_line;
};

static int refuse(const struct verdict *to, const char *option, const char *text)
{
    *to->ret_line = option ? conf_raw_line(to->raw, option) : to->raw->line;
    return str_add(to->why, text) < 0 ? -ENOMEM : -EINVAL;
}

static bool is_file(const struct conf_volume *v)
{
    return strncmp(v->bucket, FILE_SCHEME, sizeof(FILE_SCHEME) - 1) == 0;
}

static int check_bucket(const struct verdict *to, const struct conf_volume *v)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";

    if (!v->bucket)
        return refuse(to, NULL, "the volume has no bucket");
    if (is_file(v))
        return v->bucket[sizeof(FILE_SCHEME) - 1] == '/'
                   ? 0
                   : refuse(to, "bucket", "write file:///directory, with three slashes");
    if (strstr(v->bucket, "://"))
        return refuse(to, "bucket", "write the bucket's name only, or file:///directory");
    if (v->bucket[strspn(v->bucket, plain)] || strlen(v->bucket) > 255)
        return refuse(to, "bucket", "this is not the name of a bucket");
    return 0;
}

/* "" or components with one '/' behind each. */
static int settle_prefix(const struct verdict *to, struct conf_volume *v)
{
    const char *given = v->prefix ? v->prefix : "";
    char *settled;
    size_t len;

    given += strspn(given, "/");
    len = strlen(given);
    settled = str_dup_printf("%s%s", given, len > 0 && given[len - 1] != '/' ? "/" : "");
    if (!settled)
        return -ENOMEM;
    free(v->prefix);
    v->prefix = settled;
    if (!str_utf8_ok(settled, strlen(settled)))
        return refuse(to, "prefix", "the prefix is not UTF-8");
    for (const char *at = settled; *at; at += strcspn(at, "/") + 1) {
        size_t n = strcspn(at, "/");

        if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
            return refuse(to, "prefix", "the prefix has an empty, `.` or `..` component");
    }
    return 0;
}

static int check_file_volume(const struct verdict *to)
{
    static const char *const foreign[] = {
        "endpoint", "region",  "access_key", "secret_key", "session_token",
        "key_file", "profile", "anonymous",  "addressing", "insecure_http"};

    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
        if (conf_raw_given(to->raw, foreign[i]))
            return refuse(to, foreign[i], "a file:// bucket needs no server and no keys");
    return 0;
}

static int check_endpoint(const struct verdict *to, const struct conf_volume *v)
{
    bool http = v->endpoint && str_starts(v->endpoint, "http://");

    if (v->endpoint && !http && !str_starts(v->endpoint, "https://"))
        return refuse(to, "endpoint", "must begin with https:// or http://");
    if (v->insecure_http && !http)
        return refuse(to, "insecure_http", "insecure_http needs an http:// endpoint");
    return 0;
}

static int check_sources(const struct verdict *to)
{
    const struct conf_raw *raw = to->raw;
    bool keys = raw->access_key || raw->secret_key || raw->session_token;
    int n = keys + (raw->key_file != NULL) + (raw->profile != NULL) + raw->anonymous;

    if (n > 1)
        return refuse(to,
                      raw->anonymous ? "anonymous"
                      : raw->profile ? "profile"
                                     : "key_file",
                      "more than one of access_key, key_file, profile and anonymous is given");
    if (n == 0)
        return refuse(to, NULL,
                      "the volume has no credentials: give access_key and secret_key, key_file, "
                      "profile or anonymous = yes");
    if (keys && !raw->access_key)
        return refuse(to, raw->secret_key ? "secret_key" : "session_token",
                      "there is no access_key with it");
    if (keys && !raw->secret_key)
        return refuse(to, "access_key", "there is no secret_key with it");
    return 0;
}

/* HOME as the caller set it, else the user database: mount(8) and systemd set none. */
static const char *home_dir(char *buf, size_t size)
{
    const char *home = getenv("HOME");
    struct passwd pw, *found = NULL;

    if (home && home[0] == '/')
        return home;
    if (getpwuid_r(geteuid(), &pw, buf, size, &found) == 0 && found)
        return found->pw_dir;
    return NULL;
}

static int use_profile(const struct verdict *to, struct conf_raw *raw)
{
    _cleanup_(freep) char *region = NULL, *endpoint = NULL;
    const char *why = NULL;
    char buf[16384];
    int r = cred_new_profile(home_dir(buf, sizeof(buf)), raw->profile, &raw->v.cred, &region,
                             &endpoint, &why);

    if (r < 0)
        return r == -ENOMEM ? r : refuse(to, "profile", why);
    if (!raw->v.region)
        raw->v.region = take(region);
    if (!raw->v.endpoint)
        raw->v.endpoint = take(endpoint);
    return 0;
}

static int make_cred(const struct verdict *to, struct conf_raw *raw)
{
    size_t secret_len, token_len = 0;
    const char *secret, *token = NULL, *why = NULL;
    int r;

    if (raw->anonymous)
        return cred_new_anonymous(&raw->v.cred);
    if (raw->profile)
        return use_profile(to, raw);
    if (raw->key_file) {
        r = cred_new_passwd_file(raw->key_file, raw->v.bucket, &raw->v.cred, &why);
        return r == 0 || r == -ENOMEM ? r : refuse(to, "key_file", why);
    }
    secret = secret_bytes(raw->secret_key, &secret_len);
    if (raw->session_token)
        token = secret_bytes(raw->session_token, &token_len);
    r = cred_new_static(raw->access_key, strlen(raw->access_key), secret, secret_len, token,
                        token_len, &raw->v.cred);
    return r == -EINVAL ? refuse(to, "access_key", "a key holds blanks or control characters") : r;
}

int conf_volume_finish(struct conf_raw *raw, struct str *why, unsigned *ret_line)
{
    struct verdict to = {raw, why, ret_line};
    int r = check_bucket(&to, &raw->v);

    if (r == 0)
        r = settle_prefix(&to, &raw->v);
    if (r < 0)
        return r;
    if (is_file(&raw->v)) {
        r = check_file_volume(&to);
        return r < 0 ? r : cred_new_anonymous(&raw->v.cred);
    }
    r = check_sources(&to);
    if (r == 0)
        r = make_cred(&to, raw);
    return r == 0 ? check_endpoint(&to, &raw->v) : r; /* a profile may have given it */
}

static bool in_group(const struct conf_volume *v, gid_t gid)
{
    for (size_t i = 0; i < v->ngroups; i++)
        if (v->groups[i] == gid)
            return true;
    return false;
}

static bool in_supplementary(const struct conf_volume *v, uid_t uid, gid_t gid)
{
    _cleanup_(freep) gid_t *groups = NULL;
    struct passwd pw, *found = NULL;
    char buf[16384];
    int n = 64;

    if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) != 0 || !found)
        return false;
    for (;;) {
        int room = n;

        free(groups);
        groups = calloc((size_t)n, sizeof(*groups));
        if (!groups)
            return false;
        if (getgrouplist(pw.pw_name, gid, groups, &n) >= 0)
            break;
        if (n <= room || n > GROUPS_MAX)
            return false;
    }
    for (int i = 0; i < n; i++)
        if (in_group(v, groups[i]))
            return true;
    return false;
}

bool conf_volume_allows(const struct conf_volume *v, uid_t uid, gid_t gid)
{
    if (uid == 0 || uid == geteuid() || v->any_user)
        return true;
    for (size_t i = 0; i < v->nusers; i++)
        if (v->users[i] == uid)
            return true;
    return v->ngroups > 0 && (in_group(v, gid) || in_supplementary(v, uid, gid));
}
