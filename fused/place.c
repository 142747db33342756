/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Directories of the private backend: hafiz/ in $XDG_RUNTIME_DIR or /run/user/UID if that is this user's
 * own, else ~/.local/state/hafiz, and the cache in ~/.cache/hafiz. */
#include "fused/place.h"

#include <errno.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"

static bool own_dir(const char *path, mode_t closed_bits)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & closed_bits) == 0;
}

char *place_home(void)
{
    struct stat st;
    const char *home = getenv("HOME");
    /* After sudo or su, HOME may be somebody else's: files we make there would be in their way. */
    if (home && home[0] == '/' && stat(home, &st) == 0 && st.st_uid == geteuid())
        return strdup(home);
    const struct passwd *pw = getpwuid(geteuid());
    return pw && pw->pw_dir && pw->pw_dir[0] == '/' ? strdup(pw->pw_dir) : NULL;
}

static int fail(char **why, int error, const char *path)
{
    free(*why);
    *why = str_dup_printf("the directory %s cannot be used: %s", path, strerror(-error));
    return *why ? error : -ENOMEM;
}

/* Makes path (and what is missing above it) and makes sure that it is ours and closed. */
static int make_own(const char *path, char **why)
{
    int r = fd_mkdir_p(path, 0700);
    if (r < 0)
        return fail(why, r, path);
    if (!own_dir(path, 0))
        return fail(why, -EPERM, path);
    if (!own_dir(path, 077) && chmod(path, 0700) < 0)
        return fail(why, -errno, path);
    return 0;
}

static int make_below(const char *variable, const char *below_home, char **ret_dir, char **why)
{
    _cleanup_(freep) char *home = place_home(), *path = NULL;
    const char *base = getenv(variable);

    if (base && base[0] == '/' && own_dir(base, 0)) {
        path = str_dup_printf("%s/hafiz", base);
    } else if (home) {
        path = str_dup_printf("%s/%s/hafiz", home, below_home);
    } else {
        *why = str_dup_printf("uid %u has no home directory for a private s3proxyd",
                              (unsigned)geteuid());
        return *why ? -ENOENT : -ENOMEM;
    }
    if (!path)
        return -ENOMEM;
    int r = make_own(path, why);
    if (r == 0)
        *ret_dir = take(path);
    return r;
}

int place_state_dir(char **ret_dir, char **why)
{
    return make_below("XDG_STATE_HOME", ".local/state", ret_dir, why);
}

int place_socket_dir(char **ret_dir, char **why)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char usual[64];

    /* mount(8), cron and su give no XDG_RUNTIME_DIR: the session's is where it always is. */
    snprintf(usual, sizeof(usual), "/run/user/%u", (unsigned)geteuid());
    if (!runtime || runtime[0] != '/')
        runtime = usual;
    if (own_dir(runtime, 077)) {
        _cleanup_(freep) char *path = str_dup_printf("%s/hafiz", runtime);
        if (!path)
            return -ENOMEM;
        int r = make_own(path, why);
        if (r == 0)
            *ret_dir = take(path);
        return r;
    }
    return place_state_dir(ret_dir, why);
}

int place_cache_dir(const char *wanted, char **ret_dir, char **why)
{
    if (!wanted)
        return make_below("XDG_CACHE_HOME", ".cache", ret_dir, why);
    int r = access(wanted, F_OK) == 0 ? 0 : fd_mkdir_p(wanted, 0700);
    _cleanup_(freep) char *path = r == 0 ? realpath(wanted, NULL) : NULL;
    if (!path)
        return fail(why, r < 0 ? r : -errno, wanted);
    if (!own_dir(path, 022)) {
        char *inside = str_dup_printf("%s/hafiz-%u", path, (unsigned)geteuid());
        if (!inside)
            return -ENOMEM;
        free(path);
        path = inside;
        r = make_own(path, why);
    }
    if (r == 0)
        *ret_dir = take(path);
    return r;
}
