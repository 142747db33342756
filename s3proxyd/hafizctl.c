/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* hafizctl: asks a running backend. A command is a row of the table below. */
#include "s3proxyd/hafizctl.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/client.h"

#define SYSTEM_SOCKET "/run/hafiz/s3proxyd.sock"
#define STATUS_TIMEOUT_MS 10000u
#define JSON_DEPTH 8

static const struct command {
    const char *name, *args, *help;
    int nargs;
    bool json, jobs; /* takes --json, --jobs */
    int (*fn)(struct ctl *ctl);
} commands[] = {
    {"status", "[--json]", "backend, cache, unsaved data, mounts, stores, problems", 0, true,
     false, ctl_status},
    {"refresh", "PATH", "forget what is cached about PATH, a directory with all below", 1, false,
     false, ctl_refresh},
    {"warm", "PATH|VOLUME[/PREFIX]", "[--jobs N] [--json] fetch all of it into the cache", 1, true,
     true, ctl_warm},
};

int ctl_fail(const char *fmt, ...)
{
    char line[2048];
    _cleanup_(str_fini) struct str clean = STR_NULL;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    bool ok = ctl_add_clean(&clean, line, strlen(line)) == 0 && clean.s;
    fprintf(stderr, "hafizctl: %s\n", ok ? clean.s : "failed");
    return CTL_FAILED;
}

/* Finding the backend */

static void add_place(struct ctl_places *p, char *path, bool trusted)
{
    for (unsigned i = 0; path && i < p->n; i++)
        if (!strcmp(p->list[i].path, path)) {
            free(path);
            path = NULL;
        }
    if (path && p->n < CTL_PLACES_MAX)
        p->list[p->n++] = (struct ctl_place){path, trusted};
    else
        free(path);
}

static void add_below(struct ctl_places *p, const char *dir, const char *below)
{
    if (dir && dir[0] == '/')
        add_place(p, str_dup_printf("%s%s/hafiz/s3proxyd.sock", dir, below), false);
}

static bool is_own_closed_dir(const char *dir)
{
    struct stat st;
    return dir && lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           !(st.st_mode & 077);
}

/* A mount made by mount(8) saw no environment, so its backend is below the home of passwd, whatever
 * XDG_RUNTIME_DIR and HOME are now: all are tried. */
static void find_places(struct ctl_places *p, const char *named)
{
    if (!named)
        named = getenv("HAFIZ_SOCKET");
    if (named && *named) {
        p->named = true;
        add_place(p, strdup(named), true);
        return;
    }
    const struct passwd *pw = getpwuid(geteuid());
    if (is_own_closed_dir(getenv("XDG_RUNTIME_DIR")))
        add_below(p, getenv("XDG_RUNTIME_DIR"), "");
    char usual[64];
    snprintf(usual, sizeof(usual), "/run/user/%u", (unsigned)geteuid());
    if (is_own_closed_dir(usual) && !str_eq(usual, getenv("XDG_RUNTIME_DIR")))
        add_below(p, usual, "");
    add_below(p, getenv("XDG_STATE_HOME"), "");
    add_below(p, getenv("HOME"), "/.local/state");
    add_below(p, pw ? pw->pw_dir : NULL, "/.local/state");
    add_place(p, strdup(SYSTEM_SOCKET), true); /* only root can put it there */
}

/* 0 | -ENOENT or -ECONNREFUSED (nobody listens) | -errno */
static int open_place(const struct ctl_place *place, int *ret_fd)
{
    struct msg_hello_rep hello;
    struct stat st;
    _cleanup_(closep) int fd = -1;
    uid_t owner = place->trusted && stat(place->path, &st) == 0 ? st.st_uid : geteuid();
    int r = client_connect(place->path, owner, HELLO_TIMEOUT_MS, &fd);
    if (r == 0)
        r = client_hello(fd, "hafizctl", HELLO_TIMEOUT_MS, &hello);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

int ctl_next(struct ctl_places *places, unsigned *index, int *ret_fd)
{
    while (*index < places->n) {
        const struct ctl_place *place = &places->list[(*index)++];
        int r = open_place(place, ret_fd);
        if (r == 0)
            return 0;
        if (r != -ENOENT && r != -ECONNREFUSED && r != -ENOTDIR && !places->bad) {
            places->bad = r;
            places->bad_path = place->path;
        }
    }
    return -ENOENT;
}

static const char *open_why(int error)
{
    switch (error) {
    case -EPROTO:
        return "what listens there is no hafiz backend";
    case -EPROTONOSUPPORT:
        return "the backend speaks another version of the protocol";
    case -EPERM:
        return "the socket belongs to another user";
    case -ETIMEDOUT:
        return "the backend does not answer";
    default:
        return strerror(-error);
    }
}

int ctl_fail_nobody(const struct ctl_places *places)
{
    _cleanup_(str_fini) struct str list = STR_NULL;
    int r = 0;
    if (places->bad)
        return ctl_fail("%s: %s", places->bad_path, open_why(places->bad));
    for (unsigned i = 0; r == 0 && i < places->n; i++)
        r = str_addf(&list, "%s%s", i ? ", " : "", places->list[i].path);
    const char *where = list.s ? list.s : "nowhere";
    if (places->named)
        return ctl_fail("%s: no backend listens there", where);
    return ctl_fail("no backend is running (looked at %s)", where);
}

int ctl_answer_json(const struct client_answer *answer, json_object **ret_doc)
{
    json_tokener *tok = json_tokener_new_ex(JSON_DEPTH);
    if (!tok)
        return -ENOMEM;
    /* The frame bounds the length, far below INT_MAX. */
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    json_object *doc = json_tokener_parse_ex(tok, (const char *)frame_payload(&answer->frame),
                                             (int)answer->frame.payload_len);
    bool whole = json_tokener_get_error(tok) == json_tokener_success &&
                 json_tokener_get_parse_end(tok) == answer->frame.payload_len;
    json_tokener_free(tok);
    if (!whole || !json_object_is_type(doc, json_type_object)) {
        json_object_put(doc);
        return -EPROTO;
    }
    *ret_doc = doc;
    return 0;
}

int ctl_ask_status(int fd, json_object **ret_doc)
{
    static const struct msg_status_req req;
    _cleanup_(str_fini) struct str fields = STR_NULL;
    _cleanup_(client_answer_fini) struct client_answer answer = {0};
    int r = msg_pack_status_req(&fields, &req);
    if (r == 0)
        r = client_ask(fd, MSG_STATUS, &fields, NULL, 0, STATUS_TIMEOUT_MS, &answer);
    if (r == 0)
        r = answer.error;
    if (r < 0)
        return r;
    return ctl_answer_json(&answer, ret_doc);
}

/* The command line */

static void print_help(FILE *out)
{
    fprintf(out, "usage: hafizctl [--socket PATH] COMMAND\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(out, "  %-8s %-9s %s\n", commands[i].name, commands[i].args, commands[i].help);
    fprintf(out, "\noptions:\n"
                 "  --socket PATH      the backend's socket (also: HAFIZ_SOCKET); else your own\n"
                 "                     backend's, else " SYSTEM_SOCKET "\n"
                 "  --help, --version\n"
                 "\nSee hafizctl(1).\n");
}

static int run(struct ctl *ctl, const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->name, word))
            continue;
        if (ctl->nargs == c->nargs && (!ctl->json || c->json) && (!ctl->jobs || c->jobs))
            return c->fn(ctl);
        return ctl_fail("usage: hafizctl %s %s", c->name, c->args);
    }
    return ctl_fail("there is no command '%s'; see hafizctl --help", word);
}

static int set_jobs(struct ctl *ctl, const char *text)
{
    uint64_t n;
    int r = str_to_u64(text, 10, &n);
    if (r < 0 || n == 0 || n > PROTO_WARM_REQUESTS_MAX) {
        ctl_fail("--jobs wants a number from 1 to %u", PROTO_WARM_REQUESTS_MAX);
        return -EINVAL;
    }
    ctl->jobs = (unsigned)n;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'V'},
        {"jobs", required_argument, NULL, 'n'},
        {0},
    };
    struct ctl ctl = {0};
    const char *named = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
        switch (c) {
        case 's':
            named = optarg;
            break;
        case 'j':
            ctl.json = true;
            break;
        case 'n':
            if (set_jobs(&ctl, optarg) < 0)
                return CTL_FAILED;
            break;
        case 'h':
            print_help(stdout);
            return CTL_OK;
        case 'V':
            printf("hafizctl %s\n", HAFIZ_VERSION);
            return CTL_OK;
        default:
            return CTL_FAILED; /* getopt said why */
        }
    }
    if (optind == argc) {
        print_help(stderr);
        return CTL_FAILED;
    }
    ctl.args = argv + optind + 1;
    ctl.nargs = argc - optind - 1;
    find_places(&ctl.places, named);
    int r = run(&ctl, argv[optind]);
    for (unsigned i = 0; i < ctl.places.n; i++)
        free(ctl.places.list[i].path);
    return r;
}
