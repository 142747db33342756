/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One life of a file through cache and spool, again and again, with the first, second, third …
 * allocation failing: an operation may say ENOMEM, but nothing crashes, hangs, leaks, or loses a
 * byte. */
#include "tests/unit/spool/spool-rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/nomem.h"

#define SIZE (17 * MIB) /* two pieces to download, three parts to upload */

static bool tolerable(int r)
{
    assert_true(r == 0 || r == -ENOMEM);
    return r == 0;
}

static int get_base(struct spool_rig *sr, const struct fake_object *o, struct cache_obj **ret_obj)
{
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};

    return cache_obj_get(sr->rig.cache, &sr->rig.fake->store, &ck, ret_obj);
}

static void read_some(struct spool_rig *sr, struct spool *s, const uint8_t *model)
{
    static uint8_t buf[100000];
    size_t got;

    if (!tolerable(do_read(sr, s, MIB - 50000, buf, sizeof(buf), &got)))
        return;
    assert_int_equal(got, sizeof(buf));
    assert_memory_equal(buf, model + MIB - 50000, sizeof(buf));
}

/* The middle of a life, where allocations fail. */
static void live(struct spool_rig *sr, const struct fake_object *o, uint8_t *model)
{
    struct cache_obj *base = NULL;
    struct spool *s = NULL;
    struct cache_history ra = {0};

    if (tolerable(get_base(sr, o, &base))) {
        tolerable(rig_fill(&sr->rig, base, 0, 300 * KIB, &ra));
        tolerable(spool_new(sr->dir, "k", base, o->size, &s));
    }
    if (s && tolerable(do_write(sr, s, MIB, "hello", 5)))
        memcpy(model + MIB, "hello", 5);
    if (s)
        read_some(sr, s, model);
    if (s)
        tolerable(do_commit(sr, s, "k"));
    nomem_end();
    cache_obj_unref(base);
    if (!s)
        return;
    assert_int_equal(do_write(sr, s, 0, "again", 5), 0);
    memcpy(model, "again", 5);
    assert_int_equal(do_commit(sr, s, "k"), 0);
    const struct fake_object *now = fake_find(sr->rig.fake, "k");
    assert_int_equal(now->size, SIZE);
    assert_memory_equal(now->data, model, SIZE);
    struct cache_key ck = {"http://fake", "b", "k", now->etag, 7, now->size};
    spool_retire(s, sr->rig.cache, &ck);
}

static void test_every_allocation_may_fail(void **state)
{
    uint8_t *model = malloc(SIZE);
    long n = 0;

    (void)state;
    do {
        void *rig;
        spool_rig_up(&rig);
        struct spool_rig *sr = rig;
        struct fake_object *o = fake_put_pattern(sr->rig.fake, "k", SIZE);
        memcpy(model, o->data, SIZE);
        nomem_begin(++n, false);
        live(sr, o, model);
        rig_idle(&sr->rig);
        spool_rig_down(&rig);
    } while (nomem_end());
    assert_true(n > 15);
    print_message("%ld allocations\n", n - 1);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
