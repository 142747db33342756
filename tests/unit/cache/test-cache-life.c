/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* From one backend to the next: clean exits, kills, reboots, damaged files; versions that come as
 * uploads and go as deletions; directories that cannot be used. */
#include "tests/unit/cache/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/sidecar.h"
#include "s3proxyd/cache/obj.h"

static struct rig rig;

static int up(void **state)
{
    (void)state;
    rig_up(&rig, 64 * MIB);
    return 0;
}

static int down(void **state)
{
    (void)state;
    rig_down(&rig);
    return 0;
}

static char found[256];
static const char *suffix;
static int match(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    size_t n = strlen(path), m = strlen(suffix);
    if (type == FTW_F && n > m && strcmp(path + n - m, suffix) == 0)
        snprintf(found, sizeof(found), "%s", path);
    return 0;
}

/* The only file of that kind. */
static int open_only(const char *end)
{
    suffix = end;
    found[0] = 0;
    nftw(rig.dir, match, 16, FTW_PHYS);
    int fd = open(found, O_RDWR);
    assert_true(fd >= 0);
    return fd;
}

static struct fake_object *cached(const char *key, uint64_t size)
{
    struct fake_object *o = fake_put_pattern(rig.fake, key, size);
    struct cache_obj *obj = rig_get(&rig, key);

    rig_read_check(&rig, obj, o, 0, size, NULL);
    cache_obj_unref(obj);
    rig.fake->got_bytes = 0;
    return o;
}

static void read_again(struct fake_object *o)
{
    struct cache_obj *obj = rig_get(&rig, o->key);

    rig_read_check(&rig, obj, o, 0, o->size, NULL);
    cache_obj_unref(obj);
}

/* As after a reboot: the sidecar is of another boot. */
static void reboot(void)
{
    uint64_t id[2] = {1, 2};
    int fd = open_only(".side");

    assert_int_equal(pwrite(fd, id, sizeof(id), offsetof(struct sidecar_head, boot_id)),
                     sizeof(id));
    close(fd);
}

static bool walked(void *arg)
{
    (void)arg;
    return rig_stats(&rig).objects > 0;
}

/* The index is written only once the tree is known, which an empty one is not at once. */
static bool known(void *arg)
{
    (void)arg;
    return cache_idle(rig.cache) && !rig.cache->walk;
}

static void test_survives_a_clean_restart(void **state)
{
    struct fake_object *o = cached("k", 2 * MIB + 5);
    uint64_t used = rig_stats(&rig).used_bytes;

    (void)state;
    rig_reopen(&rig, true);
    assert_int_equal(rig_stats(&rig).used_bytes, used);
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, 0);
    assert_int_equal(rig_stats(&rig).used_bytes, used);
}

static void test_survives_a_kill(void **state)
{
    struct fake_object *o = cached("k", 2 * MIB + 5);
    uint64_t used = rig_stats(&rig).used_bytes;

    (void)state;
    rig_reopen(&rig, false);
    rig_until(&rig, walked, NULL);
    assert_int_equal(rig_stats(&rig).used_bytes, used);
    rig_reopen(&rig, false); /* opened before the walk is over */
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, 0);
    assert_int_equal(rig_stats(&rig).used_bytes, used);
    rig_reopen(&rig, false); /* gone before the walk is over */
    rig_reopen(&rig, true);
    rig_until(&rig, walked, NULL);
}

static void test_a_damaged_index_means_a_walk(void **state)
{
    struct fake_object *o = cached("k", MIB);

    (void)state;
    rig_until(&rig, known, NULL);
    cache_free(rig.cache);
    int fd = open_only("index");
    assert_int_equal(pwrite(fd, "x", 1, 20), 1);
    close(fd);
    const char *why;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    rig_until(&rig, walked, NULL);
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, 0);
}

static void test_after_a_reboot_blocks_are_verified(void **state)
{
    struct fake_object *o = cached("k", 2 * MIB + 5);

    (void)state;
    cache_free(rig.cache);
    reboot();
    int fd = open_only(".data");
    assert_int_equal(pwrite(fd, "\0\0\0", 3, 5 * BLOCK_BYTES + 77), 3); /* not synced, say */
    close(fd);
    const char *why;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    struct cache_obj *obj = rig_get(&rig, "k");
    assert_false(cache_obj_present(obj, 0, 1));
    cache_obj_unref(obj);
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, BLOCK_BYTES); /* only the bad one */
    read_again(o);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
}

static void test_verification_of_unread_blocks_is_lazy_and_kept(void **state)
{
    struct fake_object *o = cached("k", 4 * MIB);

    (void)state;
    for (int i = 0; i < 2; i++) { /* twice: stored bits outlive a boot that did not read them */
        cache_free(rig.cache);
        reboot();
        const char *why;
        assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
        struct cache_obj *obj = rig_get(&rig, "k");
        rig_read_check(&rig, obj, o, MIB, 4096, NULL);
        assert_false(cache_obj_present(obj, 3 * MIB, 1));
        cache_obj_unref(obj);
    }
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, 0);
}

static void damage_and_read(struct fake_object *o, const char *end, off_t cut, off_t at)
{
    cache_free(rig.cache);
    int fd = open_only(end);
    if (cut >= 0)
        assert_int_equal(ftruncate(fd, cut), 0);
    else
        assert_int_equal(pwrite(fd, "\xff", 1, at), 1);
    close(fd);
    const char *why;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    read_again(o);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
}

static void test_damaged_files_are_made_anew(void **state)
{
    struct fake_object *o = cached("k", MIB + 300 * KIB);

    (void)state;
    damage_and_read(o, ".side", 0, 0);
    damage_and_read(o, ".side", 4096, 0);
    damage_and_read(o, ".side", 100, 0);
    damage_and_read(o, ".data", 1000, 0);
    damage_and_read(o, ".side", -1, 0); /* magic */
    damage_and_read(o, ".side", -1, offsetof(struct sidecar_head, version));
    damage_and_read(o, ".side", -1, offsetof(struct sidecar_head, object_size));
    damage_and_read(o, ".side", -1, SIDECAR_HEAD_BYTES + 7); /* bits past the end */
    cache_free(rig.cache);
    int fd = open_only(".data");
    close(fd);
    unlink(found);
    const char *why;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    read_again(o);
}

static void test_leavings_of_a_crash_are_not_uncounted(void **state)
{
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 8 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");

    (void)state;
    rig_read_check(&rig, obj, o, 2 * MIB, 4096, NULL);
    cache_obj_unref(obj);
    rig_until(&rig, known, NULL);
    cache_free(rig.cache);
    int fd = open_only(".data"); /* bytes of a fetch that never ended */
    assert_int_equal(fallocate(fd, 0, 4 * (off_t)MIB, (off_t)MIB), 0);
    close(fd);
    fd = open_only("index");
    close(fd);
    unlink(found);
    const char *why;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    rig_until(&rig, walked, NULL);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
    obj = rig_get(&rig, "k");
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
    assert_true(rig_stats(&rig).used_bytes < 200 * KIB);
    cache_obj_unref(obj);
}

/* The object was renamed in the store: what is cached of it goes along, for who has it open, too. */
static void test_a_renamed_object_keeps_its_blocks(void **state)
{
    struct fake_object *o = cached("old", 3 * MIB + 5);
    struct cache_obj *obj = rig_get(&rig, "old");
    struct fake_object *n = fake_put(rig.fake, "new", o->data, o->size);
    struct cache_key from = {"http://fake", "b", "old", o->etag, 7, o->size};
    struct cache_key to = {"http://fake", "b", "new", n->etag, 7, n->size};
    uint64_t used = rig_stats(&rig).used_bytes;

    (void)state;
    cache_rename(rig.cache, &from, &to);
    cache_rename(rig.cache, &from, &to); /* what is not there is no harm */
    fake_delete(rig.fake, "old");
    assert_string_equal(cache_obj_key(obj), "new");
    struct cache_obj *again = rig_get(&rig, "new");
    assert_ptr_equal(again, obj);
    cache_obj_unref(again);
    cache_obj_unref(obj);
    rig.fake->got_bytes = 0;
    for (int i = 0; i < 2; i++) { /* and in the next run */
        obj = rig_get(&rig, "new");
        rig_read_check(&rig, obj, n, 0, n->size, NULL);
        cache_obj_unref(obj);
        assert_int_equal(rig_stats(&rig).used_bytes, used);
        rig_reopen(&rig, true);
    }
    assert_int_equal(rig.fake->got_bytes, 0);
}

static bool is_gone(void *path)
{
    return access(path, F_OK) < 0;
}

static void test_half_a_version_is_removed(void **state)
{
    char path[160];

    (void)state;
    cache_free(rig.cache);
    snprintf(path, sizeof(path), "%s/index", rig.dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/objects/ab", rig.dir);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/objects/ab/ab%062d.data", rig.dir, 7);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)MIB), 0);
    close(fd);
    const char *why;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    rig_until(&rig, is_gone, path);
}

static void make_upload(char path[160], const struct fake_object *o)
{
    snprintf(path, 160, "%s/upload", rig.dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, o->data, o->size), o->size);
    close(fd);
}

static void test_adopted_upload_is_not_fetched(void **state)
{
    struct fake_object *o = fake_put_pattern(rig.fake, "k", MIB + 9);
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};
    char path[160];

    (void)state;
    make_upload(path, o);
    assert_int_equal(cache_adopt(rig.cache, &ck, path), 0);
    assert_int_equal(access(path, F_OK), -1);
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, 0);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
    rig_reopen(&rig, true);
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, 0);
    /* without checksums it is good for this boot only */
    cache_free(rig.cache);
    reboot();
    const char *why;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    read_again(o);
    assert_int_equal(rig.fake->got_bytes, o->size);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
}

static void test_adopt_at_odd_times(void **state)
{
    struct fake_object *o = fake_put_pattern(rig.fake, "k", MIB);
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};
    char path[160];

    (void)state;
    struct cache_obj *obj = rig_get(&rig, "k"); /* somebody has it open already */
    make_upload(path, o);
    assert_int_equal(cache_adopt(rig.cache, &ck, path), 0);
    assert_int_equal(access(path, F_OK), -1);
    rig_read_check(&rig, obj, o, 0, MIB, NULL);
    cache_obj_unref(obj);
    make_upload(path, o); /* there, but closed */
    assert_int_equal(cache_adopt(rig.cache, &ck, path), 0);
    read_again(o);
    ck.size++; /* not what it says */
    make_upload(path, o);
    assert_int_equal(cache_adopt(rig.cache, &ck, path), -EINVAL);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rig_stats(&rig).used_bytes, rig_disk_bytes(&rig));
    struct fake_object *big = fake_put_pattern(rig.fake, "big", 65 * MIB);
    struct cache_key bk = {"http://fake", "b", "big", big->etag, 7, big->size};
    make_upload(path, big);
    assert_int_equal(cache_adopt(rig.cache, &bk, path), -ENOSPC);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_forgotten_versions_go(void **state)
{
    struct fake_object *o = cached("k", MIB);
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size};

    (void)state;
    struct cache_obj *obj = rig_get(&rig, "k");
    cache_forget(rig.cache, &ck);
    rig_read_check(&rig, obj, o, 0, MIB, NULL); /* who has it open still reads it */
    cache_obj_unref(obj);
    assert_int_equal(rig_disk_bytes(&rig), 0);
    o = cached("k", MIB);
    ck.etag = o->etag;
    cache_forget(rig.cache, &ck);
    assert_int_equal(rig_disk_bytes(&rig), 0);
    assert_int_equal(rig_stats(&rig).objects, 0);
}

static void test_versions_do_not_mix(void **state)
{
    struct fake_object *o = cached("k", MIB);
    struct cache_key ck = {"http://fake", "b", "k", o->etag, 7, o->size}, other = ck;
    struct cache_obj *a, *b;

    (void)state;
    other.scope = 8; /* what one credential saw is not served to another */
    assert_int_equal(cache_obj_get(rig.cache, &rig.fake->store, &ck, &a), 0);
    assert_int_equal(cache_obj_get(rig.cache, &rig.fake->store, &other, &b), 0);
    assert_ptr_not_equal(a, b);
    assert_false(cache_obj_present(b, 0, 1));
    cache_obj_unref(b);
    other = ck;
    other.bucket = "bk"; /* b|k and bk|"" are different names */
    other.key = "";
    assert_int_equal(cache_obj_get(rig.cache, &rig.fake->store, &other, &b), 0);
    assert_ptr_not_equal(a, b);
    cache_obj_unref(b);
    cache_obj_unref(a);
}

static void test_one_backend_per_directory(void **state)
{
    struct cache *second;
    const char *why = NULL;

    (void)state;
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &second, &why), -EBUSY);
    assert_non_null(why);
}

static void test_directories_that_cannot_be(void **state)
{
    char path[96];
    struct cache *cache;
    const char *why = NULL;
    struct cache_config config = {.dir = path, .size_bytes = MIB};

    (void)state;
    snprintf(path, sizeof(path), "/proc/self/cache");
    assert_true(cache_new(rig.loop, rig.pool, &config, &cache, &why) < 0);
    snprintf(path, sizeof(path), "%s/open", rig.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(cache_new(rig.loop, rig.pool, &config, &cache, &why), -EPERM);
    assert_non_null(why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_survives_a_clean_restart, up, down),
        cmocka_unit_test_setup_teardown(test_survives_a_kill, up, down),
        cmocka_unit_test_setup_teardown(test_a_damaged_index_means_a_walk, up, down),
        cmocka_unit_test_setup_teardown(test_after_a_reboot_blocks_are_verified, up, down),
        cmocka_unit_test_setup_teardown(test_verification_of_unread_blocks_is_lazy_and_kept, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_damaged_files_are_made_anew, up, down),
        cmocka_unit_test_setup_teardown(test_a_renamed_object_keeps_its_blocks, up, down),
        cmocka_unit_test_setup_teardown(test_leavings_of_a_crash_are_not_uncounted, up, down),
        cmocka_unit_test_setup_teardown(test_half_a_version_is_removed, up, down),
        cmocka_unit_test_setup_teardown(test_adopted_upload_is_not_fetched, up, down),
        cmocka_unit_test_setup_teardown(test_adopt_at_odd_times, up, down),
        cmocka_unit_test_setup_teardown(test_forgotten_versions_go, up, down),
        cmocka_unit_test_setup_teardown(test_versions_do_not_mix, up, down),
        cmocka_unit_test_setup_teardown(test_one_backend_per_directory, up, down),
        cmocka_unit_test_setup_teardown(test_directories_that_cannot_be, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
