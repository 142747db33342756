/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Which lines of the table of mounts say that a directory lies on a mount of hafiz. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "s3proxyd/file/file-mount.h"

#define LINE(point, type)                                                             \
    "65 29 0:49 / " point " rw,nosuid,nodev,relatime shared:34 - " type " file:///d " \
                                                                        "rw,user_id=0\n"

static void test_paths_on_our_mounts(void **state)
{
    (void)state;
    assert_true(file_mount_line(LINE("/data", "fuse.hafiz"), "/data"));
    assert_true(file_mount_line(LINE("/data", "fuse.hafiz"), "/data/"));
    assert_true(file_mount_line(LINE("/data", "fuse.hafiz"), "/data/a/b"));
    assert_true(file_mount_line(LINE("/with\\040blank", "fuse.hafiz"), "/with blank/x"));
    assert_true(file_mount_line(LINE("/", "fuse.hafiz"), "/anything"));
    assert_true(file_mount_line("65 29 0:49 / /d rw - fuse.hafiz x rw\n", "/d"));
}

static void test_other_paths_and_mounts(void **state)
{
    (void)state;
    assert_false(file_mount_line(LINE("/data", "fuse.hafiz"), "/data2"));
    assert_false(file_mount_line(LINE("/data", "fuse.hafiz"), "/dat"));
    assert_false(file_mount_line(LINE("/data", "fuse.hafiz"), "/"));
    assert_false(file_mount_line(LINE("/data", "fuse.hafiz2"), "/data"));
    assert_false(file_mount_line(LINE("/data", "ext4"), "/data"));
    assert_false(file_mount_line(LINE("/with\\040blank", "fuse.hafiz"), "/with"));
    assert_false(file_mount_line("- fuse.hafiz x\n", "/data"));
    assert_false(file_mount_line("", "/data"));
    assert_false(file_mount_is_ours("/proc/self"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_on_our_mounts),
        cmocka_unit_test(test_other_paths_and_mounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
