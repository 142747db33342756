/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Random writes, truncates, reads, commits and failures against a byte array. A failure prints its
 * seed; HAFIZ_SEED repeats it. */
#include "tests/unit/spool/spool-rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FILE_MAX (3 * MIB)

struct model {
    struct spool_rig *sr;
    struct spool *spool;
    uint8_t *bytes;
    uint64_t size;
    uint8_t *buf;
};

static uint64_t below(uint64_t n)
{
    return n ? ((uint64_t)random() << 20 ^ (uint64_t)random()) % n : 0;
}

static void step_write(struct model *m)
{
    uint64_t offset = below(FILE_MAX - 1), n = 1 + below(random() % 3 ? 9000 : 600000);

    n = MIN(n, FILE_MAX - offset);
    for (uint64_t i = 0; i < n; i++)
        m->buf[i] = (uint8_t)(random() | 1);
    assert_int_equal(do_write(m->sr, m->spool, offset, m->buf, n), 0);
    memcpy(m->bytes + offset, m->buf, n);
    m->size = MAX(m->size, offset + n);
}

static void step_truncate(struct model *m)
{
    uint64_t size = below(random() % 2 ? m->size + 1 : FILE_MAX);

    assert_int_equal(do_truncate(m->sr, m->spool, size), 0);
    if (size < m->size)
        memset(m->bytes + size, 0, FILE_MAX - size);
    m->size = size;
}

static void step_read(struct model *m)
{
    uint64_t offset = below(FILE_MAX), n = 1 + below(700000);
    size_t got = 0;

    assert_int_equal(spool_size(m->spool), m->size);
    assert_int_equal(do_read(m->sr, m->spool, offset, m->buf, n, &got), 0);
    uint64_t want = offset < m->size ? MIN(n, m->size - offset) : 0;
    assert_int_equal(got, want);
    assert_memory_equal(m->buf, m->bytes + offset, want);
}

static void check_store(struct model *m)
{
    struct fake_object *o = fake_find(m->sr->rig.fake, "k");

    assert_non_null(o);
    assert_int_equal(o->size, m->size);
    assert_memory_equal(o->data, m->bytes, m->size);
}

/* A commit fails now and then; the next good one brings everything. */
static void step_commit(struct model *m)
{
    struct fake *fake = m->sr->rig.fake;
    bool fails = random() % 2;

    if (fails) {
        fake->fail_op_mask = 1u << (random() % 2 ? STORE_PUT : STORE_GET);
        fake->fail_error = -EIO;
        fake->fail_after = (unsigned)(random() % 2);
        fake->fail_at_bytes = below(200000);
    }
    int r = do_commit(m->sr, m->spool, "k");
    fake_no_failures(fake);
    if (r < 0) {
        assert_true(fails);
        assert_int_equal(r, -EIO);
        return;
    }
    assert_false(spool_dirty(m->spool));
    check_store(m);
}

static void life(struct model *m, bool with_base)
{
    struct cache_obj *base = NULL;

    memset(m->bytes, 0, FILE_MAX);
    m->size = 0;
    fake_delete(m->sr->rig.fake, "k");
    if (with_base) {
        struct fake_object *o = fake_put_pattern(m->sr->rig.fake, "k", 1 + below(FILE_MAX - 1));
        base = rig_get(&m->sr->rig, "k");
        memcpy(m->bytes, o->data, o->size);
        m->size = o->size;
    }
    assert_int_equal(spool_new(m->sr->dir, "k", base, m->size, &m->spool), 0);
    assert_int_equal(spool_dirty(m->spool), !with_base);
    cache_obj_unref(base);
    for (int i = 0; i < 40; i++) {
        long dice = random() % 12;
        if (dice < 5)
            step_write(m);
        else if (dice < 7)
            step_truncate(m);
        else if (dice < 11)
            step_read(m);
        else
            step_commit(m);
    }
    assert_int_equal(do_commit(m->sr, m->spool, "k"), 0);
    check_store(m);
    if (random() % 2) {
        struct fake_object *o = fake_find(m->sr->rig.fake, "k");
        struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};
        m->sr->rig.fake->got_bytes = 0;
        spool_retire(m->spool, m->sr->rig.cache, &ck);
        struct cache_obj *obj = rig_get(&m->sr->rig, "k");
        for (uint64_t at = 0; at < o->size; at += MIB)
            rig_read_check(&m->sr->rig, obj, o, at, MIB, NULL);
        assert_int_equal(m->sr->rig.fake->got_bytes, 0); /* nothing written here is downloaded */
        cache_obj_unref(obj);
    } else {
        spool_free(m->spool);
    }
    assert_int_equal(spool_dir_used_bytes(m->sr->dir), 0);
}

static void test_lives(void **state)
{
    const char *env = getenv("HAFIZ_SEED");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : (unsigned)time(NULL);
    struct model m = {.sr = *state, .bytes = malloc(FILE_MAX), .buf = malloc(MIB)};

    assert_true(m.bytes && m.buf);
    print_message("HAFIZ_SEED=%u\n", seed);
    srandom(seed);
    for (int i = 0; i < 12; i++)
        life(&m, i % 3 != 0);
    free(m.bytes);
    free(m.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lives, spool_rig_up, spool_rig_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
