/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Warming from a store in memory that lists, too, and lies about it where a test says so. */
#include "s3proxyd/fs/warm.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cache/rig.h"

#define LISTS_MAX 4u

static struct world {
    struct rig rig;
    const struct store_impl *real;
    struct store_impl impl;
    unsigned page_keys, lists, heads;
    bool hold_lists, same_token, old_etags;
    unsigned fail_list; /* the one of that number, from 1 */
    struct listing {
        struct loop_task task;
        struct store_req *req;
        bool late; /* a cancelled one ends a turn after it was asked to */
    } running[LISTS_MAX];
    struct warm *warm;
    bool ended;
} w;

static void list_entry_add(struct store_req *req, const struct fake_object *o)
{
    req->entries = realloc(req->entries, (req->nentries + 1) * sizeof(*req->entries));
    assert_non_null(req->entries);
    req->entries[req->nentries++] = (struct store_entry){
        .key = strdup(o->key),
        .key_len = strlen(o->key),
        .size = o->size,
        .etag = strdup(w.old_etags ? "\"of-before\"" : o->etag)};
}

static void list_answer(struct store_req *req)
{
    unsigned long from = req->list.token ? strtoul(req->list.token, NULL, 10) : 0, at = 0;
    const struct fake_object *o;
    char token[24];
    list_for_each(o, &w.rig.fake->objects, link) {
        if (strncmp(o->key, req->key, strlen(req->key)) != 0 || at++ < from)
            continue;
        if (req->nentries == w.page_keys) {
            snprintf(token, sizeof(token), "%lu", w.same_token ? 1 : at - 1);
            req->next_token = strdup(token);
            break;
        }
        list_entry_add(req, o);
    }
    if (w.same_token && !req->next_token)
        req->next_token = strdup("1");
}

static void list_step(void *arg)
{
    struct listing *l = arg;
    struct store_req *req = l->req;
    bool cancelled = atomic_load(&req->cancelled);
    if (w.hold_lists && !cancelled)
        return;
    if (cancelled && !l->late) {
        l->late = true;
        loop_task_add(w.rig.loop, &l->task);
        return;
    }
    l->req = NULL;
    w.lists += req->op == STORE_LIST;
    req->error = cancelled ? -ECANCELED : w.fail_list && w.lists == w.fail_list ? -EACCES : 0;
    const struct fake_object *o = req->op == STORE_HEAD ? fake_find(w.rig.fake, req->key) : NULL;
    if (req->op == STORE_HEAD && req->error == 0) {
        req->error = o ? 0 : -ENOENT;
        req->meta.etag = o ? strdup(o->etag) : NULL;
        req->meta.size = o ? o->size : 0;
        w.heads++;
    } else if (req->error == 0) {
        list_answer(req);
    }
    req->done(req);
}

static void submit(struct store *store, struct store_req *req)
{
    if (req->op != STORE_LIST && req->op != STORE_HEAD) {
        w.real->submit(store, req);
        return;
    }
    for (unsigned i = 0; i < LISTS_MAX; i++) {
        struct listing *l = &w.running[i];
        if (l->req)
            continue;
        l->req = req;
        l->late = false;
        atomic_store(&req->cancelled, false);
        loop_task_init(&l->task, list_step, l);
        loop_task_add(w.rig.loop, &l->task);
        return;
    }
    fail_msg("more listings at once than two");
}

static void cancel(struct store *store, struct store_req *req)
{
    if (req->op != STORE_LIST && req->op != STORE_HEAD) {
        w.real->cancel(store, req);
        return;
    }
    atomic_store(&req->cancelled, true);
    for (unsigned i = 0; i < LISTS_MAX; i++)
        if (w.running[i].req == req)
            loop_task_add(w.rig.loop, &w.running[i].task);
}

static void up(uint64_t cache_bytes)
{
    w = (struct world){.page_keys = 1000};
    rig_up(&w.rig, cache_bytes);
    w.real = w.rig.fake->store.impl;
    w.impl = *w.real;
    w.impl.submit = submit;
    w.impl.cancel = cancel;
    w.rig.fake->store.impl = &w.impl;
    w.rig.fake->step_bytes = MIB;
}

static void ended(struct warm *warm, void *arg)
{
    (void)warm;
    (void)arg;
    assert_false(w.ended);
    w.ended = true;
}

static void begin(const char *key)
{
    const struct warm_config config = {.loop = w.rig.loop,
                                       .cache = w.rig.cache,
                                       .store = &w.rig.fake->store,
                                       .scope = 7,
                                       .key = key,
                                       .ended = ended};
    w.ended = false;
    assert_int_equal(warm_start(&config, &w.warm), 0);
}

static bool has_ended(void *arg)
{
    (void)arg;
    return w.ended;
}

static struct warm_stats finish(void)
{
    struct warm_stats st;
    rig_until(&w.rig, has_ended, NULL);
    warm_stats(w.warm, &st);
    assert_true(st.over);
    assert_int_equal(st.requests, 0);
    warm_free(w.warm);
    rig_idle(&w.rig);
    st.failures = NULL;
    return st;
}

static struct warm_stats run(const char *key)
{
    begin(key);
    return finish();
}

static void down(void)
{
    w.rig.fake->store.impl = w.real;
    rig_down(&w.rig);
}

static bool half_is_there(void *arg)
{
    (void)arg;
    return w.rig.fake->got_bytes == MIB;
}

static void put(const char *name, unsigned n, uint64_t size)
{
    char key[64];
    for (unsigned i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%s%u", name, i);
        fake_put_pattern(w.rig.fake, key, size);
    }
}

static void test_all_of_many_pages(void **state)
{
    (void)state;
    up(64 * MIB);
    w.page_keys = 7;
    put("d/s", 100, 3000);
    put("d/large", 2, 9 * MIB + 1);
    put("d/empty", 1, 0);
    put("e/", 3, 5);
    struct warm_stats st = run("d/");
    assert_true(st.total_known);
    assert_int_equal(st.objects, 103);
    assert_int_equal(st.total_objects, 103);
    assert_int_equal(st.bytes, 100 * 3000 + 2 * (9 * MIB + 1));
    assert_int_equal(w.rig.fake->got_bytes, st.bytes);
    assert_int_equal(w.heads, 0);
    st = run("d/");
    assert_int_equal(st.present_bytes, st.bytes);
    assert_int_equal(w.rig.fake->got_bytes, st.bytes); /* not again */
    down();
}

static void test_a_name_may_be_an_object(void **state)
{
    (void)state;
    up(64 * MIB);
    put("f", 2, 3000);
    put("f0/", 2, 10);
    struct warm_stats st = run("f0");
    assert_int_equal(st.objects, 3);
    assert_int_equal(st.bytes, 3020);
    st = run("f1");
    assert_int_equal(st.objects, 1);
    assert_int_equal(st.error, 0);
    st = run("f2");
    assert_int_equal(st.error, -ENOENT);
    down();
}

static void test_what_no_path_names_is_left(void **state)
{
    (void)state;
    up(64 * MIB);
    static const char *const keys[] = {"d/", "d/a//b", "d/../x", "d/./y", "d/ok", "d/sub/"};
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        fake_put_pattern(w.rig.fake, keys[i], 10);
    struct warm_stats st = run("d/");
    assert_int_equal(st.objects, 1);
    assert_int_equal(st.hidden, 3);
    assert_int_equal(st.total_bytes, 10);
    down();
}

static void test_stops_when_the_cache_is_full(void **state)
{
    struct cache_stats cache;
    (void)state;
    up(16 * MIB);
    w.page_keys = 2;
    put("old", 3, 5 * MIB);
    assert_int_equal(run("").objects, 3);
    put("new/", 10, 3 * MIB);
    struct warm_stats st = run("new/");
    assert_true(st.full);
    assert_true(st.total_known);
    assert_int_equal(st.objects, 5);
    assert_int_equal(st.total_bytes, 30 * MIB);
    cache_stats(w.rig.cache, &cache);
    assert_true(cache.used_bytes <= 16 * MIB);
    st = run("new/");
    assert_int_equal(st.present_bytes, 15 * MIB); /* none of its own was evicted */
    down();
}

static void test_small_objects_take_all_the_room_there_is(void **state)
{
    (void)state;
    up(4 * MIB);
    put("d/", 500, 100);
    struct warm_stats st = run("d/");
    assert_true(st.full);
    assert_int_equal(st.objects, 4 * MIB / cache_charge(100));
    st = run("d/");
    assert_int_equal(st.present_objects, 4 * MIB / cache_charge(100));
    down();
}

static void test_half_an_object_counts(void **state)
{
    struct warm_stats st;
    (void)state;
    up(64 * MIB);
    put("d/", 1, 2 * MIB);
    w.rig.fake->stall_count = 1;
    w.rig.fake->stall_at_bytes = MIB;
    begin("d/");
    rig_until(&w.rig, half_is_there, NULL);
    warm_stats(w.warm, &st);
    assert_int_equal(st.bytes, MIB);
    assert_int_equal(st.objects, 0);
    warm_stop(w.warm, -ECANCELED);
    st = finish();
    assert_int_equal(st.bytes, 0); /* of no whole object */
    down();
}

static void test_stopped_while_it_lists(void **state)
{
    (void)state;
    up(64 * MIB);
    w.hold_lists = true;
    put("d/", 10, 100);
    begin("d/");
    warm_stop(w.warm, -ECANCELED);
    struct warm_stats st = finish();
    assert_int_equal(st.error, -ECANCELED);
    assert_int_equal(st.objects, 0);
    begin("d"); /* while it asks for the object */
    warm_stop(w.warm, -ECANCELED);
    assert_int_equal(finish().error, -ECANCELED);
    down();
}

static bool fetches(void *arg)
{
    (void)arg;
    return w.rig.fake->in_flight > 0;
}

static void test_stopped_while_it_fetches(void **state)
{
    (void)state;
    up(256 * MIB);
    put("d/", 20, 5 * MIB); /* more than it asks for at once */
    w.rig.fake->hold = true;
    begin("d/");
    rig_until(&w.rig, fetches, NULL);
    warm_stop(w.warm, -ECANCELED);
    warm_stop(w.warm, -EIO);
    assert_false(w.ended);
    struct warm_stats st = finish(); /* the store gives nothing: it is not waited for */
    assert_int_equal(st.error, -ECANCELED);
    assert_int_equal(st.failed, 0);
    assert_int_equal(st.objects, 0);
    assert_int_equal(st.lost_bytes, 0);
    down();
}

static void test_other_versions_are_counted(void **state)
{
    (void)state;
    up(64 * MIB);
    put("d/", 60, 100);
    w.old_etags = true;
    struct warm_stats st = run("d/");
    assert_int_equal(st.changed, 60);
    assert_int_equal(st.failed, 0);
    assert_int_equal(st.error, 0);
    assert_int_equal(st.lost_bytes, 6000);
    down();
}

static void test_gives_up_when_all_fails(void **state)
{
    (void)state;
    up(64 * MIB);
    put("d/", 300, 100);
    w.rig.fake->fail_op_mask = 1u << STORE_GET;
    w.rig.fake->fail_error = -EACCES;
    struct warm_stats st = run("d/");
    assert_int_equal(st.error, -EACCES);
    assert_true(st.failed >= 50 && st.failed < 100);
    assert_int_equal(st.nfailures, st.failed);
    assert_int_equal(st.objects, 0);
    down();
}

static void test_one_failure_among_many(void **state)
{
    (void)state;
    up(64 * MIB);
    put("d/", 100, 100);
    w.rig.fake->fail_op_mask = 1u << STORE_GET;
    w.rig.fake->fail_error = -EACCES;
    w.rig.fake->fail_after = 20;
    w.rig.fake->fail_count = 1;
    struct warm_stats st = run("d/");
    assert_int_equal(st.failed, 1);
    assert_int_equal(st.objects, 99);
    assert_int_equal(st.error, 0);
    down();
}

static void test_listings_that_fail_or_never_end(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth < 6; nth++) {
        up(64 * MIB);
        w.page_keys = 4;
        put("d/", 20, 100);
        w.fail_list = nth;
        assert_int_equal(run("d/").error, -EACCES);
        down();
    }
    up(64 * MIB);
    w.page_keys = 4;
    put("d/", 20, 100);
    w.same_token = true;
    assert_int_equal(run("d/").error, -EIO);
    down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_many_pages),
        cmocka_unit_test(test_a_name_may_be_an_object),
        cmocka_unit_test(test_what_no_path_names_is_left),
        cmocka_unit_test(test_stops_when_the_cache_is_full),
        cmocka_unit_test(test_small_objects_take_all_the_room_there_is),
        cmocka_unit_test(test_half_an_object_counts),
        cmocka_unit_test(test_stopped_while_it_lists),
        cmocka_unit_test(test_stopped_while_it_fetches),
        cmocka_unit_test(test_other_versions_are_counted),
        cmocka_unit_test(test_gives_up_when_all_fails),
        cmocka_unit_test(test_one_failure_among_many),
        cmocka_unit_test(test_listings_that_fail_or_never_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
