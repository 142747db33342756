/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reads the whole configuration before anything starts: lines become sections, sections are
 * judged when they end, and the first mistake is told with its line. */
#include "s3proxyd/conf/conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "s3proxyd/conf/conf-option.h"
#include "s3proxyd/cred/ini.h"
#include "s3proxyd/cred/keyfile.h"

#define DAEMON_SECTION "s3proxyd"
#define VOLUMES_MAX 4096u

struct reader {
    struct conf *conf;
    struct conf_raw raw; /* the volume being read; name NULL: none */
    bool in_daemon, daemon_seen;
    unsigned daemon_lines[CONF_OPTIONS_MAX];
    unsigned secret_line; /* the first one with a secret; 0: none */
    unsigned line;        /* of the error */
    struct str why;
};

void conf_free(struct conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < conf->nvolumes; i++)
        conf_volume_fini(&conf->volumes[i]);
    free(conf->volumes);
    free(conf->socket_path);
    free(conf->cache_dir);
    free(conf->state_dir);
    free(conf->ca_bundle);
    free(conf->proxy);
    free(conf);
}

__attribute__((format(printf, 3, 4))) static int fail(struct reader *rd, unsigned line,
                                                      const char *fmt, ...);
static int fail(struct reader *rd, unsigned line, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    rd->line = line;
    return str_add(&rd->why, text) < 0 ? -ENOMEM : -EINVAL;
}

/* The volume whose section ended becomes part of the configuration. */
static int end_volume(struct reader *rd)
{
    struct conf *conf = rd->conf;
    struct conf_volume *volumes;
    int r;

    if (!rd->raw.v.name)
        return 0;
    r = conf_volume_finish(&rd->raw, &rd->why, &rd->line);
    if (r < 0)
        return r;
    volumes = realloc(conf->volumes, (conf->nvolumes + 1) * sizeof(*volumes));
    if (!volumes)
        return -ENOMEM;
    conf->volumes = volumes;
    volumes[conf->nvolumes++] = rd->raw.v;
    rd->raw.v = (struct conf_volume){0};
    conf_raw_fini(&rd->raw);
    return 0;
}

static bool name_ok(const char *name)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";

    return !name[strspn(name, plain)] && name[0] != '.' && name[0] != '-' && strlen(name) <= 255;
}

static int begin_section(struct reader *rd, const struct ini_line *line)
{
    int r = end_volume(rd);

    if (r < 0)
        return r;
    rd->in_daemon = strcmp(line->section, DAEMON_SECTION) == 0;
    if (rd->in_daemon) {
        if (rd->daemon_seen)
            return fail(rd, line->number, "section [" DAEMON_SECTION "] is there twice");
        rd->daemon_seen = true;
        return 0;
    }
    if (!name_ok(line->section))
        return fail(rd, line->number,
                    "volume name `%s`: only letters, digits, `-`, `_` and `.` are allowed",
                    log_esc(line->section));
    if (conf_volume_find(rd->conf, line->section, strlen(line->section)))
        return fail(rd, line->number, "volume [%s] is there twice", line->section);
    if (rd->conf->nvolumes >= VOLUMES_MAX)
        return fail(rd, line->number, "too many volumes");
    rd->raw.line = line->number;
    rd->raw.v.name = strdup(line->section);
    return rd->raw.v.name ? conf_option_defaults(CONF_VOLUME, &rd->raw) : -ENOMEM;
}

static int set_option(struct reader *rd, const struct ini_line *line)
{
    enum conf_section section = rd->in_daemon ? CONF_DAEMON : CONF_VOLUME;
    void *target = rd->in_daemon ? (void *)rd->conf : (void *)&rd->raw;
    const struct conf_option *o = conf_option_find(section, line->name);
    unsigned *seen;
    int r;

    if (!o)
        return fail(rd, line->number, "unknown option `%s` in [%s]", log_esc(line->name),
                    line->section);
    seen = (rd->in_daemon ? rd->daemon_lines : rd->raw.lines) + conf_option_index(o);
    if (*seen)
        return fail(rd, line->number, "option `%s` was given in line %u already", o->name, *seen);
    *seen = line->number;
    if (o->type == CONF_SECRET && rd->secret_line == 0)
        rd->secret_line = line->number;
    r = str_addf(&rd->why, "%s: ", o->name);
    rd->line = line->number;
    if (r == 0)
        r = conf_option_set(o, target, line->value, &rd->why);
    if (r == 0)
        str_clear(&rd->why);
    return r;
}

static int take_line(void *arg, const struct ini_line *line)
{
    struct reader *rd = arg;

    if (!line->name)
        return begin_section(rd, line);
    if (!line->section[0])
        return fail(rd, line->number, "option `%s` stands before any section", log_esc(line->name));
    return set_option(rd, line);
}

static int check_owner(struct reader *rd, const struct stat *st)
{
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return fail(rd, 0, "the file belongs to another user");
    if (st->st_mode & S_IWOTH)
        return fail(rd, 0, "the file may be changed by everybody (chmod o-w)");
    if (rd->secret_line > 0 && (st->st_mode & S_IRWXO))
        return fail(rd, rd->secret_line,
                    "a secret stands here and the file is open to everybody (chmod o=)");
    return 0;
}

static int parse(struct reader *rd, char *text, size_t len)
{
    const char *why = NULL;
    unsigned line = 0;
    int r = ini_parse(text, len, take_line, rd, &line, &why);

    if (r < 0 && why)
        return fail(rd, line, "%s", why);
    return r < 0 ? r : end_volume(rd);
}

/* "FILE:LINE: what"; NULL when memory is short, which the error number says as well. */
static char *error_text(const char *file, const struct reader *rd, int r)
{
    const char *what = rd->why.len > 0 ? rd->why.s : strerrordesc_np(-r);

    if (rd->line > 0)
        return str_dup_printf("%s:%u: %s", file, rd->line, what);
    return str_dup_printf("%s: %s", file, what);
}

static int finish(struct reader *rd, const char *file, int r, struct conf **ret_conf,
                  char **ret_error)
{
    if (r < 0)
        *ret_error = error_text(file, rd, r);
    else
        *ret_conf = take(rd->conf);
    conf_free(rd->conf);
    conf_raw_fini(&rd->raw);
    str_fini(&rd->why);
    return r;
}

static int begin(struct reader *rd)
{
    rd->conf = calloc(1, sizeof(*rd->conf));
    return rd->conf ? conf_option_defaults(CONF_DAEMON, rd->conf) : -ENOMEM;
}

int conf_parse(const char *file, char *text, size_t len, struct conf **ret_conf, char **ret_error)
{
    struct reader rd = {0};
    int r = begin(&rd);

    if (r == 0)
        r = parse(&rd, text, len);
    return finish(&rd, file, r, ret_conf, ret_error);
}

int conf_load(const char *path, struct conf **ret_conf, char **ret_error)
{
    _cleanup_(keyfile_fini) struct keyfile file = KEYFILE_NULL;
    struct reader rd = {0};
    int r = begin(&rd);

    *ret_error = NULL;
    if (r == 0 && path) {
        r = keyfile_read(path, true, &file);
        if (r == 0)
            r = check_owner(&rd, &file.st);
        if (r == 0)
            r = parse(&rd, file.text, file.len);
        if (r == 0) /* now it is known whether secrets stand in it */
            r = check_owner(&rd, &file.st);
    }
    return finish(&rd, path ? path : "built-in defaults", r, ret_conf, ret_error);
}

const struct conf_volume *conf_volume_find(const struct conf *conf, const char *name, size_t len)
{
    for (size_t i = 0; i < conf->nvolumes; i++)
        if (strlen(conf->volumes[i].name) == len && memcmp(conf->volumes[i].name, name, len) == 0)
            return &conf->volumes[i];
    return NULL;
}
