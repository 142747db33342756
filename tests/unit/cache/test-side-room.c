/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Sidecars of very large objects: they take what their blocks need, give it back, and lose no bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/must.h"
#include "s3proxyd/cache/side.h"

#define KIB 1024ull
#define TIB (1ull << 40)
#define STRETCH_BLOCKS (SIDE_STRETCH_WORDS * 64ull)

static char dir[] = "/tmp/side-room-XXXXXX";
static int dir_fd;
static struct side_boot boot;

static int setup(void **state)
{
    (void)state;
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(dir));
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_true(dir_fd >= 0);
    assert_int_equal(side_boot_now(&boot), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlinkat(dir_fd, "s", 0);
    close(dir_fd);
    rmdir(dir);
    return 0;
}

static uint64_t on_disk(const struct side *side)
{
    struct stat st;
    assert_int_equal(fstat(side->fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void set(struct side *side, uint64_t first, uint64_t end)
{
    uint32_t crcs[64] = {0};
    uint64_t before = side_own_charge(side), lacks = side_lacks(side, first, end);
    assert_int_equal(side_make(side, first, end), 0);
    assert_int_equal(side_own_charge(side), before + lacks);
    assert_int_equal(side_lacks(side, first, end), 0);
    side_set(side, first, end, crcs);
}

static void hide(struct side *side, uint64_t block)
{
    side_clear(side, block / 64, 1ull << (block % 64));
}

/* Every word that is skipped is empty, and all held blocks are found. */
static uint64_t count(const struct side *side)
{
    uint64_t words = sidecar_bitmap_bytes(side->object_size) / 8, n = 0;
    for (uint64_t w = 0; w < words; w++) {
        w += side_absent_words(side, w);
        assert_true(w <= words);
        if (w < words)
            n += (uint64_t)__builtin_popcountll(side_held_word(side, w));
    }
    return n;
}

static void test_small_ones_are_whole(void **state)
{
    (void)state;
    struct side side;
    assert_int_equal(side_create(dir_fd, "s", 100 * KIB * KIB, &boot, false, &side), 0);
    assert_null(side.made);
    assert_int_equal(side_lacks(&side, 0, side.blocks), 0);
    assert_int_equal(side_own_charge(&side), side_file_charge(side.object_size));
    assert_int_equal(side_new_charge(side.object_size), side_file_charge(side.object_size));
    side_fini(&side);
}

/* Also where bitmaps and checksums do not begin at a page. */
static const uint64_t sizes[] = {5 * TIB, 5 * TIB - 1, 3 * TIB + 12345678901, 9ull << 30};

static void test_large_ones_take_what_they_need(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct side side;
        assert_int_equal(side_create(dir_fd, "s", sizes[i], &boot, false, &side), 0);
        assert_int_equal(side_own_charge(&side), side_new_charge(sizes[i]));
        assert_true(on_disk(&side) <= 8 * KIB);
        srandom(i);
        for (unsigned n = 0; n < 300; n++) {
            uint64_t first = (uint64_t)random() % (side.blocks - 64);
            set(&side, first, first + 1 + (uint64_t)random() % 64);
            assert_true(side_all_present(&side, first, first + 1));
        }
        set(&side, side.blocks - 1, side.blocks);
        uint64_t held = count(&side);
        assert_true(held >= 300);
        assert_true(side_own_charge(&side) <= 301 * 6 * 4 * KIB);
        assert_true(on_disk(&side) <= side_own_charge(&side) + 64 * KIB);
        assert_true(side_held_charge(&side) > (held - 1) * 16 * KIB);
        side_fini(&side);
        assert_int_equal(side_open(dir_fd, "s", sizes[i], &boot, &side), 0);
        assert_int_equal(count(&side), held);
        assert_true(side_own_charge(&side) + 64 * KIB >= on_disk(&side));
        side_fini(&side);
    }
}

static void test_what_is_empty_goes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct side side;
        assert_int_equal(side_create(dir_fd, "s", sizes[i], &boot, false, &side), 0);
        uint64_t keep = side.blocks - 1, edge = MIN(STRETCH_BLOCKS, keep - 1);
        set(&side, keep, keep + 1);
        uint64_t alone = side_own_charge(&side);
        for (uint64_t b = 0; b < edge; b += 4000)
            set(&side, b, b + 1);
        uint64_t full = side_own_charge(&side);
        for (uint64_t b = 0; b < edge; b += 4000)
            hide(&side, b);
        uint64_t freed = side_trim(&side, 0, edge);
        assert_int_equal(side_own_charge(&side), full - freed);
        assert_true(side_own_charge(&side) <= alone + 6 * 4 * KIB); /* pages shared with others */
        assert_true(on_disk(&side) <= side_own_charge(&side) + 64 * KIB);
        assert_int_equal(count(&side), 1);
        assert_true(side_all_present(&side, keep, keep + 1));
        set(&side, 0, 1); /* and comes again */
        assert_int_equal(count(&side), 2);
        side_fini(&side);
    }
}

static void test_another_boot_hides_all_and_keeps_all(void **state)
{
    (void)state;
    struct side_boot other = {{1, 2}};
    struct side side;
    assert_int_equal(side_create(dir_fd, "s", 5 * TIB, &boot, false, &side), 0);
    set(&side, 7, 9);
    set(&side, side.blocks - 1, side.blocks);
    side_fini(&side);
    assert_int_equal(side_open(dir_fd, "s", 5 * TIB, &other, &side), 0);
    assert_int_equal(count(&side), 3);
    assert_false(side_all_present(&side, 7, 8));
    assert_true(side_stored(&side, 7) && side_stored(&side, side.blocks - 1));
    assert_true(on_disk(&side) < 200 * KIB);
    side_fini(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_ones_are_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_ones_take_what_they_need, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_empty_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_boot_hides_all_and_keeps_all, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
