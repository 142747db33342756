/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Arguments to struct opts. Every option is a row of options.tbl; what is written here is only how
 * an argument of each kind is read, and the two grammars (--name value, -o word=value). */
#include "fused/opts.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/limits.h"

enum form { LONG = 1, WORD = 2, BOTH = 3 };
enum kind { FLAG, NUM, OCT, OWNER, STR, OLD, ENDPOINT, KEY, PASS, SKIP };

struct row {
    const char *name;
    enum form forms;
    enum kind kind;
    size_t field;
    uint64_t value;
    const char *help;
};

#define GROUP(title)
#define OPT(name, forms, kind, field, value, arg, help) \
    {name, forms, kind, offsetof(struct opts, field), value, help},
static const struct row rows[] = {
#include "fused/options.tbl"
};
#undef GROUP
#undef OPT

const char *opts_row(unsigned i, const char **ret_help)
{
    if (i >= ARRAY_SIZE(rows))
        return NULL;
    *ret_help = rows[i].help;
    return rows[i].name;
}

static int fail(char **why, char *text)
{
    free(*why);
    *why = text;
    return text ? -EINVAL : -ENOMEM;
}

static bool same_name(const char *name, const char *s, size_t len)
{
    for (; len > 0; name++, s++, len--) {
        char c = *s == '_' ? '-' : *s;
        if (c != (*name == '_' ? '-' : *name))
            return false;
    }
    return *name == '\0';
}

static const struct row *row_find(const char *name, size_t len, enum form form)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if ((rows[i].forms & form || rows[i].kind == KEY) && same_name(rows[i].name, name, len))
            return &rows[i];
    return NULL;
}

static bool kind_takes_value(enum kind kind)
{
    return kind != FLAG && kind != PASS && kind != SKIP;
}

static int set_str(char **field, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

static int set_owner(uint64_t *field, bool group, const char *value)
{
    uint64_t n;
    if (str_to_u64(value, 10, &n) == 0 && n < UINT32_MAX) {
        *field = n;
        return 0;
    }
    struct passwd *pw = group ? NULL : getpwnam(value);
    struct group *gr = group ? getgrnam(value) : NULL;
    if (!pw && !gr)
        return -EINVAL;
    *field = pw ? pw->pw_uid : gr->gr_gid;
    return 0;
}

bool opts_is_endpoint(const char *url)
{
    size_t scheme = str_starts(url, "https://") ? 8 : str_starts(url, "http://") ? 7 : 0;
    const char *host = url + scheme;
    size_t len = strcspn(host, "/");
    const char *colon = memrchr(host, ':', len);
    uint64_t port = 443;

    if (scheme == 0 || len == 0 || colon == host || strpbrk(host, "@?# \\\"<>"))
        return false;
    for (const char *c = host; *c; c++)
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
            return false;
    if (colon && !memchr(colon, ']', len - (size_t)(colon - host))) {
        char digits[6] = "";
        size_t n = len - (size_t)(colon + 1 - host);
        if (n >= sizeof(digits))
            return false;
        memcpy(digits, colon + 1, n);
        if (str_to_u64(digits, 10, &port) < 0)
            return false;
    }
    return port > 0 && port <= 65535;
}

/* s3fs' `endpoint=` is a region, ours a URL. */
static int set_endpoint(struct opts *o, bool may_be_region, const char *value, char **why)
{
    if (opts_is_endpoint(value))
        return set_str(&o->endpoint, value);
    if (!may_be_region || value[0] == '\0' ||
        strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(value))
        return fail(why, str_dup_printf(
                             "the endpoint is no URL like http://host:9000 (no user, no query)"));
    return set_str(&o->region, value);
}

static int set_key(struct secret **field, char *value)
{
    struct secret *s;
    int r = secret_new(value, strlen(value), &s);
    secret_wipe(value, strlen(value));
    if (r < 0)
        return r;
    secret_unref(*field);
    *field = s;
    return 0;
}

static int set_number(uint64_t *field, const struct row *row, const char *value)
{
    uint64_t n;
    if (str_to_u64(value, row->kind == OCT ? 8 : 10, &n) < 0 || n > row->value)
        return -EINVAL;
    *field = n;
    return 0;
}

static int set_kernel(struct str *kernel, const char *name)
{
    return str_addf(kernel, ",%s", name);
}

/* name, len: as it was written. value: NULL, or a text that may be overwritten. */
static int row_set(struct opts *o, const struct row *row, enum form form, const char *name,
                   size_t len, char *value, char **why)
{
    void *field = (char *)o + row->field;
    int r = 0;

    if (kind_takes_value(row->kind) && !value)
        return fail(why, str_dup_printf("option '%.*s' needs a value", (int)len, name));
    if (row->kind == FLAG && value)
        return fail(why, str_dup_printf("option '%.*s' takes no value", (int)len, name));
    switch (row->kind) {
    case FLAG:
        *(uint64_t *)field = row->value;
        break;
    case NUM:
    case OCT:
        r = set_number(field, row, value);
        break;
    case OWNER:
        r = set_owner(field, row->value == 1, value);
        break;
    case OLD:
        o->s3fs |= form == WORD;
        r = field == &o->endpoint ? set_endpoint(o, false, value, why) : set_str(field, value);
        break;
    case STR:
        r = set_str(field, value);
        break;
    case ENDPOINT:
        r = set_endpoint(o, form == WORD, value, why);
        break;
    case KEY:
        r = set_key(field, value);
        break;
    case PASS:
        r = set_kernel(field, row->name);
        break;
    case SKIP:
        break;
    }
    if (r == -EINVAL && !*why)
        return fail(why,
                    str_dup_printf("option '%.*s': '%s' is not possible", (int)len, name, value));
    return r;
}

/* One word of -o, already cut out and unescaped. */
static int word_set(struct opts *o, char *word, char **why)
{
    char *value = strchr(word, '=');
    size_t len = value ? (size_t)(value++ - word) : strlen(word);

    if (len == 0 || strncmp(word, "x-", 2) == 0 || strncmp(word, "X-", 2) == 0)
        return 0;
    const struct row *row = row_find(word, len, WORD);
    if (row && row->kind == KEY)
        return fail(why,
                    str_dup_printf("'%.*s' is refused in -o and fstab, where everybody can read "
                                   "it; use passwd_file=, secret_key_file= or profile=",
                                   (int)len, word));
    if (!row && o->sloppy)
        return 0;
    if (!row)
        return fail(why, str_dup_printf("unknown option '%.*s' (see --help)", (int)len, word));
    return row_set(o, row, WORD, word, len, value, why);
}

/* Words are separated by commas; `\,` is a comma within one. The copy of the words may hold a
 * secret that we are about to refuse, so it and the original are wiped. */
static int words_set(struct opts *o, char *words, char **why)
{
    size_t size = strlen(words);
    _cleanup_(freep) char *copy = malloc(size + 1);
    int r = 0;

    if (!copy)
        return -ENOMEM;
    for (char *in = words; r == 0 && *in;) {
        char *out = copy;
        for (; *in && *in != ','; in++) {
            if (in[0] == '\\' && (in[1] == ',' || in[1] == '\\'))
                in++;
            *out++ = *in;
        }
        *out = '\0';
        if (*in == ',')
            in++;
        r = word_set(o, copy, why);
    }
    if (r < 0)
        secret_wipe(words, size);
    secret_wipe(copy, size);
    return r;
}

static int long_set(struct opts *o, char **argv, int *at, int argc, char **why)
{
    char *name = argv[*at] + 2, *value = strchr(name, '=');
    size_t len = value ? (size_t)(value++ - name) : strlen(name);
    const struct row *row = row_find(name, len, LONG);

    if (!row || row->help == NULL || !(row->forms & LONG))
        return fail(why, str_dup_printf("unknown option '--%.*s' (see --help)", (int)len, name));
    if (!value && kind_takes_value(row->kind) && *at + 1 < argc)
        value = argv[++*at];
    return row_set(o, row, LONG, name, len, value, why);
}

static int short_set(struct opts *o, char **argv, int *at, int argc, char **why)
{
    char *arg = argv[*at], *value = arg[2] ? arg + 2 : NULL;

    if (strchr("otN", arg[1])) {
        if (!value && *at + 1 < argc)
            value = argv[++*at];
        if (!value)
            return fail(why, str_dup_printf("option '-%c' needs a value", arg[1]));
        return arg[1] == 'o' ? words_set(o, value, why) : 0;
    }
    while (*++arg) {
        switch (*arg) {
        case 'f': /* "fake" from mount(8), "foreground" from people */
            if (o->helper)
                o->fake = true;
            else
                o->foreground = 1;
            break;
        case 's': /* "sloppy" from mount(8), "single thread" from FUSE programs */
            o->sloppy |= o->helper;
            break;
        case 'd':
            o->debug = 1;
            break;
        case 'h':
            o->help = 1;
            break;
        case 'V':
            o->version = 1;
            break;
        case 'r':
        case 'w':
            o->rw = *arg == 'w';
            break;
        case 'n':
        case 'v':
            break;
        default:
            return fail(why, str_dup_printf("unknown option '-%c' (see --help)", *arg));
        }
    }
    return 0;
}

static int operand_set(struct opts *o, const char *arg, char **why)
{
    if (!o->source)
        return set_str(&o->source, arg);
    if (!o->mountpoint)
        return set_str(&o->mountpoint, arg);
    return fail(why, str_dup_printf("one argument too many: '%s' (see --help)", arg));
}

/* After a failure the rest is not looked at, but must not stay readable either. */
static void wipe_rest(int argc, char **argv, int at)
{
    for (; at < argc; at++)
        secret_wipe(argv[at], strlen(argv[at]));
}

static int check(struct opts *o, char **why)
{
    if (o->help || o->version)
        return 0;
    if (!o->source)
        return fail(why, str_dup_printf(
                             "usage: hafiz-mount SOURCE MOUNTPOINT [options]; --help says more"));
    if (!o->mountpoint)
        return fail(why, str_dup_printf("MOUNTPOINT is missing (see --help)"));
    if (o->mountpoint[0] == '\0')
        return fail(why, str_dup_printf("the mount point's name is empty"));
    if (o->allow_other && o->allow_root)
        return fail(why, str_dup_printf("allow-other and allow-root exclude each other"));
    if (o->cache && !str_eq(o->cache, "disk") && !str_eq(o->cache, "memory"))
        return fail(why, str_dup_printf("cache is disk or memory"));
    if (o->cache && str_eq(o->cache, "memory") && o->cache_dir)
        return fail(why, str_dup_printf("a cache in memory has no directory"));
    if (o->passthrough && !str_eq(o->passthrough, "auto") && !str_eq(o->passthrough, "off"))
        return fail(why, str_dup_printf("passthrough is auto or off"));
    if (o->access_key && !o->secret_key && !o->secret_key_file)
        return fail(why, str_dup_printf("--access-key needs --secret-key or --secret-key-file"));
    if (!o->access_key && o->secret_key)
        return fail(why, str_dup_printf("--secret-key needs --access-key"));
    if (o->rw == OPTS_UNSET)
        o->rw = o->s3fs && !o->helper;
    o->endpoint_given = o->endpoint != NULL;
    if (o->allow_other && !o->helper)
        o->auto_unmount = 1;
    if (o->debug)
        o->foreground = 1;
    return 0;
}

int opts_parse(int argc, char **argv, struct opts *o, char **why)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    bool only_operands = false;
    int r = 0, i;

    *why = NULL;
    *o = (struct opts){
        .rw = OPTS_UNSET,
        .attr_ttl_s = OPTS_UNSET,
        .timeo_s = TIMEO_DEFAULT_S,
        .readahead_kib = READAHEAD_DEFAULT_KIB,
        .uid = OPTS_UNSET,
        .gid = OPTS_UNSET,
        .umask = OPTS_UNSET,
        .file_mode = OPTS_UNSET,
        .dir_mode = OPTS_UNSET,
        .helper = argc > 0 && str_starts(slash ? slash + 1 : argv[0], "mount."),
    };
    for (i = 1; r == 0 && i < argc; i++) {
        if (only_operands || argv[i][0] != '-' || argv[i][1] == '\0')
            r = operand_set(o, argv[i], why);
        else if (strcmp(argv[i], "--") == 0)
            only_operands = true;
        else if (argv[i][1] == '-')
            r = long_set(o, argv, &i, argc, why);
        else
            r = short_set(o, argv, &i, argc, why);
    }
    if (r < 0)
        wipe_rest(argc, argv, i);
    return r < 0 ? r : check(o, why);
}

void opts_fini(struct opts *o)
{
    char **texts[] = {&o->source,          &o->mountpoint, &o->endpoint,
                      &o->region,          &o->profile,    &o->passwd_file,
                      &o->secret_key_file, &o->socket,     &o->cache_dir,
                      &o->passthrough,     &o->cache};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    secret_unref(o->access_key);
    secret_unref(o->secret_key);
    secret_unref(o->session_token);
    free(o->prefetch);
    o->prefetch = NULL;
    o->access_key = o->secret_key = o->session_token = NULL;
    str_fini(&o->kernel);
}
