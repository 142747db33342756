/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See list-store.h. */
#include "tests/unit/fs/list-store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/base/str.h"

struct job {
    struct list link;
    struct loop_task task;
    struct list_store *s;
    struct store_req *req;
};

unsigned list_store_random(struct list_store *s, unsigned below)
{
    s->seed = s->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((s->seed >> 33) % below);
}

void list_store_put(struct list_store *s, const char *key)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->keys = reallocarray(s->keys, s->cap, sizeof(*s->keys));
        must(s->keys);
    }
    s->keys[s->n++] = strdup(key);
}

/* ---- orders */

/* A name of a listing: a key, or the prefix that stands for several. */
static const char *name_of(const struct store_req *req, const char *key, size_t *ret_len)
{
    size_t skip = strlen(req->key);
    if (strncmp(key, req->key, skip) != 0)
        return NULL;
    const char *slash = req->list.recursive ? NULL : strchr(key + skip, '/');
    *ret_len = slash ? (size_t)(slash - key) + 1 : strlen(key);
    return key;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* As a walk through directories in the order of their names does: '/' before everything. */
static int as_walked(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    int ca = *a == '/' ? 1 : (unsigned char)*a + 1, cb = *b == '/' ? 1 : (unsigned char)*b + 1;
    return (*a ? ca : 0) - (*b ? cb : 0);
}

static int by_walk(const void *a, const void *b)
{
    return as_walked(*(char *const *)a, *(char *const *)b);
}

static uint64_t mixed(const char *s)
{
    uint64_t h = 14695981039346656037ULL;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    return h;
}

static int by_mix(const void *a, const void *b)
{
    uint64_t x = mixed(*(char *const *)a), y = mixed(*(char *const *)b);
    return x < y ? -1 : x > y;
}

void list_store_sort(struct list_store *s)
{
    qsort(s->keys, s->n, sizeof(*s->keys), by_bytes);
}

static int (*order_of(enum list_lie lie))(const void *, const void *)
{
    return lie == LIST_DIRS_AS_NAMES ? by_walk : lie == LIST_UNSORTED ? by_mix : by_bytes;
}

/* ---- a page */

static void add_entry(struct store_req *req, const char *key, size_t len)
{
    req->entries = reallocarray(req->entries, req->nentries + 1, sizeof(*req->entries));
    must(req->entries);
    struct store_entry *e = &req->entries[req->nentries++];
    *e = (struct store_entry){.key = strndup(key, len), .key_len = len};
    e->is_prefix = !req->list.recursive && key[len - 1] == '/' && len > strlen(req->key);
    if (!e->is_prefix) {
        e->etag = strdup("\"1\"");
        e->size = len;
        e->mtime_ns = 1000000000;
    }
}

/* All names of this listing, in this store's order. */
static char **all_names(struct list_store *s, const struct store_req *req, size_t *ret_n)
{
    char **names = calloc(s->n + 1, sizeof(*names));
    size_t n = 0, len, last_len = 0;
    must(names);
    for (size_t i = 0; i < s->n; i++) {
        const char *key = name_of(req, s->keys[i], &len);
        if (!key || (n && last_len == len && strncmp(names[n - 1], key, len) == 0))
            continue;
        names[n++] = strndup(key, len);
        last_len = len;
    }
    qsort(names, n, sizeof(*names), order_of(s->lie));
    *ret_n = n;
    return names;
}

static bool is_behind(const struct list_store *s, const char *name, const char *start)
{
    int c = s->lie == LIST_DIRS_AS_NAMES ? as_walked(name, start) : strcmp(name, start);
    return c > 0 || (c == 0 && s->lie == LIST_START_INCLUDED);
}

/* The first name to show. Tokens are numbers of names; a leading 'e' says that the page before was
 * empty. */
static size_t first_of(struct list_store *s, const struct store_req *req, char **names, size_t n)
{
    size_t at = 0;
    uint64_t v;
    if (req->list.token) {
        must(str_to_u64(req->list.token + (req->list.token[0] == 'e'), 10, &v) == 0);
        return (size_t)v;
    }
    if (!req->list.start_after || s->lie == LIST_NO_START_AFTER)
        return 0;
    if (s->lie == LIST_UNSORTED) /* a filter would be possible, too; this is worse */
        return n / 2;
    while (at < n && !is_behind(s, names[at], req->list.start_after))
        at++;
    return at;
}

static void answer(struct list_store *s, struct store_req *req)
{
    size_t n, max = s->page_keys ? s->page_keys : 1000;
    char **names = all_names(s, req, &n);
    size_t at = first_of(s, req, names, n);
    if (req->list.max_keys && req->list.max_keys < max)
        max = req->list.max_keys;
    bool empty = s->lie == LIST_EMPTY_FOR_EVER ||
                 (s->lie == LIST_EMPTY_PAGES && !(req->list.token && req->list.token[0] == 'e'));
    if (empty)
        max = 0;
    size_t shown = 0;
    for (; at < n && shown < max; at++, shown++)
        add_entry(req, names[at], strlen(names[at]));
    if (at < n || empty) {
        if (s->lie == LIST_SAME_TOKEN && req->list.token)
            at -= shown;
        req->next_token = str_dup_printf("%s%zu", empty ? "e" : "", at);
    }
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

static void run(void *arg)
{
    struct job *job = arg;
    struct list_store *s = job->s;
    struct store_req *req = job->req;
    if (list_store_random(s, 3)) { /* later: another one may come first */
        loop_task_add(s->loop, &job->task);
        return;
    }
    list_del(&job->link);
    free(job);
    s->in_flight--;
    s->asked++;
    if (s->asked == s->fail_at || (req->list.start_after && s->lie == LIST_REFUSES_START))
        req->error = -EIO;
    else
        answer(s, req);
    req->done(req);
}

static void submit(struct store *store, struct store_req *req)
{
    struct list_store *s = container_of(store, struct list_store, store);
    struct job *job = calloc(1, sizeof(*job));
    must(job && req->op == STORE_LIST);
    job->s = s;
    job->req = req;
    list_add_tail(&s->jobs, &job->link);
    loop_task_init(&job->task, run, job);
    loop_task_add(s->loop, &job->task);
    if (++s->in_flight > s->most_in_flight)
        s->most_in_flight = s->in_flight;
}

static void no_cancel(struct store *store, struct store_req *req)
{
    (void)store;
    (void)req;
}

static void no_stats(struct store *store, struct store_stats *ret)
{
    (void)store;
    *ret = (struct store_stats){0};
}

static void no_free(struct store *store)
{
    (void)store;
}

struct list_store *list_store_new(struct loop *loop)
{
    static const struct store_impl impl = {"list", submit, no_cancel, no_stats, no_free};
    struct list_store *s = calloc(1, sizeof(*s));
    must(s);
    s->store.impl = &impl;
    s->loop = loop;
    list_init(&s->jobs);
    return s;
}

void list_store_free(struct list_store *s)
{
    must(list_empty(&s->jobs));
    for (size_t i = 0; i < s->n; i++)
        free(s->keys[i]);
    free(s->keys);
    free(s);
}
