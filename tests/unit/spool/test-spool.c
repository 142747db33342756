/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What a spool promises between commits: every read sees spool, base or zeros as it should, nothing
 * is accepted that there is no room for, and nothing unsaved is thrown away. */
#include "tests/unit/spool/spool-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t buf[2 * MIB], zeros[2 * MIB];

static struct spool *fresh(struct spool_rig *sr)
{
    struct spool *s;

    assert_int_equal(spool_new(sr->dir, "dir/a key", NULL, 0, &s), 0);
    return s;
}

static void test_gaps_read_as_zeros(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = fresh(sr);
    size_t got;

    assert_true(spool_dirty(s));
    assert_int_equal(do_read(sr, s, 0, buf, 10, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(do_write(sr, s, 100000, "hello", 5), 0);
    assert_int_equal(spool_size(s), 100005);
    memset(buf, 7, sizeof(buf));
    assert_int_equal(do_read(sr, s, 99990, buf, 4096, &got), 0);
    assert_int_equal(got, 15);
    assert_memory_equal(buf, "\0\0\0\0\0\0\0\0\0\0hello", 15);
    assert_int_equal(do_read(sr, s, 0, buf, 1000, &got), 0);
    assert_int_equal(got, 1000);
    assert_memory_equal(buf, zeros, 1000);
    assert_int_equal(do_write(sr, s, 5, "", 0), 0);
    assert_int_equal(do_write(sr, s, INT64_MAX, "x", 1), -EFBIG);
    spool_free(s);
}

static void test_base_shows_through(void **state)
{
    struct spool_rig *sr = *state;
    struct fake_object *o;
    struct spool *s = spool_on_base(sr, MIB + 77, &o);
    size_t got;

    assert_false(spool_dirty(s));
    assert_int_equal(do_write(sr, s, 300000, "hello", 5), 0);
    assert_int_equal(do_write(sr, s, 400000, "world", 5), 0);
    assert_true(spool_dirty(s));
    assert_int_equal(do_read(sr, s, 299990, buf, 200000, &got), 0);
    assert_int_equal(got, 200000);
    assert_memory_equal(buf, o->data + 299990, 10);
    assert_memory_equal(buf + 10, "hello", 5);
    assert_memory_equal(buf + 15, o->data + 300005, 99995);
    assert_memory_equal(buf + 100010, "world", 5);
    assert_int_equal(do_read(sr, s, MIB, buf, 4096, &got), 0);
    assert_int_equal(got, 77);
    assert_memory_equal(buf, o->data + MIB, 77);
    spool_free(s);
}

static void test_cut_off_bytes_never_come_back(void **state)
{
    struct spool_rig *sr = *state;
    struct fake_object *o;
    struct spool *s = spool_on_base(sr, MIB, &o);
    size_t got;

    assert_int_equal(do_write(sr, s, 900000, "hello", 5), 0);
    assert_int_equal(do_truncate(sr, s, 1000), 0);
    assert_int_equal(do_truncate(sr, s, MIB), 0);
    assert_int_equal(do_read(sr, s, 0, buf, MIB, &got), 0);
    assert_int_equal(got, MIB);
    assert_memory_equal(buf, o->data, 1000);
    assert_memory_equal(buf + 1000, zeros, MIB - 1000);
    assert_int_equal(do_commit(sr, s, "k"), 0);
    o = fake_find(sr->rig.fake, "k");
    assert_int_equal(o->size, MIB);
    assert_memory_equal(o->data, buf, MIB);
    spool_free(s);
}

/* A cold read waits for the store; writes and truncates do not wait for it. */
static void test_cold_read_holds_nothing_up(void **state)
{
    struct spool_rig *sr = *state;
    struct fake_object *o;
    struct spool *s = spool_on_base(sr, MIB, &o);
    struct io rd = {.io = {.offset = 0, .size = MIB, .buf = buf, .done = io_done}};

    sr->rig.fake->hold = true;
    int r = spool_read_start(s, &rd.io);
    assert_int_equal(r, -EINPROGRESS);
    assert_int_equal(do_write(sr, s, 10, "hello", 5), 0);
    assert_int_equal(do_truncate(sr, s, 500000), 0);
    assert_false(rd.done);
    fake_release(sr->rig.fake);
    assert_int_equal(io_wait(sr, &rd, r), 0);
    assert_int_equal(rd.io.got, 500000); /* as if it had come after them */
    assert_memory_equal(buf, o->data, 10);
    assert_memory_equal(buf + 10, "hello", 5);
    assert_memory_equal(buf + 15, o->data + 15, 499985);
    spool_free(s);
}

static void test_failing_base_fails_only_what_needs_it(void **state)
{
    struct spool_rig *sr = *state;
    struct fake_object *o;
    struct spool *s = spool_on_base(sr, MIB, &o);
    size_t got;

    assert_int_equal(do_write(sr, s, 0, o->data, 4096), 0);
    fake_put_pattern(sr->rig.fake, "k", MIB); /* replaced by somebody */
    assert_int_equal(do_read(sr, s, 0, buf, 4096, &got), 0);
    assert_int_equal(do_read(sr, s, 4096, buf, 1, &got), -ESTALE);
    assert_int_equal(do_commit(sr, s, "k"), -ESTALE);
    assert_true(spool_dirty(s));
    assert_int_equal(do_read(sr, s, 0, buf, 4096, &got), 0);
    spool_free(s);
}

static struct spool_dir *small_dir(struct spool_rig *sr, const char *path, uint64_t bytes)
{
    struct spool_dir *dir;

    assert_int_equal(spool_dir_new(sr->rig.loop, sr->rig.pool, sr->rig.cache, path, bytes, &dir),
                     0);
    return dir;
}

static void test_full_spool_refuses_before_accepting(void **state)
{
    struct spool_rig *sr = *state;
    char path[96];
    struct fake_object *o;
    struct spool *s, *t;
    size_t got;

    snprintf(path, sizeof(path), "%s/small", sr->rig.dir);
    struct spool_dir *dir = small_dir(sr, path, 2 * MIB), *was = sr->dir;
    sr->dir = dir;
    s = fresh(sr);
    assert_int_equal(do_write(sr, s, 0, zeros, MIB), 0);
    assert_int_equal(spool_dir_used_bytes(dir), MIB);
    assert_int_equal(do_write(sr, s, MIB, zeros, MIB + 1), -ENOSPC);
    assert_int_equal(spool_size(s), MIB);
    assert_int_equal(do_write(sr, s, 0, "hello", 5), 0); /* room is reserved, then given back */
    assert_int_equal(spool_dir_used_bytes(dir), MIB);
    /* one byte of a base too large for a commit: refused now, not at close */
    t = spool_on_base(sr, MIB + 1, &o);
    assert_int_equal(do_write(sr, t, 0, "x", 1), -ENOSPC);
    assert_false(spool_dirty(t));
    assert_int_equal(do_truncate(sr, t, 1000), 0); /* this much fits */
    assert_int_equal(do_write(sr, t, 0, "x", 1), 0);
    assert_int_equal(do_read(sr, t, 0, buf, 4096, &got), 0);
    assert_int_equal(got, 1000);
    assert_memory_equal(buf + 1, o->data + 1, 999);
    spool_free(t);
    spool_free(s);
    assert_int_equal(spool_dir_used_bytes(dir), 0);
    spool_dir_free(dir);
    sr->dir = was;
}

static void test_full_disk_loses_nothing(void **state)
{
    struct spool_rig *sr = *state;
    char path[96];
    uint64_t size = 0;
    size_t got;
    int r;

    snprintf(path, sizeof(path), "%s/disk", sr->rig.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    if (mount("none", path, "tmpfs", 0, "size=5m,mode=700") < 0) {
        assert_int_not_equal(geteuid(), 0); /* root may mount: a test left out is no pass */
        skip();
    }
    struct spool_dir *dir = small_dir(sr, path, 256 * MIB), *was = sr->dir;
    sr->dir = dir;
    struct spool *s = fresh(sr);
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (uint8_t)(i * 7 | 1);
    while ((r = do_write(sr, s, size, buf, 300000)) == 0)
        size += 300000;
    assert_int_equal(r, -ENOSPC);
    assert_true(size >= 3 * MIB);
    assert_int_equal(spool_size(s), size);
    /* the disk fills up behind the reservation's back */
    char other[128];
    snprintf(other, sizeof(other), "%s/other", path);
    int fd = open(other, O_RDWR | O_CREAT, 0600);
    for (uint64_t n = MIB; n >= 4096; n /= 2)
        while (fallocate(fd, 0, lseek(fd, 0, SEEK_END), (off_t)n) == 0)
            ;
    assert_int_equal(do_write(sr, s, size, buf, 300000), -ENOSPC);
    uint8_t *back = malloc(300000);
    for (uint64_t at = 0; at < size; at += 300000) {
        assert_int_equal(do_read(sr, s, at, back, 300000, &got), 0);
        assert_memory_equal(back, buf, 300000);
    }
    assert_int_equal(do_commit(sr, s, "k"), 0);
    assert_int_equal(fake_find(sr->rig.fake, "k")->size, size);
    unlink(other);
    close(fd);
    assert_int_equal(do_write(sr, s, 0, buf, 1000), 0);
    free(back);
    spool_free(s);
    spool_dir_free(dir);
    sr->dir = was;
    assert_int_equal(umount(path), 0);
}

/* A write that fails half way leaves bytes in the file that nobody may ever see. */
static void test_half_a_write_is_no_write(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *s = fresh(sr);
    struct rlimit old, limit;
    size_t got;

    memset(buf, 'x', sizeof(buf));
    assert_int_equal(do_write(sr, s, 0, buf, 1000), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){MIB, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    uint64_t generation = spool_generation(s);
    assert_int_equal(do_write(sr, s, 500000, buf, MIB), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(spool_size(s), 1000);
    assert_int_equal(spool_generation(s), generation);
    assert_int_equal(do_write(sr, s, 2 * MIB, "y", 1), 0);
    assert_int_equal(do_read(sr, s, 1000, buf, MIB, &got), 0);
    assert_memory_equal(buf, zeros, MIB);
    assert_int_equal(do_commit(sr, s, "k"), 0);
    struct fake_object *o = fake_find(sr->rig.fake, "k");
    assert_int_equal(o->size, 2 * MIB + 1);
    assert_memory_equal(o->data + 1000, zeros, 2 * MIB - 1000);
    spool_free(s);
}

static unsigned count_files(const char *path)
{
    char command[160], line[32] = "";

    snprintf(command, sizeof(command), "find %s -type f -size +0 | wc -l", path);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    pclose(f);
    return (unsigned)strtoul(line, NULL, 10);
}

static void test_only_unsaved_data_outlives_a_crash(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *dirty = fresh(sr), *clean = fresh(sr), *again = fresh(sr);
    char copy[128], command[256];

    assert_int_equal(do_write(sr, dirty, 0, "unsaved", 7), 0);
    assert_int_equal(do_write(sr, clean, 0, "saved", 5), 0);
    assert_int_equal(do_commit(sr, clean, "c"), 0);
    assert_int_equal(do_write(sr, again, 0, "saved", 5), 0);
    assert_int_equal(do_commit(sr, again, "a"), 0);
    assert_int_equal(do_write(sr, again, 0, "later", 5), 0);
    /* what a kill would leave behind */
    snprintf(copy, sizeof(copy), "%s/crashed", sr->rig.dir);
    snprintf(command, sizeof(command), "cp -a %s %s", sr->path, copy);
    assert_int_equal(system(command), 0);
    struct spool_dir *next = small_dir(sr, copy, MIB);
    assert_int_equal(spool_dir_orphans(next), 2);
    assert_int_equal(count_files(copy), 2);
    spool_dir_free(next);
    next = small_dir(sr, copy, MIB);
    assert_int_equal(spool_dir_orphans(next), 2);
    spool_dir_free(next);
    spool_free(dirty);
    spool_free(clean);
    spool_free(again);
}

static void test_set_aside_keeps_what_is_unsaved(void **state)
{
    struct spool_rig *sr = *state;
    struct spool *dirty = fresh(sr), *clean = fresh(sr);

    assert_int_equal(do_write(sr, dirty, 0, "unsaved", 7), 0);
    assert_int_equal(do_write(sr, clean, 0, "saved", 5), 0);
    assert_int_equal(do_commit(sr, clean, "c"), 0);
    spool_set_aside(dirty);
    spool_set_aside(clean);
    assert_int_equal(spool_dir_orphans(sr->dir), 1);
    assert_int_equal(count_files(sr->path), 1);
}

static void test_one_backend_per_directory(void **state)
{
    struct spool_rig *sr = *state;
    struct spool_dir *second;

    assert_int_equal(
        spool_dir_new(sr->rig.loop, sr->rig.pool, sr->rig.cache, sr->path, MIB, &second), -EBUSY);
}

static void test_free_with_operations_in_flight(void **state)
{
    struct spool_rig *sr = *state;
    struct fake_object *o;
    struct spool *s = spool_on_base(sr, MIB, &o);
    struct io rd = {.io = {.size = MIB, .buf = buf, .done = io_done}};
    struct io wr = {.io = {.size = 1000, .buf = zeros, .done = io_done}};

    assert_int_equal(spool_read_start(s, &rd.io), -EINPROGRESS);
    assert_int_equal(spool_write_start(s, &wr.io), -EINPROGRESS);
    assert_false(wr.done);
    spool_free(s);
    assert_int_equal(io_wait(sr, &wr, -EINPROGRESS), 0);
    assert_int_equal(io_wait(sr, &rd, -EINPROGRESS), 0);
    assert_int_equal(count_files(sr->path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, spool_rig_up, spool_rig_down)
        T(test_gaps_read_as_zeros),
        T(test_base_shows_through),
        T(test_cut_off_bytes_never_come_back),
        T(test_cold_read_holds_nothing_up),
        T(test_failing_base_fails_only_what_needs_it),
        T(test_full_spool_refuses_before_accepting),
        T(test_full_disk_loses_nothing),
        T(test_half_a_write_is_no_write),
        T(test_only_unsaved_data_outlives_a_crash),
        T(test_set_aside_keeps_what_is_unsaved),
        T(test_one_backend_per_directory),
        T(test_free_with_operations_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
