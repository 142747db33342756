/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The bound: never passed on disk, whoever reads what; and readers that follow the sidecar protocol
 * never see wrong bytes while blocks are evicted and fetched again below them. */
#include "tests/unit/cache/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/sidecar.h"

static struct rig rig;

static void up(uint64_t bytes)
{
    rig_up(&rig, bytes);
}

static uint64_t used(void)
{
    struct cache_stats stats;

    cache_stats(rig.cache, &stats);
    return stats.used_bytes;
}

static void test_closed_versions_go_oldest_first(void **state)
{
    char key[16];

    (void)state;
    up(8 * MIB);
    for (int i = 0; i < 12; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        struct fake_object *o = fake_put_pattern(rig.fake, key, MIB);
        struct cache_obj *obj = rig_get(&rig, key);
        rig_read_check(&rig, obj, o, 0, MIB, NULL);
        cache_obj_unref(obj);
        assert_true(rig_disk_bytes(&rig) <= 8 * MIB);
        assert_true(used() <= 8 * MIB);
        assert_int_equal(used(), rig_disk_bytes(&rig));
    }
    for (int i = 0; i < 12; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        struct cache_obj *obj = rig_get(&rig, key);
        assert_int_equal(cache_obj_present(obj, 0, MIB), i >= 5);
        cache_obj_unref(obj);
    }
    rig_down(&rig);
}

static void test_object_larger_than_the_cache(void **state)
{
    struct cache_history ra = {0};

    (void)state;
    up(4 * MIB);
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 40 * MIB + 99);
    struct cache_obj *obj = rig_get(&rig, "k");
    for (int round = 0; round < 2; round++)
        for (uint64_t at = 0; at < o->size; at += 256 * KIB) {
            rig_read_check(&rig, obj, o, at, 256 * KIB, &ra);
            assert_true(rig_disk_bytes(&rig) <= 4 * MIB + 64 * KIB);
            assert_true(used() <= 4 * MIB);
        }
    rig_idle(&rig);
    /* a stream through a small cache is fetched about once a round */
    assert_true(rig.fake->got_bytes < 2 * o->size + 8 * MIB);
    cache_obj_unref(obj);
    rig_down(&rig);
}

static void test_read_larger_than_the_cache(void **state)
{
    (void)state;
    up(256 * KIB);
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 8 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    for (uint64_t at = 0; at < o->size; at += MIB)
        rig_read_check(&rig, obj, o, at, MIB, NULL);
    cache_obj_unref(obj);
    rig_down(&rig);
}

struct crowd {
    struct waited w[16];
};
static bool crowd_done(void *arg)
{
    struct crowd *c = arg;

    for (size_t i = 0; i < ARRAY_SIZE(c->w); i++)
        if (!c->w[i].done)
            return false;
    return true;
}

/* More waiting readers than room: all are served. */
static void test_crowd_in_a_tiny_cache(void **state)
{
    static struct crowd c;
    struct cache_obj *objs[ARRAY_SIZE(c.w)];

    (void)state;
    up(MIB);
    memset(&c, 0, sizeof(c));
    for (size_t i = 0; i < ARRAY_SIZE(c.w); i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%zu", i);
        fake_put_pattern(rig.fake, key, 3 * MIB);
        objs[i] = rig_get(&rig, key);
        c.w[i].wait.done = waited_done;
        assert_int_equal(cache_fill_start(objs[i], MIB, MIB, NULL, &c.w[i].wait), -EINPROGRESS);
    }
    rig_until(&rig, crowd_done, &c);
    for (size_t i = 0; i < ARRAY_SIZE(c.w); i++) {
        assert_int_equal(c.w[i].error, 0);
        assert_true(cache_obj_present(objs[i], MIB, MIB));
        cache_obj_unref(objs[i]);
    }
    /* and the next one gives the excess back */
    fake_put_pattern(rig.fake, "z", 100);
    struct cache_obj *obj = rig_get(&rig, "z");
    assert_int_equal(rig_fill(&rig, obj, 0, 100, NULL), 0);
    assert_true(used() <= MIB);
    assert_true(rig_disk_bytes(&rig) <= MIB);
    cache_obj_unref(obj);
    rig_down(&rig);
}

static void test_failed_fetch_gives_its_room_back(void **state)
{
    (void)state;
    up(16 * MIB);
    fake_put_pattern(rig.fake, "k", 8 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    uint64_t before = used();
    rig.fake->fail_op_mask = 1u << STORE_GET;
    rig.fake->fail_error = -EIO;
    rig.fake->step_bytes = 10000;
    rig.fake->fail_at_bytes = 10000; /* less than a block, but written */
    assert_int_equal(rig_fill(&rig, obj, 0, 8 * MIB, NULL), -EIO);
    assert_int_equal(used(), before);
    assert_true(rig_disk_bytes(&rig) <= before);
    cache_obj_unref(obj);
    rig_down(&rig);
}

/* The last block ends in the middle of a disk block, which goes as well. */
static void test_evicted_blocks_leave_nothing(void **state)
{
    (void)state;
    up(16 * MIB);
    struct fake_object *o = fake_put_pattern(rig.fake, "k", MIB + 5);
    struct cache_obj *obj = rig_get(&rig, "k");
    rig_read_check(&rig, obj, o, 0, o->size, NULL);
    cache_make_room(rig.cache, 1ULL << 60);
    assert_false(cache_obj_present(obj, MIB, 5));
    assert_int_equal(used(), rig_disk_bytes(&rig));
    cache_obj_unref(obj);
    rig_down(&rig);
}

static void test_make_room_for_others(void **state)
{
    (void)state;
    up(16 * MIB);
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 4 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    rig_read_check(&rig, obj, o, 0, 4 * MIB, NULL);
    cache_obj_unref(obj);
    cache_make_room(rig.cache, 1);
    assert_true(used() > 4 * MIB);
    cache_make_room(rig.cache, 1ULL << 60); /* more than there is: all of it goes */
    assert_int_equal(used(), 0);
    rig_down(&rig);
}

/* A cache on a disk of its own, of 6 MiB. Ends the test where that is not ours to mount. */
static void small_disk_up(char path[96])
{
    struct cache_config config;
    const char *why;

    up(64 * MIB);
    cache_free(rig.cache);
    snprintf(path, 96, "%s/small", rig.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    config = (struct cache_config){.dir = path, .size_bytes = 64 * MIB};
    bool mounted = mount("none", path, "tmpfs", 0, "size=6m,mode=700") == 0;
    if (!mounted)
        assert_int_not_equal(geteuid(), 0); /* root may mount: a test left out is no pass */
    const struct cache_config *use = mounted ? &config : &rig.config;
    assert_int_equal(cache_new(rig.loop, rig.pool, use, &rig.cache, &why), 0);
    if (!mounted) {
        rig_down(&rig);
        skip();
    }
}

static void small_disk_down(const char *path)
{
    const char *why;

    cache_free(rig.cache);
    assert_int_equal(umount(path), 0);
    assert_int_equal(cache_new(rig.loop, rig.pool, &rig.config, &rig.cache, &why), 0);
    rig_down(&rig);
}

/* Somebody else takes all of it, but for `leave` bytes. */
static int others_fill(const char *path, off_t leave)
{
    char fill[128];

    snprintf(fill, sizeof(fill), "%s/other", path);
    int fd = open(fill, O_RDWR | O_CREAT, 0600);
    for (uint64_t n = MIB; n >= 4096; n /= 2)
        while (fallocate(fd, 0, lseek(fd, 0, SEEK_END), (off_t)n) == 0)
            ;
    unlink(fill);
    assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - leave), 0);
    return fd;
}

/* An error for who waits, no crash (a mapped sidecar must not be the first to notice). */
static void test_full_disk(void **state)
{
    char path[96];

    (void)state;
    small_disk_up(path);
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 20 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    struct cache_history ra = {0};
    for (uint64_t at = 0; at < o->size; at += 512 * KIB) /* larger than the disk: evicts itself */
        rig_read_check(&rig, obj, o, at, 512 * KIB, &ra);
    rig_idle(&rig);
    int fd = others_fill(path, 0);
    for (uint64_t at = 0; at < o->size; at += MIB) {
        int r = rig_fill(&rig, obj, at, MIB, NULL);
        assert_true(r == 0 || r == -ENOSPC);
    }
    close(fd);
    rig_read_check(&rig, obj, o, 3 * MIB, MIB, NULL);
    cache_obj_unref(obj);
    small_disk_down(path);
}

/* Half of what is asked for is there, and nothing else to make room of for the other half. */
static void test_full_disk_half_of_it_is_here(void **state)
{
    char path[96];

    (void)state;
    small_disk_up(path);
    struct fake_object *o = fake_put_pattern(rig.fake, "k", 2 * MIB);
    struct cache_obj *obj = rig_get(&rig, "k");
    rig_read_check(&rig, obj, o, 0, MIB, NULL);
    int fd = others_fill(path, (off_t)(MIB + MIB / 2));
    int r = rig_fill(&rig, obj, 0, 2 * MIB, NULL);
    assert_true(r == 0 || r == -ENOSPC);
    close(fd);
    rig_read_check(&rig, obj, o, 0, 2 * MIB, NULL);
    cache_obj_unref(obj);
    small_disk_down(path);
}

struct reader {
    const struct fake_object *o;
    int data, side;
    _Atomic bool stop;
    uint64_t good, absent, changed, wrong;
};

/* What fused does, in another thread, as fast as it can. */
static void *reader_thread(void *arg)
{
    struct reader *rd = arg;
    struct sidecar_head *h =
        mmap(NULL, sidecar_client_bytes(rd->o->size), PROT_READ, MAP_SHARED, rd->side, 0);
    uint8_t *buf = malloc(BLOCK_BYTES);
    unsigned seed = 1;

    while (!rd->stop) {
        uint64_t block = (uint64_t)rand_r(&seed) % sidecar_blocks(rd->o->size);
        uint64_t seq = atomic_load(&h->seq);
        if (!sidecar_test(h, block)) {
            rd->absent++;
            continue;
        }
        ssize_t n = pread(rd->data, buf, BLOCK_BYTES, (off_t)(block * BLOCK_BYTES));
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load(&h->seq) != seq) {
            rd->changed++;
            continue;
        }
        uint64_t want = MIN(rd->o->size - block * BLOCK_BYTES, (uint64_t)BLOCK_BYTES);
        if ((uint64_t)n < want || memcmp(buf, rd->o->data + block * BLOCK_BYTES, want) != 0)
            rd->wrong++;
        else
            rd->good++;
    }
    munmap(h, sidecar_client_bytes(rd->o->size));
    free(buf);
    return NULL;
}

static void test_clients_never_see_wrong_bytes(void **state)
{
    struct reader rd = {0};
    pthread_t thread;

    (void)state;
    up(2 * MIB);
    rd.o = fake_put_pattern(rig.fake, "k", 6 * MIB + 1000);
    struct cache_obj *obj = rig_get(&rig, "k");
    cache_obj_fds(obj, &rd.data, &rd.side);
    assert_int_equal(pthread_create(&thread, NULL, reader_thread, &rd), 0);
    srandom(7);
    for (int i = 0; i < 600; i++) {
        uint64_t at = (uint64_t)random() % rd.o->size;
        assert_int_equal(rig_fill(&rig, obj, at, 1 + (uint64_t)random() % (400 * KIB), NULL), 0);
    }
    rd.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(rd.wrong, 0);
    assert_true(rd.good > 0);
    assert_true(rd.absent > 0);
    cache_obj_unref(obj);
    rig_down(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_versions_go_oldest_first),
        cmocka_unit_test(test_object_larger_than_the_cache),
        cmocka_unit_test(test_read_larger_than_the_cache),
        cmocka_unit_test(test_crowd_in_a_tiny_cache),
        cmocka_unit_test(test_failed_fetch_gives_its_room_back),
        cmocka_unit_test(test_evicted_blocks_leave_nothing),
        cmocka_unit_test(test_make_room_for_others),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_full_disk_half_of_it_is_here),
        cmocka_unit_test(test_clients_never_see_wrong_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
