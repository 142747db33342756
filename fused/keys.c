/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The order in which keys are looked for, in one place. Nothing here is sent or checked: whether a
 * key is any good only the store can say. */
#include "fused/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fused/place.h"
#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/limits.h"

static int fail(char **why, char *text)
{
    *why = text;
    return text ? -EINVAL : -ENOMEM;
}

static int set_static(struct keys *k, const char *key, const char *secret, const char *token,
                      char **why)
{
    int r = cred_new_static(key, strlen(key), secret, strlen(secret), token ? token : "",
                            token ? strlen(token) : 0, &k->cred);
    if (r == -EINVAL)
        return fail(why, str_dup_printf("a key is empty or contains control characters"));
    k->kind = KEYS_STATIC;
    return r;
}

static int set_profile(struct keys *k, const char *name)
{
    k->kind = KEYS_PROFILE;
    k->profile = strdup(name);
    return k->profile ? 0 : -ENOMEM;
}

static int set_passwd_file(struct keys *k, const char *path, const struct source *source,
                           char **why)
{
    const char *reason = NULL;
    struct stat st = {0};
    int r = cred_new_passwd_file(path, source->bucket, &k->cred, &reason);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return fail(why, str_dup_printf("the password file %s (mode %04o) cannot be used: %s", path,
                                        stat(path, &st) == 0 ? st.st_mode & 07777 : 0,
                                        reason ? reason : strerror(-r)));
    k->kind = KEYS_STATIC;
    return 0;
}

/* The secret alone on one line. What others may read is refused, if it is a file. */
static int read_secret(const char *path, struct secret **ret, char **why)
{
    char text[1025];
    size_t got = 0;
    struct stat st;
    bool std = strcmp(path, "-") == 0;
    _cleanup_(closep) int own = std ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int fd = std ? STDIN_FILENO : own;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(why, str_dup_printf("the secret key's file %s cannot be read: %s", path,
                                        strerror(errno)));
    if (S_ISREG(st.st_mode) && !std && st.st_mode & 077)
        return fail(why, str_dup_printf(
                             "the secret key's file %s may be read by others: chmod 600 it", path));
    int r = fd_read_full(fd, text, sizeof(text), &got);
    size_t len = got;
    while (r == 0 && len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    if (r < 0 || len == 0 || len > 1024)
        r = fail(why, str_dup_printf("the secret key's file %s holds no key", path));
    else
        r = secret_new(text, len, ret);
    secret_wipe(text, sizeof(text));
    return r;
}

static int from_arguments(struct opts *o, struct keys *k, char **why)
{
    if (!o->secret_key) {
        int r = read_secret(o->secret_key_file, &o->secret_key, why);
        if (r < 0)
            return r;
    }
    return set_static(k, secret_bytes(o->access_key, NULL), secret_bytes(o->secret_key, NULL),
                      o->session_token ? secret_bytes(o->session_token, NULL) : NULL, why);
}

/* One family of variables: all of it or nothing. */
static int from_env(struct keys *k, const char *key, const char *secret, const char *token,
                    char **why)
{
    const char *a = getenv(key), *s = getenv(secret), *t = getenv(token);

    if (!a || !*a)
        return 0;
    if (!s || !*s)
        return fail(why, str_dup_printf("%s is set, but %s is not", key, secret));
    return set_static(k, a, s, t && *t ? t : NULL, why);
}

/* What other programs of this user would take: s3fs' password files for s3fs' command line, the
 * default profile of ~/.aws for all. */
static int from_files(const struct opts *o, const struct source *source, struct keys *k, char **why)
{
    _cleanup_(freep) char *home = place_home();
    _cleanup_(freep) char *mine = home ? str_dup_printf("%s/.passwd-s3fs", home) : NULL;
    _cleanup_(freep) char *aws = home ? str_dup_printf("%s/.aws/credentials", home) : NULL;

    if (o->s3fs && mine && access(mine, F_OK) == 0)
        return set_passwd_file(k, mine, source, why);
    if (o->s3fs && access("/etc/passwd-s3fs", R_OK) == 0)
        return set_passwd_file(k, "/etc/passwd-s3fs", source, why);
    if (aws && access(aws, R_OK) == 0)
        return set_profile(k, "default");
    return 0;
}

static int find(struct opts *o, const struct source *source, struct keys *k, char **why)
{
    const char *profile = getenv("AWS_PROFILE");
    int r;

    k->asked = o->access_key || o->anonymous || o->profile || o->passwd_file;
    if (source->kind == SOURCE_FILE)
        return 0;
    if (o->anonymous) {
        k->kind = KEYS_ANONYMOUS;
        return 0;
    }
    if (o->access_key)
        return from_arguments(o, k, why);
    if (o->profile)
        return set_profile(k, o->profile);
    if (o->passwd_file)
        return set_passwd_file(k, o->passwd_file, source, why);
    r = from_env(k, "HAFIZ_ACCESS_KEY", "HAFIZ_SECRET_KEY", "HAFIZ_SESSION_TOKEN", why);
    if (r == 0 && k->kind == KEYS_NONE)
        r = from_env(k, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", why);
    if (r < 0 || k->kind != KEYS_NONE)
        return r;
    if (profile && *profile)
        return set_profile(k, profile);
    return from_files(o, source, k, why);
}

static void forget_env(void)
{
    static const char *const names[] = {"HAFIZ_ACCESS_KEY",      "HAFIZ_SECRET_KEY",
                                        "HAFIZ_SESSION_TOKEN",   "AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char *value = getenv(names[i]);
        if (value)
            secret_wipe(value,
                        strlen(value)); /* /proc/PID/environ shows the memory, not the list */
        unsetenv(names[i]);
    }
}

int keys_find(struct opts *o, const struct source *source, struct keys *k, char **why)
{
    *k = (struct keys){.kind = KEYS_NONE};
    *why = NULL;
    int r = find(o, source, k, why);
    forget_env();
    secret_unref(o->access_key);
    secret_unref(o->secret_key);
    secret_unref(o->session_token);
    o->access_key = o->secret_key = o->session_token = NULL;
    return r;
}

void keys_fini(struct keys *k)
{
    if (k->cred)
        cred_unref(k->cred);
    free(k->profile);
    *k = (struct keys){.kind = KEYS_NONE};
}
