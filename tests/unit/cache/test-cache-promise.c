/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Versions that kernels read past us: whole until the last mapping is gone, charged as long, and
 * never more of them than their share. The mappings here are of the cache file itself, as those of
 * a kernel that passes reads through are. */
#include "tests/unit/cache/rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/sidecar.h"

#define CACHE_BYTES (16 * MIB)

static struct rig rig;

static int up(void **state)
{
    (void)state;
    rig_up(&rig, CACHE_BYTES);
    return 0;
}

static int down(void **state)
{
    (void)state;
    rig_down(&rig);
    return 0;
}

/* All of a new object in the cache. */
static struct cache_obj *whole(const char *key, uint64_t size)
{
    struct fake_object *o = fake_put_pattern(rig.fake, key, size);
    struct cache_obj *obj = rig_get(&rig, key);

    rig_read_check(&rig, obj, o, 0, size, NULL);
    return obj;
}

/* As a kernel does at open and mmap; no descriptor is left of it. */
static const uint8_t *map(const struct cache_obj *obj)
{
    char path[64];
    int fds[2];

    cache_obj_fds(obj, &fds[0], &fds[1]);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    void *at = mmap(NULL, cache_obj_size(obj), PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    close(fd);
    return at;
}

static void check_map(const uint8_t *at, const char *key)
{
    const struct fake_object *o = fake_find(rig.fake, key);

    assert_memory_equal(at, o->data, o->size);
}

static uint64_t used(void)
{
    struct cache_stats stats;

    cache_stats(rig.cache, &stats);
    return stats.used_bytes;
}

/* Reads three times as much as the cache holds. */
static void press(void)
{
    char key[24];

    for (int i = 0; i < 24; i++) {
        snprintf(key, sizeof(key), "press%d", i);
        cache_obj_unref(whole(key, 2 * MIB));
        assert_true(used() <= CACHE_BYTES);
        assert_true(rig_disk_bytes(&rig) <= CACHE_BYTES);
    }
}

static bool kept(const char *key)
{
    struct cache_obj *obj = rig_get(&rig, key);
    bool all = cache_obj_present(obj, 0, cache_obj_size(obj));

    cache_obj_unref(obj);
    return all;
}

static void test_only_whole_versions_are_promised(void **state)
{
    (void)state;
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 3 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    assert_false(cache_obj_promise(obj));
    rig_read_check(&rig, obj, o, MIB, 2 * MIB, NULL);
    assert_false(cache_obj_promise(obj));
    rig_read_check(&rig, obj, o, 0, MIB, NULL);
    assert_true(cache_obj_promise(obj));
    assert_true(cache_obj_promise(obj));
    cache_obj_unref(obj);
    struct cache_obj *small = whole("small", 4 * KIB), *empty = whole("empty", 0);
    assert_false(cache_obj_promise(small));
    assert_false(cache_obj_promise(empty));
    cache_obj_unref(small);
    cache_obj_unref(empty);
}

static void test_a_revoked_version_is_not_promised(void **state)
{
    (void)state;
    struct cache_obj *obj = whole("k", MIB);
    cache_obj_revoke(obj);
    assert_false(cache_obj_promise(obj));
    cache_obj_unrevoke(obj);
    assert_true(cache_obj_promise(obj));
    cache_obj_unref(obj);
}

static void test_open_and_promised_is_not_punched(void **state)
{
    (void)state;
    struct cache_obj *obj = whole("k", 4 * MIB);
    assert_true(cache_obj_promise(obj));
    press();
    assert_true(cache_obj_present(obj, 0, 4 * MIB));
    cache_obj_unref(obj);
}

static void test_mapped_after_close_stays_until_unmapped(void **state)
{
    (void)state;
    struct cache_obj *obj = whole("k", 4 * MIB);
    assert_true(cache_obj_promise(obj));
    const uint8_t *at = map(obj);
    cache_obj_unref(obj);
    press();
    check_map(at, "k");
    assert_true(kept("k"));
    munmap((void *)at, 4 * MIB);
    press();
    assert_false(kept("k"));
}

static void test_a_promise_survives_the_backend(void **state)
{
    (void)state;
    for (int clean = 0; clean < 2; clean++) {
        struct cache_obj *obj = whole("k", 4 * MIB);
        assert_true(cache_obj_promise(obj));
        const uint8_t *at = map(obj);
        cache_obj_unref(obj);
        rig_reopen(&rig, clean);
        press();
        check_map(at, "k");
        assert_true(kept("k"));
        munmap((void *)at, 4 * MIB);
    }
}

static void test_a_promise_ends_with_the_boot(void **state)
{
    const uint64_t other[2] = {1, 2};
    struct sidecar_head head;
    char path[64];
    int fds[2];

    (void)state;
    struct cache_obj *obj = whole("k", MIB);
    assert_true(cache_obj_promise(obj));
    cache_obj_fds(obj, &fds[0], &fds[1]);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &head, sizeof(head), 0), sizeof(head));
    assert_int_equal(head.promised, 1);
    assert_int_equal(pwrite(fd, other, 16, offsetof(struct sidecar_head, boot_id)), 16);
    cache_obj_unref(obj);
    rig_reopen(&rig, true);
    obj = rig_get(&rig, "k");
    assert_int_equal(pread(fd, &head, sizeof(head), 0), sizeof(head));
    assert_int_equal(head.promised, 0);
    assert_false(cache_obj_promise(obj)); /* not verified in this boot */
    rig_read_check(&rig, obj, fake_find(rig.fake, "k"), 0, MIB, NULL);
    assert_true(cache_obj_promise(obj));
    cache_obj_unref(obj);
    close(fd);
}

static void test_replaced_and_forgotten_but_mapped_stays_charged(void **state)
{
    (void)state;
    struct cache_obj *obj = whole("k", 4 * MIB);
    struct fake_object *o = fake_find(rig.fake, "k");
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};
    assert_true(cache_obj_promise(obj));
    const uint8_t *at = map(obj);
    cache_forget(rig.cache, &ck);
    uint64_t before = used();
    cache_obj_unref(obj);
    assert_int_equal(used(), before);
    cache_forget(rig.cache, &ck);
    assert_int_equal(used(), before);
    press();
    check_map(at, "k");
    munmap((void *)at, 4 * MIB);
    before = used();
    cache_forget(rig.cache, &ck);
    assert_true(used() < before);
    assert_false(kept("k"));
}

static void test_a_revoked_one_that_is_mapped_keeps_its_bytes(void **state)
{
    (void)state;
    struct cache_obj *obj = whole("k", 4 * MIB);
    assert_true(cache_obj_promise(obj));
    const uint8_t *at = map(obj);
    cache_obj_revoke(obj);
    cache_obj_unref(obj);
    press();
    check_map(at, "k");
    obj = rig_get(&rig, "k"); /* made anew: another file */
    rig_read_check(&rig, obj, fake_find(rig.fake, "k"), 0, 4 * MIB, NULL);
    cache_obj_unref(obj);
    check_map(at, "k");
    munmap((void *)at, 4 * MIB);
}

static void test_half_of_the_cache_may_be_promised(void **state)
{
    const uint8_t *maps[4];
    char key[24];

    (void)state;
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        struct cache_obj *obj = whole(key, 2 * MIB);
        assert_int_equal(cache_obj_promise(obj), i < 3); /* sidecars count, too */
        maps[i] = map(obj);
        cache_obj_unref(obj);
    }
    struct cache_obj *large = whole("large", 9 * MIB);
    assert_false(cache_obj_promise(large));
    cache_obj_unref(large);
    munmap((void *)maps[1], 2 * MIB); /* its share is free again */
    struct cache_obj *obj = whole("k3", 2 * MIB);
    assert_true(cache_obj_promise(obj));
    cache_obj_unref(obj);
    press();
    check_map(maps[0], "k0");
    check_map(maps[2], "k2");
    assert_false(kept("k1"));
    munmap((void *)maps[0], 2 * MIB);
    munmap((void *)maps[2], 2 * MIB);
    munmap((void *)maps[3], 2 * MIB);
}

/* The promise that ends while it is closed is no reason to read all of it again. */
static void test_a_withdrawn_promise_leaves_a_whole_file(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) { /* the fourth takes the first one's share */
        char key[24];
        snprintf(key, sizeof(key), "k%d", i);
        struct cache_obj *obj = whole(key, 2 * MIB);
        assert_true(cache_obj_promise(obj));
        cache_obj_unref(obj);
    }
    for (int i = 0; i < 4; i++) {
        char key[24];
        snprintf(key, sizeof(key), "k%d", i);
        struct cache_obj *obj = rig_get(&rig, key);
        assert_true(cache_obj_present(obj, 0, 2 * MIB));
        cache_obj_unref(obj);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_whole_versions_are_promised, up, down),
        cmocka_unit_test_setup_teardown(test_a_revoked_version_is_not_promised, up, down),
        cmocka_unit_test_setup_teardown(test_open_and_promised_is_not_punched, up, down),
        cmocka_unit_test_setup_teardown(test_mapped_after_close_stays_until_unmapped, up, down),
        cmocka_unit_test_setup_teardown(test_a_promise_survives_the_backend, up, down),
        cmocka_unit_test_setup_teardown(test_a_promise_ends_with_the_boot, up, down),
        cmocka_unit_test_setup_teardown(test_replaced_and_forgotten_but_mapped_stays_charged, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_a_revoked_one_that_is_mapped_keeps_its_bytes, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_a_withdrawn_promise_leaves_a_whole_file, up, down),
        cmocka_unit_test_setup_teardown(test_half_of_the_cache_may_be_promised, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
