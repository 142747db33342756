/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What hafizctl prints and how it reads the kernel's mount table. Finding and asking a backend is played
 * here; the real thing is tested through mounts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/hafizctl.h"

/* Stand-ins for hafizctl.c, whose main() is not linked. */
int ctl_next(struct ctl_places *places, unsigned *index, int *ret_fd)
{
    (void)places;
    (void)index;
    (void)ret_fd;
    return -ENOENT;
}
int ctl_fail_nobody(const struct ctl_places *places)
{
    (void)places;
    return CTL_FAILED;
}
int ctl_ask_status(int fd, json_object **ret_doc)
{
    (void)fd;
    (void)ret_doc;
    return -EIO;
}
int ctl_fail(const char *fmt, ...)
{
    (void)fmt;
    return CTL_FAILED;
}

static struct str text_of(const char *json)
{
    struct str out = STR_NULL;
    json_object *doc = json_tokener_parse(json);
    assert_non_null(doc);
    assert_int_equal(ctl_status_text(doc, &out), 0);
    json_object_put(doc);
    assert_non_null(out.s);
    return out;
}

static void expect_tame(const struct str *text, size_t width)
{
    size_t line = 0;
    for (const char *p = text->s; *p; p++) {
        line = *p == '\n' ? 0 : line + 1;
        assert_true(line <= width);
        assert_true(*p == '\n' || (unsigned char)*p >= 0x20);
        assert_true((unsigned char)*p != 0x7f);
    }
}

static const char full[] =
    "{\"version\":\"0.1.0\",\"pid\":4711,\"uid\":0,\"private\":true,\"uptime_s\":11520,"
    "\"socket\":\"/run/hafiz/s3proxyd.sock\",\"inodes\":52345,"
    "\"cache\":{\"dir\":\"/var/cache/hafiz\",\"size_bytes\":10737418240,\"used_bytes\":1288490188,"
    "\"objects\":12345,\"hits\":1234567,\"fills\":8921,\"fetched_bytes\":99999999999,"
    "\"evicted_bytes\":0,\"hedged\":1789},"
    "\"spool\":{\"dir\":\"/var/lib/hafiz\",\"size_bytes\":4294967296,\"used_bytes\":12582912,"
    "\"dirty_files\":3,\"orphans\":2},"
    "\"mounts\":[{\"source\":\"s3://bucket\",\"mountpoint\":\"/mnt/s3\",\"uid\":0,\"rw\":true,"
    "\"calls\":1234567,\"handles\":12,\"connected\":true}],"
    "\"stores\":[{\"endpoint\":\"https://s3.test\",\"bucket\":\"bucket\",\"requests\":123,"
    "\"errors\":1,\"retries\":2,\"throttled\":0,\"bytes_in\":123456,\"bytes_out\":9999}],"
    "\"problems\":[{\"path\":\"a/b\",\"error\":\"no space left\",\"since_s\":300,\"bytes\":1000}],"
    "\"pools\":{\"net_threads\":2,\"disk_threads\":3}}";

static void test_a_full_document_is_told_in_80_columns(void **state)
{
    static const char *const words[] = {
        "Backend 0.1.0, private to root, pid 4711, up 3 h 12 min", "1.2 GiB of 10.0 GiB (11 %)",
        "objects: 12,345", "1,234,567 answered", "12.0 MiB of at most 4.0 GiB", "/mnt/s3",
        "s3://bucket", "rw", "connected", "https://s3.test", "no space left", "5 min",
        "2 for transfers, 3 for disk work", "left over 2",
        "93.1 GiB fetched, 0 B made room", "ranges asked for again, as they came slowly: 1,789"};
    (void)state;
    struct str out = text_of(full);
    expect_tame(&out, CTL_WIDTH);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!strstr(out.s, words[i]))
            fail_msg("'%s' is missing in:\n%s", words[i], out.s);
    str_fini(&out);
}

static void test_columns_stand_under_their_titles(void **state)
{
    (void)state;
    struct str out = text_of(full);
    const char *title = strstr(out.s, "MOUNT POINT"), *row = strstr(out.s, "/mnt/s3");
    assert_true(title && row);
    const char *source_title = strstr(title, "SOURCE"), *source = strstr(row, "s3://bucket");
    assert_int_equal(source_title - title, source - row);
    str_fini(&out);
}

static void test_nothing_known_is_explained(void **state)
{
    static const char *const docs[] = {
        "{}",
        "{\"mounts\":7,\"cache\":[],\"spool\":\"x\",\"pools\":null,\"stores\":{},\"uid\":-1}",
        "{\"mounts\":[],\"stores\":[],\"problems\":[],\"uptime_s\":\"long\"}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(docs); i++) {
        struct str out = text_of(docs[i]);
        expect_tame(&out, CTL_WIDTH);
        assert_non_null(strstr(out.s, i < 2 ? "own user only" : "Nothing is mounted"));
        assert_non_null(strstr(out.s, i < 2 ? "own user only" : "No store is in use"));
        str_fini(&out);
    }
    struct str out = text_of("{\"mounts\":[1,null,{}]}"); /* rows that say nothing */
    expect_tame(&out, CTL_WIDTH);
    str_fini(&out);
}

static void test_long_paths_are_not_cut(void **state)
{
    char json[2048], path[600];
    (void)state;
    memset(path, 'p', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = 0;
    snprintf(json, sizeof(json), "{\"mounts\":[{\"mountpoint\":\"%s\",\"source\":\"s3://b\"}]}",
             path);
    struct str out = text_of(json);
    assert_non_null(strstr(out.s, path));
    assert_non_null(strstr(out.s, "source s3://b"));
    str_fini(&out);
}

static void test_foreign_text_cannot_drive_the_terminal(void **state)
{
    static const char hostile[] =
        "{\"version\":\"\\u001b]0;x\\u0007\",\"socket\":\"a\\nb\\u202ec\\u009b\",\"mounts\":[{"
        "\"mountpoint\":\"\\u007f\\u0000\\r\",\"source\":\"\xc3\xa9\"}]}";
    (void)state;
    struct str out = text_of(hostile);
    expect_tame(&out, CTL_WIDTH);
    assert_non_null(strstr(out.s, "\\x1b]0;x\\x07"));
    assert_non_null(strstr(out.s, "a\\x0ab\\xe2\\x80\\xaec\\xc2\\x9b"));
    assert_non_null(strstr(out.s, "\\x7f\\x00\\x0d"));
    assert_non_null(strstr(out.s, "\xc3\xa9")); /* letters stay letters */
    str_fini(&out);
    struct str raw = STR_NULL;
    assert_int_equal(ctl_add_clean(&raw, "\xff\xc3", 2), 0);
    assert_string_equal(raw.s, "\\xff\\xc3");
    str_fini(&raw);
}

static void expect_number(int (*add)(struct str *, uint64_t), uint64_t v, const char *want)
{
    struct str out = STR_NULL;
    assert_int_equal(add(&out, v), 0);
    assert_string_equal(out.s, want);
    str_fini(&out);
}

static void test_numbers_read_well(void **state)
{
    (void)state;
    expect_number(ctl_add_bytes, 0, "0 B");
    expect_number(ctl_add_bytes, 1023, "1023 B");
    expect_number(ctl_add_bytes, 1024, "1.0 KiB");
    expect_number(ctl_add_bytes, (1 << 20) - 1, "1.0 MiB");
    expect_number(ctl_add_bytes, UINT64_MAX, "16.0 EiB");
    expect_number(ctl_add_count, 999, "999");
    expect_number(ctl_add_count, 1000, "1,000");
    expect_number(ctl_add_count, UINT64_MAX, "18,446,744,073,709,551,615");
    expect_number(ctl_add_duration, 59, "59 s");
    expect_number(ctl_add_duration, 3599, "59 min");
    expect_number(ctl_add_duration, 3600, "1 h 0 min");
    expect_number(ctl_add_duration, 90000, "1 d 1 h");
}

static void expect_line(const struct ctl_progress *p, unsigned width, const char *want)
{
    struct str line = STR_NULL;
    assert_int_equal(ctl_progress_line(p, width, true, false, &line), 0);
    assert_string_equal(line.s ? line.s : "", want);
    str_fini(&line);
}

static void test_progress_tells_what_there_is_room_for(void **state)
{
    (void)state;
    struct ctl_progress p = {.bytes = 20u << 20,
                             .total_bytes = 80u << 20,
                             .objects = 5,
                             .total_objects = 1020,
                             .rate = 2 << 20,
                             .total_known = true};
    expect_line(&p, 79, "[##>........]  25%  20.0 MiB of 80.0 MiB  5/1,020 objects  2.0 MiB/s  "
                        "0:30 left");
    expect_line(&p, 60, "[##>......]  25%  20.0 MiB of 80.0 MiB  2.0 MiB/s  0:30 left");
    expect_line(&p, 48, " 25%  20.0 MiB of 80.0 MiB  2.0 MiB/s  0:30 left");
    expect_line(&p, 47, " 25%  20.0 MiB of 80.0 MiB  0:30 left");
    expect_line(&p, 36, " 25%  0:30 left");
    expect_line(&p, 10, " 25%");
    expect_line(&p, 3, "");
    for (unsigned width = 0; width < 200; width++) {
        struct str line = STR_NULL;
        assert_int_equal(ctl_progress_line(&p, width, true, false, &line), 0);
        assert_true(line.len <= width);
        str_fini(&line);
    }
    p.total_known = false;
    expect_line(&p, 79, "counting  20.0 MiB of 80.0 MiB+  5/1,020+ objects  2.0 MiB/s");
    p = (struct ctl_progress){.total_known = true}; /* nothing at all */
    expect_line(&p, 40, "[########] 100%  0 B of 0 B  0/0 objects");
}

static void test_a_mount_table_line_is_read(void **state)
{
    char line[] = "36 35 0:45 /sub /mnt/with\\040space\\134 rw,nosuid shared:1 master:2 - "
                  "fuse.hafiz s3://b rw,user_id=0\n";
    struct ctl_mount m = {0};
    (void)state;
    assert_int_equal(ctl_mount_parse(line, &m), 0);
    assert_string_equal(m.root, "/sub");
    assert_string_equal(m.mountpoint, "/mnt/with space\\");
    assert_string_equal(m.fstype, "fuse.hafiz");
    assert_int_equal(m.major, 0);
    assert_int_equal(m.minor, 45);
    ctl_mount_fini(&m);
    static const char *const bad[] = {"", "36 35 0:45 /", "36 35 0:45 / /mnt rw shared:1",
                                      "36 35 045 / /mnt rw - ext4 x rw",
                                      "36 35 a:b / /mnt rw - ext4 x rw", "36 35 0:45 / /mnt rw -"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *copy = strdup(bad[i]);
        assert_non_null(copy);
        assert_int_equal(ctl_mount_parse(copy, &m), -EINVAL);
        free(copy);
    }
}

static void test_a_path_lies_below_whole_components(void **state)
{
    (void)state;
    assert_true(ctl_path_below("/mnt/a", "/mnt/a"));
    assert_true(ctl_path_below("/mnt/a/b", "/mnt/a"));
    assert_true(ctl_path_below("/mnt", "/"));
    assert_true(ctl_path_below("/", "/"));
    assert_false(ctl_path_below("/mnt/ab", "/mnt/a"));
    assert_false(ctl_path_below("/mnt", "/mnt/a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_document_is_told_in_80_columns),
        cmocka_unit_test(test_columns_stand_under_their_titles),
        cmocka_unit_test(test_nothing_known_is_explained),
        cmocka_unit_test(test_long_paths_are_not_cut),
        cmocka_unit_test(test_foreign_text_cannot_drive_the_terminal),
        cmocka_unit_test(test_numbers_read_well),
        cmocka_unit_test(test_progress_tells_what_there_is_room_for),
        cmocka_unit_test(test_a_mount_table_line_is_read),
        cmocka_unit_test(test_a_path_lies_below_whole_components),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
