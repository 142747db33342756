/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Listings in lanes: what they show is what is there, from every kind of server, and they end. */
#include <errno.h>
#include <search.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "proto/base/str.h"
#include "s3proxyd/fs/pages.h"
#include "tests/unit/fs/list-store.h"

struct run {
    struct loop *loop;
    struct list_store *s;
    struct pages pages;
    void *seen; /* a tree of the keys shown */
    size_t n;
    uint64_t in_flight;
    bool done;
    int error;
};

static int setup(void **state)
{
    struct run *r = calloc(1, sizeof(*r));
    assert_int_equal(loop_new(&r->loop), 0);
    r->s = list_store_new(r->loop);
    r->s->seed = 1;
    *state = r;
    return 0;
}

static void forget(struct run *r)
{
    tdestroy(r->seen, free);
    r->seen = NULL;
    r->n = 0;
}

static int teardown(void **state)
{
    struct run *r = *state;
    forget(r);
    list_store_free(r->s);
    loop_free(r->loop);
    free(r);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool has(const struct run *r, const char *key)
{
    return tfind(key, &r->seen, by_name);
}

static int page(struct pages *p, struct store_entry *entries, size_t n, const char *until,
                size_t *ret_new)
{
    struct run *r = container_of(p, struct run, pages);
    (void)until;
    for (size_t i = 0; i < n; i++) {
        if (has(r, entries[i].key))
            continue;
        assert_non_null(tsearch(strdup(entries[i].key), &r->seen, by_name));
        r->n++;
        *ret_new += 1;
    }
    return 0;
}

static void done(struct pages *p, int error)
{
    struct run *r = container_of(p, struct run, pages);
    assert_false(r->done);
    r->done = true;
    r->error = error;
    loop_stop(r->loop);
}

static int turn(struct run *r)
{
    r->done = false;
    assert_int_equal(loop_run(r->loop), 0);
    assert_true(r->done);
    return r->error;
}

static void settle(void *arg)
{
    struct run *r = arg;
    loop_stop(r->loop);
}

/* The lanes nobody waits for end by themselves. */
static void drain(struct run *r)
{
    while (r->in_flight) {
        struct loop_task task;
        loop_task_init(&task, settle, r);
        loop_task_add(r->loop, &task);
        assert_int_equal(loop_run(r->loop), 0);
    }
}

static int list(struct run *r, const char *prefix, char **hints, size_t nhints)
{
    r->pages = (struct pages){.store = &r->s->store,
                              .prefix = prefix,
                              .side_by_side = true,
                              .hints = hints,
                              .nhints = nhints,
                              .in_flight = &r->in_flight,
                              .page = page,
                              .done = done};
    assert_int_equal(pages_start(&r->pages), 0);
    return turn(r);
}

static void end(struct run *r)
{
    pages_fini(&r->pages);
    drain(r);
}

static void expect_all(struct run *r, const char *prefix)
{
    size_t want = 0, plen = strlen(prefix), last_len = 0;
    const char *last = NULL;
    for (size_t i = 0; i < r->s->n; i++) {
        const char *key = r->s->keys[i];
        if (strncmp(key, prefix, plen) != 0)
            continue;
        size_t len = strcspn(key + plen, "/") + plen;
        len += key[len] == '/';
        if (last && len == last_len && strncmp(last, key, len) == 0)
            continue;
        last = key;
        last_len = len;
        want++;
        _cleanup_(freep) char *name = strndup(key, len);
        if (!has(r, name))
            fail_msg("%s is missing (seed %llu, lie %d)", name, (unsigned long long)r->s->seed,
                     r->s->lie);
    }
    assert_int_equal(r->n, want);
}

static void put_numbers(struct run *r, const char *format, unsigned n, unsigned step)
{
    char key[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    for (unsigned i = 0; i < n; i += step) {
        snprintf(key, sizeof(key), format, i);
        list_store_put(r->s, key);
    }
#pragma GCC diagnostic pop
    list_store_sort(r->s);
}

static void test_ten_pages_are_asked_side_by_side(void **state)
{
    struct run *r = *state;
    r->s->page_keys = 100; /* page 1 has MODEL_MIN names */
    put_numbers(r, "d/file-%05u", 3000, 1);
    assert_int_equal(list(r, "d/", NULL, 0), 0);
    end(r);
    expect_all(r, "d/");
    assert_true(r->s->most_in_flight > 3);
}

static void test_one_page_is_one_request(void **state)
{
    struct run *r = *state;
    put_numbers(r, "d/file-%05u", 1000, 1);
    assert_int_equal(list(r, "d/", NULL, 0), 0);
    end(r);
    expect_all(r, "d/");
    assert_int_equal(r->s->asked, 1);
}

static void test_requests_in_vain_are_few(void **state)
{
    struct run *r = *state;
    put_numbers(r, "d/file-%06u", 20000, 1);
    assert_int_equal(list(r, "d/", NULL, 0), 0);
    end(r);
    assert_int_equal(r->n, 20000);
    assert_true(r->s->asked <= 20 + 2 + 9); /* a tenth overlap, and those behind the end */
}

static void test_wrong_guesses_end_the_guessing(void **state)
{
    struct run *r = *state;
    /* The names do not go on as they began. */
    r->s->page_keys = 100;
    put_numbers(r, "d/a%03u", 100, 1);
    put_numbers(r, "d/z%03u-q", 900, 1);
    put_numbers(r, "d/zz%03u-q", 900, 7);
    put_numbers(r, "d/zzz%03u-q", 900, 13);
    assert_int_equal(list(r, "d/", NULL, 0), 0);
    end(r);
    expect_all(r, "d/");
    assert_true(r->s->asked <= 60);
}

static void test_an_earlier_listing_gives_exact_pieces(void **state)
{
    struct run *r = *state;
    put_numbers(r, "d/%06u", 5000, 1);
    const char **names = calloc(5000, sizeof(*names));
    for (size_t i = 0; i < 5000; i++)
        names[i] = r->s->keys[(i * 7) % 5000] + 2;
    char **hints;
    size_t n;
    pages_hints("d/", names, 5000, &hints, &n);
    free(names);
    assert_int_equal(n, 5);
    assert_int_equal(list(r, "d/", hints, n), 0);
    end(r);
    expect_all(r, "d/");
    assert_int_equal(r->s->asked, 6);
    assert_int_equal(r->s->most_in_flight, 6);
}

static void test_the_first_page_alone_and_then_the_rest(void **state)
{
    struct run *r = *state;
    put_numbers(r, "d/file-%05u", 2500, 1);
    r->pages = (struct pages){.store = &r->s->store,
                              .prefix = "d/",
                              .side_by_side = true,
                              .one = true,
                              .in_flight = &r->in_flight,
                              .page = page,
                              .done = done};
    assert_int_equal(pages_start(&r->pages), 0);
    assert_int_equal(turn(r), 0);
    assert_true(r->pages.truncated);
    assert_int_equal(r->n, 1000);
    assert_int_equal(r->s->asked, 1);
    pages_go_on(&r->pages);
    assert_int_equal(turn(r), 0);
    assert_false(r->pages.truncated);
    end(r);
    expect_all(r, "d/");
}

static void test_a_failed_lane_is_not_a_failed_listing(void **state)
{
    struct run *r = *state;
    r->s->page_keys = 100;
    put_numbers(r, "d/file-%05u", 2000, 1);
    r->s->fail_at = 1;
    assert_int_equal(list(r, "d/", NULL, 0), -EIO);
    end(r);
    forget(r);
    r->s->fail_at = r->s->asked = 0;
    r->s->lie = LIST_REFUSES_START;
    assert_int_equal(list(r, "d/", NULL, 0), 0);
    end(r);
    expect_all(r, "d/");
}

/* Names with every trap of the order, objects and directories of one name among them. */
static void put_random(struct run *r, unsigned n)
{
    static const char *const tails[] = {"",  "/x",  "/y/z", "-x", "-x/1",     ".txt", " ",
                                        "0", "0/1", "!",    "/",  "\xc3\xa9", "~"};
    char key[64];
    for (unsigned i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "d/%s%0*u%s", list_store_random(r->s, 9) ? "n" : "",
                 (int)(2 + list_store_random(r->s, 3)), list_store_random(r->s, n),
                 tails[list_store_random(r->s, sizeof(tails) / sizeof(tails[0]))]);
        list_store_put(r->s, key);
    }
    list_store_sort(r->s);
    size_t to = 0;
    for (size_t i = 0; i < r->s->n; i++) /* no key twice */
        if (to && str_eq(r->s->keys[to - 1], r->s->keys[i]))
            free(r->s->keys[i]);
        else
            r->s->keys[to++] = r->s->keys[i];
    r->s->n = to;
}

static void clear(struct run *r)
{
    forget(r);
    for (size_t i = 0; i < r->s->n; i++)
        free(r->s->keys[i]);
    r->s->n = 0;
    r->s->asked = 0;
}

static char **random_hints(struct run *r, size_t *ret_n)
{
    size_t n = list_store_random(r->s, 6), have = 0;
    char **hints = n ? calloc(n, sizeof(*hints)) : NULL;
    for (size_t i = 0, at = 0; i < n; i++) {
        at += 1 + list_store_random(r->s, 60);
        if (at >= r->s->n)
            break;
        char *h = strndup(r->s->keys[at], 2 + strcspn(r->s->keys[at] + 2, "/"));
        if (strlen(h) > 2 && (!have || strcmp(hints[have - 1], h) < 0))
            hints[have++] = h;
        else
            free(h);
    }
    *ret_n = have;
    return hints;
}

static void test_random_names_on_honest_and_odd_servers(void **state)
{
    struct run *r = *state;
    static const enum list_lie lies[] = {
        LIST_HONEST,         LIST_HONEST,        LIST_DIRS_AS_NAMES,  LIST_UNSORTED,
        LIST_NO_START_AFTER, LIST_REFUSES_START, LIST_START_INCLUDED, LIST_EMPTY_PAGES};
    for (unsigned round = 0; round < 400; round++) {
        size_t n;
        r->s->seed = round * 7919 + 1;
        r->s->lie = lies[round % (sizeof(lies) / sizeof(lies[0]))];
        /* A few keys of no order may look as if they had one. */
        r->s->page_keys = (r->s->lie == LIST_UNSORTED ? 30 : 3) + list_store_random(r->s, 150);
        put_random(r, 20 + list_store_random(r->s, 600));
        char **hints = random_hints(r, &n);
        int error = list(r, "d/", hints, n);
        end(r);
        assert_int_equal(error, 0);
        expect_all(r, "d/");
        clear(r);
    }
}

static void test_listings_that_never_end_are_ended(void **state)
{
    struct run *r = *state;
    static const enum list_lie lies[] = {LIST_SAME_TOKEN, LIST_EMPTY_FOR_EVER};
    for (unsigned k = 0; k < 2; k++) {
        r->s->lie = lies[k];
        r->s->page_keys = 100;
        put_numbers(r, "d/%04u", 500, 1);
        assert_int_equal(list(r, "d/", NULL, 0), -EIO);
        assert_true(strlen(r->pages.error_text) > 0);
        end(r);
        assert_true(r->s->asked < 200);
        clear(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ten_pages_are_asked_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_page_is_one_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests_in_vain_are_few, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_guesses_end_the_guessing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_earlier_listing_gives_exact_pieces, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_first_page_alone_and_then_the_rest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_failed_lane_is_not_a_failed_listing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_random_names_on_honest_and_odd_servers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_listings_that_never_end_are_ended, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
