/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A lane's life: asked, its page judged and shown, asked again until it met its right neighbour.
 * The first lane alone is a whole listing in the server's own order; its token is kept, so that it
 * can go on alone after the others were found not to fit. */
#include "s3proxyd/fs/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "s3proxyd/fs/split.h"

#define KNOWN_PIECE 950u /* names between known starts: a few may have come since */
#define GUESS_PIECE \
    930u /* between guessed ones: lanes overlap a little, or each needs a second page */
#define MODEL_MIN 100u       /* names of a page to guess by */
#define BARREN_MAX 64u       /* pages in a row without a new name */
#define GUESSED_LANES_MAX 8u /* so many are asked in vain behind the end, which nobody knows */

struct lane {
    struct list link;
    struct pages *p; /* NULL: nobody waits for it any more */
    struct store_req req;
    uint64_t *in_flight;
    char *prefix, *start, *token, *last; /* last: greatest key shown */
    bool running, ended;
    unsigned npages;
};

static void step(struct pages *p);

static struct lane *first_lane(struct pages *p)
{
    return list_first(&p->lanes, struct lane, link);
}

static struct lane *next_lane(const struct lane *l)
{
    return l->link.next == &l->p->lanes ? NULL : list_entry(l->link.next, struct lane, link);
}

static void lane_free(struct lane *l)
{
    list_del(&l->link);
    free(l->prefix);
    free(l->start);
    free(l->token);
    free(l->last);
    free(l);
}

/* Takes start, also when it fails. */
static struct lane *lane_new(struct pages *p, char *start)
{
    struct lane *l = calloc(1, sizeof(*l));
    if (!l || !(l->prefix = strdup(p->prefix))) {
        free(l);
        free(start);
        return NULL;
    }
    l->p = p;
    l->start = start;
    l->in_flight = p->in_flight;
    list_add_tail(&p->lanes, &l->link);
    return l;
}

/* Nobody needs its pages any more; what it has shown stays shown. A request under way is not worth
 * its connection: it ends by itself. */
static void lane_drop(struct lane *l)
{
    if (!l->running) {
        lane_free(l);
        return;
    }
    list_del(&l->link);
    l->p->running--;
    l->p = NULL;
}

static void drop_behind(struct lane *l)
{
    for (struct lane *next; (next = next_lane(l));)
        lane_drop(next);
}

static void go_sequential(struct pages *p)
{
    struct lane *first = first_lane(p);
    p->sequential = true;
    drop_behind(first);
    first->ended = first->npages && !first->token && !first->running;
}

static void fail(struct pages *p, int error, const char *text)
{
    if (p->error == 0) {
        p->error = error;
        size_t len = strnlen(text, sizeof(p->error_text) - 1);
        memcpy(p->error_text, text, len);
        p->error_text[len] = 0;
    }
}

/* ---- a page */

/* Are the keys where the order of S3 puts them: each kind ascending, behind `above`? */
static bool in_order(const struct store_entry *e, size_t n, const char *above, const char *prefix)
{
    const char *last[2] = {above, above};
    for (size_t i = 0; i < n; i++) {
        const char **before = &last[e[i].is_prefix];
        if (!str_starts(e[i].key, prefix) || (*before && strcmp(e[i].key, *before) <= 0))
            return false;
        *before = e[i].key;
    }
    return true;
}

static const char *greatest(const struct store_entry *e, size_t n)
{
    const char *max = NULL;
    for (size_t i = 0; i < n; i++)
        if (!max || strcmp(e[i].key, max) > 0)
            max = e[i].key;
    return max;
}

static const char *least(const struct store_entry *e, size_t n)
{
    const char *min = NULL;
    for (size_t i = 0; i < n; i++)
        if (!min || strcmp(e[i].key, min) < 0)
            min = e[i].key;
    return min;
}

/* Later pages tell better what comes behind them. */
static void take_model(struct pages *p, const char *first, const char *last, size_t n)
{
    if (n < MODEL_MIN || p->sequential || (p->model_last && strcmp(last, p->model_last) <= 0))
        return;
    char *f = strdup(first), *l = strdup(last);
    if (f && l) {
        free(p->model_first);
        free(p->model_last);
        p->model_first = take(f);
        p->model_last = take(l);
        p->model_n = n;
    }
    free(f);
    free(l);
}

static void judge(struct pages *p, size_t n, size_t fresh)
{
    if (fresh)
        p->barren = 0;
    else if (++p->barren > BARREN_MAX)
        fail(p, -EIO, "the listing goes on without end and shows nothing new");
    if (fresh && fresh >= n / 4)
        p->useful++;
    else
        p->wasted++;
    /* Names that do not follow the guesses: each lane shows what another one shows. */
    if (p->wasted > 4 + p->useful / 2)
        p->guessing = false;
}

/* l may be gone afterwards. */
static void show(struct lane *l)
{
    struct pages *p = l->p;
    struct store_entry *e = l->req.entries;
    size_t n = l->req.nentries, fresh = 0;
    const char *max = greatest(e, n);
    if (!in_order(e, n, l->last ? l->last : l->start, p->prefix)) {
        p->unordered = true;
        if (l != first_lane(p)) { /* not to be believed: the first one goes on alone */
            go_sequential(p);
            return;
        }
        go_sequential(p);
    }
    if (n) {
        take_model(p, least(e, n), max, n);
        free(l->last);
        l->last = strdup(max);
        if (!l->last)
            fail(p, -ENOMEM, "out of memory");
    }
    const struct lane *next = next_lane(l);
    int r = p->page(p, e, n, next ? next->start : NULL, &fresh);
    if (r < 0)
        fail(p, r, strerror(-r));
    judge(p, n, fresh);
    log_debug("dir", "page of %s behind %s: %zu names, %zu of them new%s", log_esc(p->prefix),
              log_esc(l->start ? l->start : "the beginning"), n, fresh,
              l->token ? "" : ", the end");
}

static void lane_done(struct store_req *req)
{
    struct lane *l = container_of(req, struct lane, req);
    struct pages *p = l->p;
    struct store_req answer = *req; /* show() may drop the lane */
    *l->in_flight -= 1;
    l->running = false;
    if (!p) {
        store_req_fini(req);
        lane_free(l);
        return;
    }
    p->running--;
    if (req->error == 0) {
        free(l->token);
        l->token = take(answer.next_token);
        l->npages++;
        show(l);
    } else if (l == first_lane(p)) {
        fail(p, req->error, req->error_text);
    } else { /* it may not know start-after: the first one goes on alone */
        log_debug("dir", "a lane of %s: %s", log_esc(p->prefix), log_esc(req->error_text));
        go_sequential(p);
    }
    store_req_fini(&answer);
    step(p);
}

static void lane_ask(struct lane *l)
{
    l->req = (struct store_req){.op = STORE_LIST, .key = l->prefix, .done = lane_done};
    if (l->token)
        l->req.list.token = l->token;
    else
        l->req.list.start_after = l->start;
    l->running = true;
    l->p->running++;
    *l->in_flight += 1;
    store_submit(l->p->store, &l->req);
}

/* ---- what next */

/* Servers that walk directories may sort "n/" as "n": names that begin so come after it there, and
 * are not the neighbour's either when its start is among them. */
static bool met(const struct lane *l, const struct lane *next)
{
    if (!l->last || strcmp(l->last, next->start) < 0)
        return false;
    size_t len = strlen(l->last);
    return len == 0 || l->last[len - 1] != '/' || strncmp(next->start, l->last, len - 1) != 0;
}

/* Its page was shown: is its stretch complete? */
static void conclude(struct lane *l)
{
    struct pages *p = l->p;
    struct lane *next = next_lane(l);
    if (l->token) {
        l->ended = next && met(l, next);
        return;
    }
    l->ended = true;
    p->ended = true;
    for (; next; next = next_lane(next))
        if (next->last && (!l->last || strcmp(next->last, l->last) > 0)) {
            p->unordered = true; /* it said that nothing comes behind, and there is something */
            go_sequential(p);
            return;
        }
    drop_behind(l);
}

static unsigned lanes_allowed(const struct pages *p)
{
    return MIN(GUESSED_LANES_MAX, 2 + 2 * p->useful);
}

/* The last lane gets a neighbour on its right: behind the page that it is asking for. */
static bool add_guess(struct pages *p)
{
    const struct lane *right = list_entry(p->lanes.prev, struct lane, link);
    struct split_model model = {p->model_first, p->model_last, p->model_n};
    const char *from = right->last ? right->last : right->start;
    char *start;
    if (!from || split_guess(&model, from, GUESS_PIECE, &start) < 0)
        return false;
    struct lane *l = lane_new(p, start);
    if (l)
        lane_ask(l);
    return l;
}

/* A lane in the middle whose stretch is complete has nothing more to say. */
static void forget_ended(struct pages *p)
{
    struct lane *l, *tmp;
    bool before = false;
    list_for_each_safe (l, tmp, &p->lanes, link) {
        if (before && l->ended && next_lane(l))
            lane_free(l);
        else
            before = l->ended;
    }
}

/* The first page is all that was asked for; one without names is no page. */
static bool enough(const struct pages *p, const struct lane *l)
{
    return p->one && l->last;
}

static void ask_more(struct pages *p)
{
    for (struct lane *l = first_lane(p); l && p->running < PAGES_LANES_MAX; l = next_lane(l)) {
        if (!l->running && !l->ended && l->npages)
            conclude(l);
        if (p->sequential)
            l = first_lane(p);
        if (!l->running && !l->ended && !enough(p, l))
            lane_ask(l);
    }
}

static void guess_more(struct pages *p)
{
    bool more = p->guessing && !p->sequential && !p->ended && !p->one && p->model_last;
    while (more && p->running < lanes_allowed(p))
        more = add_guess(p);
}

static void step(struct pages *p)
{
    if (p->error < 0) {
        while (!list_empty(&p->lanes))
            lane_drop(first_lane(p));
    } else {
        ask_more(p);
        guess_more(p);
        forget_ended(p);
    }
    if (p->running > 0)
        return;
    p->truncated = p->error == 0 && p->one && !first_lane(p)->ended;
    p->done(p, p->error);
}

int pages_start(struct pages *p)
{
    list_init(&p->lanes);
    p->sequential = !p->side_by_side;
    p->guessing = p->side_by_side && p->nhints == 0;
    struct lane *first = lane_new(p, NULL);
    if (!first)
        return -ENOMEM;
    if (p->sequential || p->one)
        return lane_ask(first), 0;
    for (size_t i = 0; i < p->nhints; i++)
        lane_new(p, take(p->hints[i]));
    ask_more(p);
    return 0;
}

void pages_go_on(struct pages *p)
{
    p->one = false;
    p->truncated = false;
    ask_more(p);
    guess_more(p);
}

void pages_fini(struct pages *p)
{
    while (p->lanes.next && !list_empty(&p->lanes))
        lane_drop(first_lane(p));
    for (size_t i = 0; i < p->nhints; i++)
        free(p->hints[i]);
    free(p->hints);
    free(p->model_first);
    free(p->model_last);
    *p = (struct pages){0};
}

/* ---- hints */

static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void pages_hints(const char *prefix, const char **names, size_t n, char ***ret_hints, size_t *ret_n)
{
    size_t cuts = n > PAGES_KEYS ? (n - 1) / KNOWN_PIECE : 0, have = 0;
    char **hints = cuts ? calloc(cuts, sizeof(*hints)) : NULL;
    if (hints)
        qsort(names, n, sizeof(*names), by_key);
    for (size_t i = 1; hints && i <= cuts; i++) {
        hints[have] = str_dup_printf("%s%s", prefix, names[i * KNOWN_PIECE]);
        if (hints[have] && (have == 0 || strcmp(hints[have - 1], hints[have]) < 0))
            have++;
        else
            free(take(hints[have]));
    }
    *ret_hints = hints;
    *ret_n = have;
}
