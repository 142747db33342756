/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* `hafizctl warm`: what lies in a mount, or a volume by name, which is mounted for the purpose on a
 * connection of ours and shown to nobody. The backend does the work, and stops when our connection ends:
 * here it is asked how far it is, and told to people or to programs. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/client.h"
#include "s3proxyd/hafizctl.h"

#define ASK_TIMEOUT_MS 10000u
#define LOOK_FIRST_MS 10u  /* then later and later, for what is over soon */
#define LOOK_MS 200u
#define LINE_MS 5000u      /* where there is no terminal */
#define JSON_LINE_MS 1000u
#define SAMPLES 26u        /* of LOOK_MS: the rate is that of five seconds */

struct warming {
    struct ctl_found at;
    int session_fd;     /* of a volume; -1 */
    uint64_t job;
    json_object *doc;   /* the last answer */
    struct ctl_progress progress;
    struct sample {
        uint64_t ms, bytes;
    } samples[SAMPLES];
    unsigned nsamples;
    bool json, terminal, utf8, drawn;
    uint64_t said_ms;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void warming_fini(struct warming *w)
{
    json_object_put(w->doc);
    closep(&w->session_fd);
    ctl_found_fini(&w->at);
}

/* ---- what is to be fetched */

static int refused(const char *word, const struct client_answer *answer)
{
    _cleanup_(freep) char *text = answer->text.len ? msg_str_dup(answer->text) : NULL;
    return ctl_fail("%s: %s", word, text ? text : strerror(-answer->error));
}

/* *ret_next: this backend has no such volume. */
static int attach(struct warming *w, const char *word, bool *ret_next)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;
    _cleanup_(client_answer_fini) struct client_answer answer = {0};
    size_t len = strcspn(word, "/");
    struct msg_attach_req req = {.instance = {(const char *)w->at.instance, CTL_INSTANCE_BYTES},
                                 .source = {word, len},
                                 .volume = {word, len},
                                 .mountpoint = msg_str_of("(hafizctl warm)"),
                                 .attr_ttl_ms = ATTR_TTL_UNSET_MS};
    if (len == 0 || len > 255 || strlen(word) > PROTO_SOURCE_MAX_BYTES)
        return ctl_fail("%s: no name of a volume", word);
    int r = msg_pack_attach_req(&fields, &req);
    if (r == 0)
        r = client_ask(w->session_fd, MSG_ATTACH, &fields, NULL, 0, ATTACH_TIMEOUT_MS, &answer);
    if (r < 0)
        return ctl_fail("%s: %s", word, strerror(-r));
    *ret_next = answer.error == -ENODEV;
    return answer.error && !*ret_next ? refused(word, &answer) : CTL_OK;
}

static int find_volume(struct ctl *ctl, struct warming *w, const char *word)
{
    unsigned next = 0;
    bool other = true;
    const char *path = word + strcspn(word, "/");
    if (getrandom(w->at.instance, CTL_INSTANCE_BYTES, 0) != CTL_INSTANCE_BYTES)
        return ctl_fail("%s", strerror(EIO));
    w->at.path = strdup(path + strspn(path, "/"));
    if (!w->at.path)
        return ctl_fail("%s", strerror(ENOMEM));
    for (bool any = false; other; any = true) {
        closep(&w->session_fd);
        w->session_fd = -1;
        if (ctl_next(&ctl->places, &next, &w->session_fd) < 0)
            return any ? ctl_fail("%s: no path in a mount, and no volume of a backend here", word)
                       : ctl_fail_nobody(&ctl->places);
        int r = attach(w, word, &other);
        if (r != CTL_OK)
            return r;
    }
    next--; /* the same place again: a session has no time for questions of others */
    if (ctl_next(&ctl->places, &next, &w->at.fd) < 0)
        return ctl_fail_nobody(&ctl->places);
    return CTL_OK;
}

static int find(struct ctl *ctl, struct warming *w, const char *word)
{
    struct stat st;
    bool exists = stat(word, &st) == 0;
    if (!exists && word[0] != '/' && word[0] != '.')
        return find_volume(ctl, w, word);
    int r = ctl_find_mount(ctl, word, &w->at);
    if (r != CTL_OK || !exists || !S_ISDIR(st.st_mode) || !w->at.path[0])
        return r;
    char *dir = str_dup_printf("%s/", w->at.path); /* no object need be looked for */
    if (!dir)
        return ctl_fail("%s", strerror(ENOMEM));
    free(w->at.path);
    w->at.path = dir;
    return CTL_OK;
}

static int begin(struct ctl *ctl, struct warming *w, const char *word)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;
    _cleanup_(client_answer_fini) struct client_answer answer = {0};
    struct msg_warm_rep rep = {0};
    struct msg_warm_req req = {.instance = {(const char *)w->at.instance, CTL_INSTANCE_BYTES},
                               .path = msg_str_of(w->at.path),
                               .requests = ctl->jobs};
    if (req.path.len > PROTO_SOURCE_MAX_BYTES)
        return ctl_fail("%s: %s", word, strerror(ENAMETOOLONG));
    int r = msg_pack_warm_req(&fields, &req);
    if (r == 0)
        r = client_ask(w->at.fd, MSG_WARM, &fields, NULL, 0, ASK_TIMEOUT_MS, &answer);
    if (r == 0 && answer.error == -EOPNOTSUPP)
        return ctl_fail("%s: this backend is too old to warm anything", word);
    if (r == 0 && answer.error)
        return refused(word, &answer);
    if (r == 0)
        r = msg_unpack_warm_rep(answer.head.fields, answer.head.fields_len, &rep);
    w->job = rep.job;
    return r < 0 ? ctl_fail("%s: %s", word, strerror(-r)) : CTL_OK;
}

/* ---- how far it is */

static void sample(struct warming *w)
{
    struct ctl_progress *p = &w->progress;
    uint64_t bytes = p->bytes - MIN(p->present_bytes, p->bytes);
    struct sample now = {clock_mono_ns() / NS_PER_MS, bytes};
    if (w->nsamples == SAMPLES) {
        memmove(w->samples, w->samples + 1, (SAMPLES - 1) * sizeof(w->samples[0]));
        w->nsamples--;
    }
    w->samples[w->nsamples++] = now;
    const struct sample *first = &w->samples[0];
    uint64_t ms = now.ms - first->ms;
    p->rate = ms && bytes > first->bytes ? (double)(bytes - first->bytes) * 1000 / (double)ms : 0;
}

static int look(struct warming *w)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;
    _cleanup_(client_answer_fini) struct client_answer answer = {0};
    struct msg_warm_status_req req = {.job = w->job};
    json_object *doc = NULL;
    int r = msg_pack_warm_status_req(&fields, &req);
    if (r == 0)
        r = client_ask(w->at.fd, MSG_WARM_STATUS, &fields, NULL, 0, ASK_TIMEOUT_MS, &answer);
    if (r == 0)
        r = answer.error;
    if (r == 0)
        r = ctl_answer_json(&answer, &doc);
    if (r < 0)
        return r;
    json_object_put(w->doc);
    w->doc = doc;
    struct ctl_progress *p = &w->progress;
    p->bytes = ctl_u64_or_0(doc, "bytes");
    p->total_bytes = ctl_u64_or_0(doc, "total_bytes") - ctl_u64_or_0(doc, "lost_bytes");
    p->objects = ctl_u64_or_0(doc, "objects");
    p->total_objects = ctl_u64_or_0(doc, "total_objects");
    p->present_bytes = ctl_u64_or_0(doc, "present_bytes");
    p->elapsed_ms = ctl_u64_or_0(doc, "elapsed_ms");
    p->total_known = ctl_bool(doc, "total_known");
    sample(w);
    return 0;
}

static const char *state_of(const struct warming *w)
{
    json_object *state = ctl_member(w->doc, "state", json_type_string);
    return state ? json_object_get_string(state) : "";
}

static bool runs(const struct warming *w)
{
    return !strcmp(state_of(w), "running") || !strcmp(state_of(w), "counting");
}

static void say_json(struct warming *w)
{
    json_object_object_add(w->doc, "bytes_per_s", json_object_new_int64((int64_t)w->progress.rate));
    puts(json_object_to_json_string_ext(w->doc, JSON_C_TO_STRING_PLAIN));
    fflush(stdout);
}

static void draw(struct warming *w)
{
    _cleanup_(str_fini) struct str line = STR_NULL;
    struct winsize size = {0};
    unsigned width = CTL_WIDTH;
    if (w->terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    if (ctl_progress_line(&w->progress, width - 1, w->terminal, w->utf8, &line) < 0 || !line.s)
        return;
    fprintf(stderr, w->terminal ? "\r%s\033[K" : "%s\n", line.s);
    w->drawn = w->terminal;
}

static void erase(struct warming *w)
{
    if (w->drawn)
        fputs("\r\033[K", stderr);
    w->drawn = false;
}

static void show(struct warming *w)
{
    uint64_t now = w->progress.elapsed_ms;
    if (w->terminal && !w->json) {
        draw(w);
        return;
    }
    if (now - w->said_ms < (w->json ? JSON_LINE_MS : LINE_MS))
        return;
    w->said_ms = now;
    if (w->json)
        say_json(w);
    else
        draw(w);
}

/* ---- the end */

static void say_failures(const struct warming *w)
{
    json_object *list = ctl_member(w->doc, "failures", json_type_array);
    size_t n = list ? json_object_array_length(list) : 0;
    uint64_t failed = ctl_u64_or_0(w->doc, "failed");
    for (size_t i = 0; i < n; i++) {
        json_object *item = json_object_array_get_idx(list, i);
        json_object *key = ctl_member(item, "key", json_type_string);
        json_object *error = ctl_member(item, "error", json_type_string);
        if (key && error)
            ctl_fail("%s: %s", json_object_get_string(key), json_object_get_string(error));
    }
    if (failed > n)
        ctl_fail("and %llu more", (unsigned long long)(failed - n));
}

static void say_sum(const struct warming *w, const char *word)
{
    _cleanup_(str_fini) struct str out = STR_NULL;
    const struct ctl_progress *p = &w->progress;
    uint64_t changed = ctl_u64_or_0(w->doc, "changed"), fetched = p->bytes - p->present_bytes;
    int r = str_addf(&out, "%s: ", word);
    if (r == 0)
        r = ctl_add_count(&out, p->objects);
    if (r == 0)
        r = str_addf(&out, " object%s, ", p->objects == 1 ? "" : "s");
    if (r == 0)
        r = ctl_add_bytes(&out, p->bytes);
    if (r == 0)
        r = str_add(&out, "; ");
    if (r == 0)
        r = ctl_add_bytes(&out, fetched);
    if (r == 0)
        r = str_addf(&out, " fetched in %.1f s", (double)p->elapsed_ms / 1000);
    if (r == 0 && fetched && p->elapsed_ms) {
        r = str_add(&out, ", ");
        if (r == 0)
            r = ctl_add_bytes(&out, fetched * 1000 / p->elapsed_ms);
        if (r == 0)
            r = str_add(&out, "/s");
    }
    if (r == 0)
        puts(out.s);
    if (changed)
        printf("%llu replaced or removed meanwhile, and not fetched\n",
               (unsigned long long)changed);
}

static int say_full(const struct warming *w, const char *word)
{
    _cleanup_(str_fini) struct str out = STR_NULL;
    uint64_t size = ctl_u64_or_0(w->doc, "cache_size_bytes"), room = size;
    (void)ctl_u64(w->doc, "cache_room_bytes", &room);
    int r = ctl_add_bytes(&out, w->progress.bytes);
    if (r == 0)
        r = str_add(&out, " of ");
    if (r == 0)
        r = ctl_add_bytes(&out, w->progress.total_bytes);
    if (r == 0)
        r = str_add(&out, room < size ? " fit into the cache (min_free leaves it "
                                      : " fit into the cache (cache_size ");
    if (r == 0)
        r = ctl_add_bytes(&out, MIN(room, size));
    if (r == 0 && room < size)
        r = str_add(&out, " of the disk");
    if (r == 0 && w->progress.bytes < MIN(room, size) / 2 && w->progress.objects)
        r = str_add(&out, "; small objects take 12 KiB each");
    return ctl_fail("%s: %s)", word, r == 0 ? out.s : strerror(-r));
}

static int finish(struct warming *w, const char *word)
{
    json_object *error = ctl_member(w->doc, "error", json_type_string);
    bool full = !strcmp(state_of(w), "full"), done = !strcmp(state_of(w), "done");
    erase(w);
    if (w->json)
        say_json(w);
    else if (w->progress.objects || done || interrupted)
        say_sum(w, interrupted ? "stopped" : "warm");
    say_failures(w);
    if (interrupted)
        return CTL_INTERRUPTED;
    if (full)
        return say_full(w, word);
    if (!done && error && json_object_get_string_len(error) > 0)
        return ctl_fail("%s: %s", word, json_object_get_string(error));
    if (!done)
        return ctl_fail("%s: %llu of %llu objects could not be fetched", word,
                        (unsigned long long)ctl_u64_or_0(w->doc, "failed"),
                        (unsigned long long)w->progress.total_objects);
    return CTL_OK;
}

static int follow(struct warming *w, const char *word)
{
    int wait_ms = LOOK_FIRST_MS;
    for (;;) {
        int r = look(w);
        if (r < 0) {
            erase(w);
            return ctl_fail("%s: the backend is gone: %s", word, strerror(-r));
        }
        if (interrupted || !runs(w))
            return finish(w, word);
        show(w);
        if (!interrupted)
            (void)poll(NULL, 0, wait_ms);
        wait_ms = MIN(wait_ms * 2, (int)LOOK_MS);
    }
}

int ctl_warm(struct ctl *ctl)
{
    _cleanup_(warming_fini) struct warming w = {.at = {.fd = -1}, .session_fd = -1};
    const struct sigaction act = {.sa_handler = on_signal}; /* no SA_RESTART: ends a sleep */
    const char *word = ctl->args[0];
    setlocale(LC_CTYPE, "");
    w.json = ctl->json;
    w.terminal = isatty(STDERR_FILENO);
    w.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    int r = find(ctl, &w, word);
    if (r != CTL_OK)
        return r;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    r = begin(ctl, &w, word);
    return r == CTL_OK ? follow(&w, word) : r;
}
