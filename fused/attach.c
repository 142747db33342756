/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The decisions of a mount's start. A bare word without keys of its own on the command line may be
 * a volume: the system's backend (or the named one) is asked first, and only when there is no such
 * volume (-ENODEV) the word is a bucket. A bucket is served by the caller's private backend, unless
 * a socket was named. */
#include "fused/attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/client.h"

#define GS_ENDPOINT "https://storage.googleapis.com"

void attach_close(struct attached *a)
{
    closep(&a->rpc_fd);
    closep(&a->push_fd);
    closep(&a->ring_fd);
    *a = ATTACHED_NULL;
}

int attach_init(struct attach *a, struct opts *opts, char **why)
{
    *a = (struct attach){.opts = opts};
    if (opts->prefetch && strlen(opts->prefetch) > PROTO_SOURCE_MAX_BYTES) {
        *why = strdup("prefetch: more than 4096 bytes of paths");
        return -EINVAL;
    }
    int r = source_parse(opts->source, &a->source, why);
    if (r == 0)
        r = keys_find(opts, &a->source, &a->keys, why);
    if (r == 0 && getrandom(a->instance, sizeof(a->instance), 0) != sizeof(a->instance))
        r = -EIO;
    return r;
}

void attach_fini(struct attach *a)
{
    source_fini(&a->source);
    keys_fini(&a->keys);
    backend_fini(&a->backend);
}

static uint64_t or_else(uint64_t value, uint64_t otherwise)
{
    return value == OPTS_UNSET ? otherwise : value;
}

static struct msg_str secret_str(const struct secret *s)
{
    struct msg_str m = {NULL, 0};
    if (s)
        m.s = secret_bytes(s, &m.len);
    return m;
}

static struct msg_attach_req request(const struct attach *a)
{
    const struct opts *o = a->opts;
    uint64_t umask_bits = or_else(o->umask, OPTS_UNSET);
    uint64_t files = umask_bits == OPTS_UNSET ? 0644 : 0666 & ~umask_bits;
    uint64_t dirs = umask_bits == OPTS_UNSET ? 0755 : 0777 & ~umask_bits;
    struct msg_attach_req m = {
        .instance = {(const char *)a->instance, sizeof(a->instance)},
        .resume = a->decided,
        .source = msg_str_of(o->source),
        .mountpoint = msg_str_of(o->mountpoint),
        .prefetch = msg_str_of(a->prefetched ? NULL : o->prefetch),
        .rw = o->rw,
        .cto = o->cto,
        .attr_ttl_ms = o->attr_ttl_s == OPTS_UNSET ? ATTR_TTL_UNSET_MS : o->attr_ttl_s * 1000,
        .uid = or_else(o->uid, geteuid()),
        .gid = or_else(o->gid, getegid()),
        .file_mode = or_else(o->file_mode, files),
        .dir_mode = or_else(o->dir_mode, dirs),
    };
    if (a->volume) {
        m.volume = msg_str_of(a->source.bucket);
        m.prefix = msg_str_of(a->source.prefix);
        return m;
    }
    m.kind = a->source.kind == SOURCE_FILE ? 2 : 1;
    m.bucket = msg_str_of(a->source.bucket);
    m.prefix = msg_str_of(a->source.prefix);
    m.endpoint = msg_str_of(o->endpoint                   ? o->endpoint
                            : a->source.kind == SOURCE_GS ? GS_ENDPOINT
                                                          : NULL);
    m.region = msg_str_of(o->region);
    m.addressing = o->addressing;
    m.insecure_http = o->insecure_http;
    m.cred = a->keys.kind;
    m.profile = msg_str_of(a->keys.profile);
    if (a->keys.cred) {
        m.access_key = msg_str_of(a->keys.cred->access_key);
        m.secret_key = secret_str(a->keys.cred->secret_key);
        m.session_token = secret_str(a->keys.cred->session_token);
    }
    return m;
}

/* What the user should know although all is well: first on the terminal, later in the log. */
static void note(const struct attach *a, const char *text)
{
    if (a->decided)
        log_warn("attach", "%s", text);
    else
        fprintf(stderr, "hafiz-mount: %s\n", text);
}

static int ask_attach(const struct attach *a, int fd, struct client_answer *answer)
{
    struct msg_attach_req m = request(a);
    _cleanup_(str_wipe) struct str fields = STR_NULL;
    int r = str_reserve(&fields, PROTO_HEAD_MAX_BYTES); /* growing would leave keys behind */
    if (r == 0)
        r = msg_pack_attach_req(&fields, &m);
    if (r == 0)
        r = client_ask(fd, MSG_ATTACH, &fields, NULL, 0, ATTACH_TIMEOUT_MS, answer);
    return r;
}

static int take_attach(const struct attach *a, struct client_answer *answer, struct attached *ret,
                       struct msg_str *token)
{
    struct msg_attach_rep rep;
    int r = msg_unpack_attach_rep(answer->head.fields, answer->head.fields_len, &rep);
    if (r < 0)
        return r;
    if (rep.root <= ROOT_INO || rep.token.len != PROTO_TOKEN_BYTES ||
        answer->nfds != (rep.rw != 0) ||
        (rep.rw &&
         (rep.ring_bytes < PROTO_RING_SLOT_BYTES || rep.ring_bytes % PROTO_RING_SLOT_BYTES)))
        return -EPROTO;
    if (rep.notice.len > 0)
        note(a, log_escn(rep.notice.s, rep.notice.len));
    ret->root = rep.root;
    ret->rw = rep.rw;
    ret->ring_bytes = rep.ring_bytes;
    if (answer->nfds > 0)
        ret->ring_fd = take_fd(&answer->fds[0]);
    *token = rep.token;
    return 0;
}

/* Pushes have a connection of their own: the first one may be full of replies while they are
 * urgent. */
static int bind_push(struct attach *a, struct msg_str token, int *ret_fd, char **why)
{
    struct str fields = STR_NULL;
    struct client_answer answer = {.nfds = 0};
    _cleanup_(closep) int fd = -1;
    struct msg_bind_req m = {.token = token};
    int r = backend_connect(&a->backend, &fd, why);

    if (r < 0)
        return r;
    r = msg_pack_bind_req(&fields, &m);
    if (r == 0) {
        r = client_ask(fd, MSG_BIND, &fields, NULL, 0, HELLO_TIMEOUT_MS, &answer);
        if (r == 0) {
            r = answer.error;
            client_answer_fini(&answer);
        }
    }
    str_fini(&fields);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

/* The server's text, safe for a terminal. NULL: none */
static char *words_of(struct msg_str text)
{
    char *words = msg_str_dup(text);
    for (char *s = words; s && *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
    return words;
}

/* One try on a->backend with a->volume as it is. A refusal's text is the server's. */
static int try(struct attach *a, struct attached *ret, char **why)
{
    struct client_answer answer = {.nfds = 0};
    struct msg_str token;
    int r = backend_connect(&a->backend, &ret->rpc_fd, why);

    if ((r == -ENOENT || r == -ECONNREFUSED) && !a->backend.mine) {
        *why = str_dup_printf("no backend listens at %s", a->backend.socket);
        return a->opts->socket ? -ENOTCONN : -ENODEV; /* none, so it has no volume of that name */
    }
    if (r < 0)
        return r;
    r = ask_attach(a, ret->rpc_fd, &answer);
    if (r < 0) {
        *why = r == -ETIMEDOUT ? str_dup_printf("the backend at %s did not answer within %u s",
                                                a->backend.socket, ATTACH_TIMEOUT_MS / 1000)
                               : str_dup_printf("the backend at %s hung up: %s", a->backend.socket,
                                                strerror(-r));
        return r;
    }
    r = answer.error;
    if (r < 0 && answer.text.len > 0)
        *why = words_of(answer.text);
    if (r == 0)
        r = take_attach(a, &answer, ret, &token);
    if (r == 0)
        r = bind_push(a, token, &ret->push_fd, why);
    if (r == -EPROTO && !*why)
        *why = str_dup_printf("the backend at %s gave an answer that makes no sense",
                              a->backend.socket);
    client_answer_fini(&answer);
    return r;
}

/* Which endpoint, which profile: what the server's words leave out because it is ours. */
static char *context(const struct attach *a)
{
    if (a->volume || a->source.kind == SOURCE_FILE)
        return strdup("");
    if (a->keys.kind == KEYS_PROFILE)
        return str_dup_printf(" (profile %s%s%s)", a->keys.profile,
                              a->opts->endpoint ? ", endpoint " : "",
                              a->opts->endpoint ? a->opts->endpoint : "");
    return a->opts->endpoint ? str_dup_printf(" (endpoint %s)", a->opts->endpoint) : strdup("");
}

static int explain(const struct attach *a, int r, char **why)
{
    _cleanup_(freep) char *where = context(a);
    _cleanup_(freep) char *words = take(*why);
    const char *text = words && *words ? words : strerror(-r);

    if (r == -EACCES && a->volume)
        *why = str_dup_printf("%s; or give keys to use '%s' as a bucket", text, a->source.bucket);
    else if (r == -EACCES && !a->backend.mine && a->source.kind != SOURCE_FILE)
        *why = str_dup_printf("%s (add the bucket as a volume to its s3proxyd.conf, or leave out "
                              "--socket to use your own backend)",
                              text);
    else
        *why = str_dup_printf("%s%s", text, where ? where : "");
    return *why ? r : -ENOMEM;
}

static int no_keys(const struct attach *a, char **why)
{
    if (a->source.kind == SOURCE_WORD)
        *why = str_dup_printf(
            "'%s' is no volume of a backend here, and there are no keys to use it as "
            "a bucket: add a section [%s] to s3proxyd.conf, or give --access-key, "
            "--profile, --passwd-file or --anonymous",
            a->source.bucket, a->source.bucket);
    else
        *why = str_dup_printf("no keys for the bucket '%s': give --access-key and --secret-key, "
                              "--profile, --passwd-file or --anonymous, or make it a volume in "
                              "s3proxyd.conf",
                              a->source.bucket);
    return *why ? -ENOKEY : -ENOMEM;
}

static int as_bucket(struct attach *a, struct attached *ret, char **why)
{
    const struct opts *o = a->opts;
    int r;

    a->volume = false;
    if (a->source.kind != SOURCE_FILE && a->keys.kind == KEYS_NONE)
        return no_keys(a, why);
    backend_fini(&a->backend);
    if (o->socket)
        r = backend_named(&a->backend, o->socket);
    else
        r = backend_private(&a->backend, o->cache_dir, o->cache, why);
    if (r == 0)
        r = try(a, ret, why);
    if (r == 0 && o->cache && !a->backend.started)
        note(a, "the backend was running already: its own cache counts, not this option");
    if (r == 0 && o->cache_dir && !a->backend.started)
        note(a, "the backend was running already: its own cache directory counts, not this one");
    return r;
}

static int first(struct attach *a, struct attached *ret, char **why)
{
    const struct opts *o = a->opts;
    int r;

    if (a->source.kind != SOURCE_WORD || a->keys.asked || o->endpoint_given)
        return as_bucket(a, ret, why);
    a->volume = true;
    r = backend_named(&a->backend, o->socket ? o->socket : BACKEND_SYSTEM_SOCKET);
    if (r == 0)
        r = try(a, ret, why);
    if (r != -ENODEV)
        return r;
    free(take(*why));
    attach_close(ret);
    return as_bucket(a, ret, why);
}

int attach_run(struct attach *a, struct attached *ret, char **why)
{
    *ret = ATTACHED_NULL;
    *why = NULL;
    int r = a->decided ? try(a, ret, why) : first(a, ret, why);
    if (r == 0) {
        a->decided = true;
        return 0;
    }
    attach_close(ret);
    return r == -ENOMEM ? r : explain(a, r, why);
}
