/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* `hafizctl status`: the backend's JSON document as it is, or in words. A section that has nothing to
 * say says so, because an empty screen explains nothing. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "s3proxyd/hafizctl.h"

#define ROWS_MAX 1000u /* per table; --json has all */

/* Appends text and numbers; the first failure sticks and is what the section returns. */
static void say(struct str *out, int *r, const char *s)
{
    if (*r == 0)
        *r = str_add(out, s);
}

static void say_count(struct str *out, int *r, json_object *o, const char *name)
{
    if (*r == 0)
        *r = ctl_add_count(out, ctl_u64_or_0(o, name));
}

static void say_bytes(struct str *out, int *r, json_object *o, const char *name)
{
    if (*r == 0)
        *r = ctl_add_bytes(out, ctl_u64_or_0(o, name));
}

static void say_str(struct str *out, int *r, json_object *o, const char *name)
{
    if (*r == 0)
        *r = ctl_add_str(out, o, name);
}

static void say_user(struct str *out, int *r, json_object *o)
{
    uint64_t uid;
    if (*r < 0)
        return;
    if (!ctl_u64(o, "uid", &uid) || uid > UINT32_MAX) {
        *r = str_add(out, "-");
        return;
    }
    const struct passwd *pw = getpwuid((uid_t)uid);
    *r = pw ? ctl_add_clean(out, pw->pw_name, strlen(pw->pw_name))
            : str_addf(out, "%u", (unsigned)uid);
}

static int add_head(json_object *doc, struct str *out)
{
    int r = 0;
    uint64_t up;
    json_object *pools = ctl_member(doc, "pools", json_type_object);
    say(out, &r, "Backend ");
    say_str(out, &r, doc, "version");
    say(out, &r, ctl_bool(doc, "private") ? ", private to " : ", run by ");
    say_user(out, &r, doc);
    if (r == 0 && ctl_member(doc, "pid", json_type_int))
        r = str_addf(out, ", pid %llu", (unsigned long long)ctl_u64_or_0(doc, "pid"));
    if (r == 0 && ctl_u64(doc, "uptime_s", &up)) {
        say(out, &r, ", up ");
        r = r < 0 ? r : ctl_add_duration(out, up);
    }
    say(out, &r, "\n  socket    ");
    say_str(out, &r, doc, "socket");
    say(out, &r, "\n  threads   ");
    say_count(out, &r, pools, "net_threads");
    say(out, &r, " for transfers, ");
    say_count(out, &r, pools, "disk_threads");
    say(out, &r, " for disk work\n  inodes    ");
    say_count(out, &r, doc, "inodes");
    say(out, &r, " known");
    if (ctl_u64_or_0(doc, "hidden_keys")) {
        say(out, &r, "; ");
        say_count(out, &r, doc, "hidden_keys");
        say(out, &r, " keys cannot be shown as paths");
    }
    say(out, &r, "\n");
    return r;
}

static int add_cache(json_object *doc, struct str *out)
{
    json_object *c = ctl_member(doc, "cache", json_type_object);
    uint64_t size = ctl_u64_or_0(c, "size_bytes"), used = ctl_u64_or_0(c, "used_bytes");
    int r = 0;
    if (!c)
        return str_add(out, "\nRead cache\n  This backend says nothing about a cache.\n");
    say(out, &r, "\nRead cache\n  directory ");
    say_str(out, &r, c, "dir");
    say(out, &r, "\n  used      ");
    say_bytes(out, &r, c, "used_bytes");
    say(out, &r, " of ");
    say_bytes(out, &r, c, "size_bytes");
    if (r == 0 && size)
        r = str_addf(out, " (%u %%)", (unsigned)((double)used * 100 / (double)size));
    say(out, &r, ", objects: ");
    say_count(out, &r, c, "objects");
    if (ctl_u64_or_0(c, "passed_bytes")) {
        say(out, &r, "\n  passed    ");
        say_bytes(out, &r, c, "passed_bytes");
        say(out, &r, " the kernel may read by itself (FUSE passthrough)");
    }
    if (!ctl_u64_or_0(c, "hits") && !ctl_u64_or_0(c, "fills")) {
        say(out, &r, "\n  reads     none needed a fetch; mounts read what is here by themselves\n");
    } else { /* what is here mounts read by themselves: only those that asked are counted */
        say(out, &r, "\n  reads     asked for: ");
        say_count(out, &r, c, "hits");
        say(out, &r, " answered at once, ");
        say_count(out, &r, c, "fills");
        say(out, &r, " needed a fetch\n");
    }
    if (!ctl_u64_or_0(c, "fetched_bytes"))
        return r;
    say(out, &r, "  traffic   ");
    say_bytes(out, &r, c, "fetched_bytes");
    say(out, &r, " fetched, ");
    say_bytes(out, &r, c, "evicted_bytes");
    say(out, &r, " made room\n");
    say(out, &r, "  hedged    ranges asked for again, as they came slowly: ");
    say_count(out, &r, c, "hedged");
    say(out, &r, "\n");
    return r;
}

static int add_spool(json_object *doc, struct str *out)
{
    json_object *s = ctl_member(doc, "spool", json_type_object);
    int r = 0;
    if (!s)
        return str_add(out, "\nUnsaved data\n  This backend says nothing about unsaved data.\n");
    say(out, &r, "\nUnsaved data\n  directory ");
    say_str(out, &r, s, "dir");
    if (ctl_u64_or_0(s, "dirty_files") || ctl_u64_or_0(s, "used_bytes")) {
        say(out, &r, "\n  waiting   ");
        say_bytes(out, &r, s, "used_bytes");
        say(out, &r, " of at most ");
        say_bytes(out, &r, s, "size_bytes");
        say(out, &r, ", files not uploaded yet: ");
        say_count(out, &r, s, "dirty_files");
        say(out, &r, "\n");
    } else {
        say(out, &r, "\n  waiting   nothing: all that was written is in the store\n");
    }
    if (ctl_u64_or_0(s, "orphans")) {
        say(out, &r, "  left over ");
        say_count(out, &r, s, "orphans");
        say(out, &r, " from a backend that crashed; kept in that directory\n");
    }
    return r;
}

static int mount_row(struct str *cells, json_object *m)
{
    int r = 0;
    say_str(&cells[0], &r, m, "mountpoint");
    say_str(&cells[1], &r, m, "source");
    say_user(&cells[2], &r, m);
    say(&cells[3], &r, ctl_bool(m, "rw") ? "rw" : "ro");
    say_count(&cells[4], &r, m, "handles");
    say_count(&cells[5], &r, m, "calls");
    say(&cells[6], &r, ctl_bool(m, "connected") ? "connected" : "away");
    return r;
}

static int store_row(struct str *cells, json_object *s)
{
    int r = 0;
    say_str(&cells[0], &r, s, "bucket");
    say_str(&cells[1], &r, s, "endpoint");
    say_count(&cells[2], &r, s, "requests");
    say_count(&cells[3], &r, s, "retries");
    say_count(&cells[4], &r, s, "throttled");
    say_count(&cells[5], &r, s, "errors");
    say_bytes(&cells[6], &r, s, "bytes_in");
    say_bytes(&cells[7], &r, s, "bytes_out");
    return r;
}

static int problem_row(struct str *cells, json_object *p)
{
    uint64_t since;
    int r = 0;
    say_str(&cells[0], &r, p, "path");
    say_str(&cells[1], &r, p, "error");
    say_bytes(&cells[2], &r, p, "bytes");
    if (!ctl_u64(p, "since_s", &since))
        say(&cells[3], &r, "-");
    else if (r == 0)
        r = ctl_add_duration(&cells[3], since);
    return r;
}

/* An ordinary user's document has no member for what is not theirs to know. */
#define NOT_TOLD "Told to root and to the backend's own user only."

/* The sections that are tables: adding one is adding a row here. */
static const struct ctl_column mount_columns[] = {
    {"MOUNT POINT", CTL_LEFT, true}, {"SOURCE", CTL_LEFT, true}, {"USER", CTL_LEFT, false},
    {"MODE", CTL_LEFT, false},       {"OPEN", CTL_RIGHT, false}, {"CALLS", CTL_RIGHT, false},
    {"CLIENT", CTL_LEFT, false},
};
static const struct ctl_column store_columns[] = {
    {"BUCKET", CTL_LEFT, true},   {"ENDPOINT", CTL_LEFT, true},  {"CALLS", CTL_RIGHT, false},
    {"AGAIN", CTL_RIGHT, false},  {"SLOWED", CTL_RIGHT, false},  {"FAILED", CTL_RIGHT, false},
    {"IN", CTL_RIGHT, false},     {"OUT", CTL_RIGHT, false},
};
static const struct ctl_column problem_columns[] = {
    {"FILE", CTL_LEFT, true},
    {"WHAT HAPPENED", CTL_LEFT, true},
    {"UNSAVED", CTL_RIGHT, false},
    {"FOR", CTL_LEFT, false},
};
static const struct ctl_column warming_columns[] = {
    {"PATH", CTL_LEFT, true},   {"SOURCE", CTL_LEFT, true}, {"OBJECTS", CTL_RIGHT, false},
    {"OF", CTL_RIGHT, false}, {"SIZE", CTL_RIGHT, false}, {"OF ALL", CTL_RIGHT, false},
};

static int warming_row(struct str *cells, json_object *item)
{
    int r = ctl_add_str(&cells[0], item, "path");
    if (r == 0)
        r = ctl_add_str(&cells[1], item, "source");
    if (r == 0)
        r = ctl_add_count(&cells[2], ctl_u64_or_0(item, "objects"));
    if (r == 0)
        r = ctl_add_count(&cells[3], ctl_u64_or_0(item, "total_objects"));
    if (r == 0)
        r = ctl_add_bytes(&cells[4], ctl_u64_or_0(item, "bytes"));
    return r < 0 ? r : ctl_add_bytes(&cells[5], ctl_u64_or_0(item, "total_bytes"));
}

static const struct section {
    const char *member, *title, *empty, *absent; /* empty NULL: not shown then */
    const struct ctl_column *columns;
    unsigned ncolumns;
    int (*row)(struct str *cells, json_object *item);
} sections[] = {
    {"mounts", "Mounts", "Nothing is mounted. `hafiz-mount SOURCE MOUNTPOINT` mounts a bucket.",
     NOT_TOLD, mount_columns, ARRAY_SIZE(mount_columns), mount_row},
    {"warming", "Being fetched ahead", NULL, NULL, warming_columns, ARRAY_SIZE(warming_columns),
     warming_row},
    {"stores", "Stores", "No store is in use.", NOT_TOLD, store_columns, ARRAY_SIZE(store_columns),
     store_row},
    {"problems", "Problems", "None.", NOT_TOLD, problem_columns, ARRAY_SIZE(problem_columns),
     problem_row},
};

static int add_section(json_object *doc, const struct section *sec, struct str *out)
{
    json_object *list = ctl_member(doc, sec->member, json_type_array);
    size_t n = list ? json_object_array_length(list) : 0;
    if (!n && !sec->empty)
        return 0;
    int r = str_addf(out, "\n%s\n", sec->title);
    if (r < 0 || !n)
        return r < 0 ? r : str_addf(out, "  %s\n", list ? sec->empty : sec->absent);
    _cleanup_(ctl_grid_fini) struct ctl_grid grid = {.columns = sec->columns,
                                                     .ncolumns = sec->ncolumns};
    for (size_t i = 0; r == 0 && i < MIN(n, (size_t)ROWS_MAX); i++) {
        struct str *cells = ctl_grid_row(&grid);
        if (cells)
            r = sec->row(cells, json_object_array_get_idx(list, i));
        else
            r = -ENOMEM;
    }
    if (r == 0)
        r = ctl_grid_print(&grid, out);
    if (r == 0 && n > ROWS_MAX)
        r = str_addf(out, "  and %zu more\n", n - ROWS_MAX);
    return r;
}

int ctl_status_text(json_object *doc, struct str *out)
{
    int r = add_head(doc, out);
    if (r == 0)
        r = add_cache(doc, out);
    if (r == 0)
        r = add_spool(doc, out);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sections); i++)
        r = add_section(doc, &sections[i], out);
    return r;
}

/* A user's private backend hides the system's: say where the other one is. */
static int add_others(struct ctl_places *places, unsigned from, struct str *out)
{
    int fd = -1, r = 0;
    while (r == 0 && ctl_next(places, &from, &fd) == 0) {
        const char *path = places->list[from - 1].path;
        close(fd);
        r = str_add(out, "\nAnother backend answers: hafizctl --socket ");
        if (r == 0)
            r = ctl_add_clean(out, path, strlen(path));
        if (r == 0)
            r = str_add(out, " status\n");
    }
    return r;
}

static int render(struct ctl *ctl, json_object *doc, unsigned next, struct str *out)
{
    if (ctl->json) {
        const char *s = json_object_to_json_string_ext(
            doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
        int r = s ? str_add(out, s) : -ENOMEM;
        return r < 0 ? r : str_add(out, "\n");
    }
    int r = ctl_status_text(doc, out);
    return r < 0 ? r : add_others(&ctl->places, next, out);
}

int ctl_status(struct ctl *ctl)
{
    _cleanup_(closep) int fd = -1;
    _cleanup_(str_fini) struct str out = STR_NULL;
    json_object *doc = NULL;
    unsigned next = 0;
    if (ctl_next(&ctl->places, &next, &fd) < 0)
        return ctl_fail_nobody(&ctl->places);
    int r = ctl_ask_status(fd, &doc);
    if (r < 0)
        return ctl_fail("%s: the backend does not tell its status: %s",
                        ctl->places.list[next - 1].path, strerror(-r));
    r = render(ctl, doc, next, &out);
    json_object_put(doc);
    if (r < 0)
        return ctl_fail("%s", strerror(-r));
    if (fwrite(out.s, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
        return ctl_fail("writing to standard output: %s", strerror(errno));
    return CTL_OK;
}
