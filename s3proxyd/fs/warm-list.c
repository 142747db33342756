/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What there is to warm. The feed lists page after page, one ahead of what is used; the count runs ahead from
 * the second page on, keeps nothing and only adds up. A name without a final '/' may be an object's: it is
 * asked for first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/fs/fs.h"
#include "s3proxyd/fs/warm-int.h"

/* An object that a mount shows, and no marker of a directory. */
static bool is_file(const struct warm *w, const struct store_entry *e, bool *ret_hidden)
{
    *ret_hidden = e->is_prefix || strlen(e->key) != e->key_len ||
                  e->key_len > PROTO_KEY_MAX_BYTES || !str_starts(e->key, w->prefix);
    for (const char *p = e->key; !*ret_hidden && *p;) {
        size_t n = strcspn(p, "/");
        *ret_hidden = key_name_check(p, n) < 0;
        p += n + (p[n] == '/');
    }
    return !*ret_hidden && e->key_len > 0 && e->key[e->key_len - 1] != '/';
}

static void add_up(struct warm *w, const struct store_req *page)
{
    for (size_t i = 0; i < page->nentries; i++) {
        bool hidden, file = is_file(w, &page->entries[i], &hidden);
        w->anything = true;
        w->stats.hidden += hidden;
        w->stats.total_objects += file;
        w->stats.total_bytes += file ? page->entries[i].size : 0;
    }
}

static void list_failed(struct warm *w, const struct store_req *req)
{
    char text[sizeof(w->stats.error_text)];
    memcpy(text, req->error_text, sizeof(text));
    if (!w->stopping)
        memcpy(w->stats.error_text, text, sizeof(text));
    warm_stop(w, req->error);
    warm_go_on(w); /* it may have been stopped before */
}

static void ask(struct warm *w, struct warm_lister *l, void (*done)(struct store_req *req))
{
    l->req = (struct store_req){
        .op = STORE_LIST,
        .key = w->prefix,
        .list = {.recursive = true, .token = l->token},
        .done = done,
    };
    l->running = true;
    store_submit(w->config.store, &l->req);
}

/* Takes the token of the next page; the last one ends the lister. A token that comes again would go on for
 * ever. */
static int turn(struct warm_lister *l)
{
    bool same = str_eq(l->token, l->req.next_token);
    free(l->token);
    l->token = take(l->req.next_token);
    l->over = !l->token;
    return l->token && same ? -EIO : 0;
}

static void counted(struct store_req *req)
{
    struct warm *w = container_of(req, struct warm, count.req);
    w->count.running = false;
    if (req->error < 0) {
        list_failed(w, req);
        return;
    }
    add_up(w, req);
    int r = turn(&w->count);
    store_req_fini(req);
    if (r < 0)
        warm_stop(w, r);
    else if (!w->count.over && !w->stopping)
        ask(w, &w->count, counted);
    w->stats.total_known = w->count.over;
    warm_go_on(w);
}

/* The first page counts itself; what is behind it is for the counter. */
static int count_from_here(struct warm *w)
{
    add_up(w, &w->feed.req);
    w->stats.total_known = w->feed.over;
    w->count.over = w->feed.over;
    if (w->feed.over)
        return 0;
    w->count.token = strdup(w->feed.token);
    if (!w->count.token)
        return -ENOMEM;
    ask(w, &w->count, counted);
    return 0;
}

static void fed(struct store_req *req)
{
    struct warm *w = container_of(req, struct warm, feed.req);
    bool first = !w->feed.token;
    w->feed.running = false;
    if (req->error < 0) {
        list_failed(w, req);
        return;
    }
    int r = turn(&w->feed);
    if (r == 0 && first && !w->stopping)
        r = count_from_here(w);
    w->ready = r == 0;
    if (r < 0)
        warm_stop(w, r);
    else if (w->feed.over && !w->anything)
        warm_stop(w, w->prefix[0] ? -ENOENT : 0);
    warm_go_on(w);
}

static void headed(struct store_req *req)
{
    struct warm *w = container_of(req, struct warm, feed.req);
    w->feed.running = false;
    if (req->error == 0) {
        w->single = (struct store_entry){.key = w->key,
                                         .key_len = strlen(w->key),
                                         .size = req->meta.size,
                                         .etag = take(req->meta.etag)};
        w->anything = true;
        w->stats.total_objects++;
        w->stats.total_bytes += w->single.size;
    }
    store_req_fini(req);
    if (!w->stopping) /* refused or absent: the listing will say */
        ask(w, &w->feed, fed);
    warm_go_on(w);
}

int warm_list_start(struct warm *w)
{
    size_t len = strlen(w->config.key);
    bool dir = len == 0 || w->config.key[len - 1] == '/';
    w->key = strdup(w->config.key);
    w->prefix = str_dup_printf("%s%s", w->config.key, dir ? "" : "/");
    if (!w->key || !w->prefix)
        return -ENOMEM;
    if (dir) {
        ask(w, &w->feed, fed);
        return 0;
    }
    w->feed.req = (struct store_req){.op = STORE_HEAD, .key = w->key, .done = headed};
    w->feed.running = true;
    store_submit(w->config.store, &w->feed.req);
    return 0;
}

static void drop_page(struct warm *w)
{
    for (size_t i = 0; i < w->npage; i++) {
        free(w->page[i].key);
        free(w->page[i].etag);
    }
    free(w->page);
    w->page = NULL;
    w->npage = w->at = 0;
}

/* The page that has come is used from now on, and the one behind it asked for. */
static void turn_page(struct warm *w)
{
    drop_page(w);
    w->ready = false;
    w->page = take(w->feed.req.entries);
    w->npage = w->feed.req.nentries;
    w->feed.req.nentries = 0;
    store_req_fini(&w->feed.req);
    if (!w->feed.over && !w->stopping && !w->stats.full)
        ask(w, &w->feed, fed);
}

const struct store_entry *warm_list_next(struct warm *w)
{
    if (w->single.key && !w->single_used) {
        w->single_used = true;
        return &w->single;
    }
    for (;;) {
        while (w->at < w->npage) {
            bool hidden;
            const struct store_entry *e = &w->page[w->at++];
            if (is_file(w, e, &hidden))
                return e;
        }
        if (!w->ready)
            return NULL;
        turn_page(w);
    }
}

bool warm_list_done(const struct warm *w)
{
    return w->feed.over && !w->ready && w->at == w->npage;
}

void warm_list_cancel(struct warm *w)
{
    if (w->feed.running)
        store_cancel(&w->feed.req);
    if (w->count.running)
        store_cancel(&w->count.req);
}

bool warm_list_busy(const struct warm *w)
{
    return w->feed.running || w->count.running;
}

void warm_list_fini(struct warm *w)
{
    drop_page(w);
    store_req_fini(&w->feed.req);
    store_req_fini(&w->count.req);
    free(w->feed.token);
    free(w->count.token);
    free(w->single.etag);
    free(w->key);
    free(w->prefix);
}
