/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Commits: what is uploaded how, what a failure at each step leaves (everything here, nothing
 * there), and who waits for whom meanwhile. */
#include "tests/unit/spool/spool-rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BIG (40 * MIB + 12345)

static uint8_t *data;
static char later[] = "later";

static void make_data(void)
{
    if (data)
        return;
    data = malloc(BIG + MIB);
    for (uint64_t i = 0; i < BIG + MIB; i++)
        data[i] = fake_pattern_byte(i, 99);
}

static struct spool *written(struct spool_rig *sr, uint64_t size)
{
    struct spool *s;

    make_data();
    assert_int_equal(spool_new(sr->dir, "k", NULL, 0, &s), 0);
    for (uint64_t at = 0; at < size; at += MIB)
        assert_int_equal(do_write(sr, s, at, data + at, MIN(size - at, MIB)), 0);
    return s;
}

static void check(struct spool_rig *sr, const uint8_t *want, uint64_t size)
{
    struct fake_object *o = fake_find(sr->rig.fake, "k");

    assert_non_null(o);
    assert_int_equal(o->size, size);
    assert_memory_equal(o->data, want, size);
    assert_int_equal(fake_uploads_open(sr->rig.fake), 0);
}

static void test_empty_file(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, 0);

    assert_true(spool_dirty(s));
    assert_int_equal(do_commit(sr, s, "k"), 0);
    assert_false(spool_dirty(s));
    check(sr, data, 0);
    spool_free(s);
}

static void test_small_is_one_put(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, 16 * MIB);
    struct committed c;

    commit_begin(sr, s, "k", &c);
    assert_int_equal(spool_commit_start(s, &(struct spool_commit){0}), -EBUSY);
    assert_int_equal(commit_wait(sr, &c), 0);
    assert_int_equal(c.c.meta.size, 16 * MIB);
    assert_string_equal(c.c.meta.etag, fake_find(sr->rig.fake, "k")->etag);
    assert_int_equal(c.c.generation, spool_generation(s));
    spool_commit_fini(&c.c);
    assert_int_equal(sr->rig.fake->ops[STORE_PUT], 1);
    assert_int_equal(sr->rig.fake->ops[STORE_MPU_CREATE], 0);
    check(sr, data, 16 * MIB);
    spool_free(s);
}

static void test_large_goes_in_parts(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, BIG);

    assert_int_equal(do_commit(sr, s, "k"), 0);
    check(sr, data, BIG);
    assert_int_equal(sr->rig.fake->ops[STORE_MPU_PART], 6);
    assert_int_equal(sr->rig.fake->max_in_flight, 4);
    assert_int_equal(sr->rig.fake->max_body_bytes, 8 * MIB);
    spool_free(s);
}

static void test_conditions(void **state)
{
    struct spool_rig *sr = *state;

    for (uint64_t size = 1000; size <= BIG; size += BIG - 1000) { /* PUT, and COMPLETE */
        struct spool *s = written(sr, size);
        struct fake_object *o = fake_put(sr->rig.fake, "k", "theirs", 6);
        struct committed c;
        commit_begin(sr, s, "k", &c);
        c.c.if_match = strdup("\"other\"");
        assert_int_equal(commit_wait(sr, &c), -ESTALE);
        assert_true(c.c.error_text[0] != 0);
        spool_commit_fini(&c.c);
        check(sr, (const uint8_t *)"theirs", 6); /* nothing is overwritten */
        assert_true(spool_dirty(s));
        commit_begin(sr, s, "k", &c);
        c.c.if_none_match = true;
        assert_int_equal(commit_wait(sr, &c), -EEXIST);
        spool_commit_fini(&c.c);
        commit_begin(sr, s, "k", &c);
        c.c.if_match = strdup(o->etag);
        assert_int_equal(commit_wait(sr, &c), 0);
        spool_commit_fini(&c.c);
        check(sr, data, size);
        spool_free(s);
    }
}

/* Every step may fail; then a write, then it works, and the write is in it. */
static void test_failure_at_each_step(void **state)
{
    static const struct {
        enum store_op op;
        unsigned after;
    } steps[] = {{STORE_MPU_CREATE, 0}, {STORE_MPU_PART, 0},     {STORE_MPU_PART, 3},
                 {STORE_MPU_PART, 5},   {STORE_MPU_COMPLETE, 0}, {STORE_PUT, 0}};
    struct spool_rig *sr = *state;
    struct fake *fake = sr->rig.fake;

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        uint64_t size = steps[i].op == STORE_PUT ? MIB : BIG;
        struct spool *s = written(sr, size);
        fake_delete(fake, "k");
        fake->fail_op_mask = 1u << steps[i].op;
        fake->fail_after = steps[i].after;
        fake->fail_error = -EIO;
        assert_int_equal(do_commit(sr, s, "k"), -EIO);
        fake_no_failures(fake);
        assert_null(fake_find(fake, "k"));
        assert_int_equal(fake_uploads_open(fake), 0);
        assert_true(spool_dirty(s));
        assert_int_equal(spool_size(s), size);
        assert_int_equal(do_write(sr, s, 500, "between", 7), 0);
        memcpy(data + 500, "between", 7);
        assert_int_equal(do_commit(sr, s, "k"), 0);
        assert_false(spool_dirty(s));
        check(sr, data, size);
        spool_free(s);
    }
    free(data);
    data = NULL;
}

static void test_failing_abort_changes_nothing(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, BIG);

    sr->rig.fake->fail_op_mask = 1u << STORE_MPU_PART | 1u << STORE_MPU_ABORT;
    sr->rig.fake->fail_error = -ETIMEDOUT;
    assert_int_equal(do_commit(sr, s, "k"), -ETIMEDOUT);
    assert_true(spool_dirty(s));
    spool_free(s);
}

static void test_missing_parts_come_from_the_base(void **state)
{
    struct spool_rig *sr = *state;
    struct fake_object *o;
    struct spool *s = spool_on_base(sr, BIG, &o);
    uint8_t *want = malloc(BIG);

    memcpy(want, o->data, BIG);
    memcpy(want + 20 * MIB + 5, "hello", 5);
    assert_int_equal(do_write(sr, s, 20 * MIB + 5, "hello", 5), 0);
    sr->rig.fake->fail_op_mask = 1u << STORE_GET;
    sr->rig.fake->fail_error = -EIO;
    sr->rig.fake->fail_after = 4;
    sr->rig.fake->fail_at_bytes = 4 * MIB; /* the others are through by then */
    assert_int_equal(do_commit(sr, s, "k"), -EIO);
    fake_no_failures(sr->rig.fake);
    uint64_t before = sr->rig.fake->got_bytes;
    assert_int_equal(do_commit(sr, s, "k"), 0);
    check(sr, want, BIG);
    assert_true(before > 0);
    assert_true(sr->rig.fake->got_bytes - before < BIG - 8 * MIB); /* what had come, stayed */
    /* and now nothing is missing any more */
    before = sr->rig.fake->got_bytes;
    assert_int_equal(do_write(sr, s, 0, "x", 1), 0);
    assert_int_equal(do_commit(sr, s, "k"), 0);
    want[0] = 'x';
    check(sr, want, BIG);
    assert_int_equal(sr->rig.fake->got_bytes, before);
    free(want);
    spool_free(s);
}

static void test_cached_base_is_copied_not_fetched(void **state)
{
    struct spool_rig *sr = *state;
    struct fake_object *o = fake_put_pattern(sr->rig.fake, "k", 10 * MIB + 1);
    struct cache_obj *base = rig_get(&sr->rig, "k");
    uint8_t *want = malloc(o->size);
    struct spool *s;

    memcpy(want, o->data, o->size);
    want[1000] = 'x';
    for (uint64_t at = 0; at < o->size; at += MIB)
        rig_read_check(&sr->rig, base, o, at, MIB, NULL);
    uint64_t size = o->size, before = sr->rig.fake->got_bytes;
    assert_int_equal(spool_new(sr->dir, "k", base, size, &s), 0);
    cache_obj_unref(base);
    assert_int_equal(do_write(sr, s, 1000, "x", 1), 0);
    assert_int_equal(do_commit(sr, s, "k"), 0);
    check(sr, want, size);
    assert_int_equal(sr->rig.fake->got_bytes, before);
    free(want);
    spool_free(s);
}

static void test_writes_wait_and_reads_pass(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, MIB);
    struct io wr = {.io = {.offset = 10, .size = 5, .buf = later, .done = io_done}};
    struct io cut = {.io = {.size = 100, .done = io_done}};
    struct committed c;
    uint8_t buf[100];
    size_t got;

    sr->rig.fake->hold = true;
    commit_begin(sr, s, "k", &c);
    assert_int_equal(spool_write_start(s, &wr.io), -EINPROGRESS);
    assert_int_equal(spool_truncate_start(s, &cut.io), -EINPROGRESS);
    assert_int_equal(do_read(sr, s, 0, buf, sizeof(buf), &got), 0);
    assert_memory_equal(buf, data, sizeof(buf));
    assert_false(wr.done);
    assert_false(c.done);
    fake_release(sr->rig.fake);
    assert_int_equal(commit_wait(sr, &c), 0);
    spool_commit_fini(&c.c);
    check(sr, data, MIB); /* a whole version, of before the write */
    assert_true(spool_dirty(s));
    assert_int_equal(io_wait(sr, &wr, -EINPROGRESS), 0);
    assert_int_equal(io_wait(sr, &cut, -EINPROGRESS), 0);
    assert_int_equal(spool_size(s), 100);
    assert_int_equal(do_commit(sr, s, "k"), 0);
    memcpy(buf, data, 100);
    memcpy(buf + 10, "later", 5);
    check(sr, buf, 100);
    spool_free(s);
}

static void test_running_write_is_part_of_the_commit(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, 0);
    struct io wr = {.io = {.size = MIB, .buf = data, .done = io_done}};
    struct committed c;

    assert_int_equal(spool_write_start(s, &wr.io), -EINPROGRESS);
    commit_begin(sr, s, "k", &c);
    assert_int_equal(commit_wait(sr, &c), 0);
    assert_true(wr.done);
    assert_int_equal(c.c.generation, spool_generation(s));
    spool_commit_fini(&c.c);
    check(sr, data, MIB);
    spool_free(s);
}

static void test_retired_spool_is_cache_content(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, 3 * MIB + 1);
    struct io rd = {.io = {.size = 1000, .buf = (uint8_t[1000]){0}, .done = io_done}};

    assert_int_equal(do_commit(sr, s, "k"), 0);
    struct fake_object *o = fake_find(sr->rig.fake, "k");
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};
    assert_int_equal(spool_read_start(s, &rd.io), -EINPROGRESS); /* one is still reading */
    spool_retire(s, sr->rig.cache, &ck);
    assert_int_equal(io_wait(sr, &rd, -EINPROGRESS), 0);
    assert_memory_equal(rd.io.buf, data, 1000);
    struct cache_obj *obj = rig_get(&sr->rig, "k");
    rig_read_check(&sr->rig, obj, o, 0, o->size, NULL);
    assert_int_equal(sr->rig.fake->ops[STORE_GET], 0);
    cache_obj_unref(obj);
}

static void test_dirty_or_wrong_spool_is_not_adopted(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, MIB);

    assert_int_equal(do_commit(sr, s, "k"), 0);
    struct fake_object *o = fake_find(sr->rig.fake, "k");
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};
    assert_int_equal(do_write(sr, s, 0, "unsaved", 7), 0);
    spool_retire(s, sr->rig.cache, &ck);
    struct cache_obj *obj = rig_get(&sr->rig, "k");
    rig_read_check(&sr->rig, obj, o, 0, o->size, NULL);
    assert_int_equal(sr->rig.fake->ops[STORE_GET], 1);
    cache_obj_unref(obj);
}

static struct io behind;
static void done_frees_the_spool(struct spool_commit *commit)
{
    struct committed *c = container_of(commit, struct committed, c);

    assert_true(spool_dirty(commit->spool)); /* the truncate is on its way */
    spool_free(commit->spool);
    c->done = true;
}

static void test_spool_ends_in_done_with_a_truncate_behind(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, MIB);
    struct committed c;

    sr->rig.fake->hold = true;
    commit_begin(sr, s, "k", &c);
    c.c.done = done_frees_the_spool;
    behind = (struct io){.io = {.size = 5, .done = io_done}};
    assert_int_equal(spool_truncate_start(s, &behind.io), -EINPROGRESS);
    fake_release(sr->rig.fake);
    assert_int_equal(commit_wait(sr, &c), 0);
    spool_commit_fini(&c.c);
    assert_int_equal(io_wait(sr, &behind, -EINPROGRESS), 0);
}

static struct committed second;
static void done_commits_again(struct spool_commit *commit)
{
    struct spool *spool = commit->spool;
    struct store *store = commit->store;

    container_of(commit, struct committed, c)->done = true;
    spool_commit_fini(commit);
    if (!spool_dirty(spool))
        return;
    second =
        (struct committed){.c = {.store = store, .key = strdup("k"), .done = done_commits_again}};
    assert_int_equal(spool_commit_start(spool, &second.c), -EINPROGRESS);
}

static bool is_clean(void *spool)
{
    return !spool_dirty(spool);
}

/* Waiting writes and commits that follow each other at once: both get their turn. */
static void test_commits_in_a_row_do_not_starve_writes(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = written(sr, MIB);
    struct io wr[5];
    struct committed c;

    sr->rig.fake->hold = true;
    commit_begin(sr, s, "k", &c);
    c.c.done = done_commits_again;
    for (size_t i = 0; i < ARRAY_SIZE(wr); i++) {
        wr[i] = (struct io){.io = {.offset = 10 * i, .size = 5, .buf = later, .done = io_done}};
        assert_int_equal(spool_write_start(s, &wr[i].io), -EINPROGRESS);
    }
    fake_release(sr->rig.fake);
    rig_until(&sr->rig, is_clean, s);
    for (size_t i = 0; i < ARRAY_SIZE(wr); i++) {
        assert_true(wr[i].done);
        memcpy(data + 10 * i, "later", 5);
    }
    check(sr, data, MIB);
    spool_free(s);
    free(data);
    data = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, spool_rig_up, spool_rig_down)
        T(test_empty_file),
        T(test_small_is_one_put),
        T(test_large_goes_in_parts),
        T(test_conditions),
        T(test_failure_at_each_step),
        T(test_failing_abort_changes_nothing),
        T(test_missing_parts_come_from_the_base),
        T(test_cached_base_is_copied_not_fetched),
        T(test_writes_wait_and_reads_pass),
        T(test_running_write_is_part_of_the_commit),
        T(test_retired_spool_is_cache_content),
        T(test_dirty_or_wrong_spool_is_not_adopted),
        T(test_spool_ends_in_done_with_a_truncate_behind),
        T(test_commits_in_a_row_do_not_starve_writes),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);

    free(data);
    return r;
}
