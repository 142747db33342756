/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Listings: order, pages, prefixes, and what is not shown. */
#include "tests/unit/file/rig.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/str.h"

static void expect_list(struct rig *rig, const char *prefix, bool recursive, const char *keys)
{
    static const unsigned pages[] = {0, 1, 2, 3};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        char *got = rig_list(rig, prefix, recursive, pages[i]);

        assert_string_equal(got, keys);
        free(got);
    }
}

static void put_all(struct rig *rig, const char *const *keys)
{
    for (; *keys; keys++)
        assert_int_equal(rig_put(rig, *keys, ""), 0);
}

static void test_empty_store_lists_nothing(void **state)
{
    struct rig *rig = *state;

    expect_list(rig, "", false, "");
    expect_list(rig, "", true, "");
    expect_list(rig, "no/such/", true, "");
    expect_list(rig, NULL, true, "");
    expect_list(rig, "a//b", true, "");
    expect_list(rig, ".hafiz/", true, "");
    expect_list(rig, "../", true, "");
}

static void test_order_is_that_of_whole_keys(void **state)
{
    static const char *const keys[] = {"a/b", "a-x",   "a0",    "a/",    "a.b", "\xc3\xa9",
                                       "z",   "a/b-c", "b/x/y", "b/x.y", "B",   NULL};
    struct rig *rig = *state;

    put_all(rig, keys);
    expect_list(rig, "", false, "B\na-x\na.b\na/*\na0\nb/*\nz\n\xc3\xa9\n");
    expect_list(rig, "", true, "B\na-x\na.b\na/\na/b\na/b-c\na0\nb/x.y\nb/x/y\nz\n\xc3\xa9\n");
}

static void test_prefixes(void **state)
{
    static const char *const keys[] = {"dir/", "dir/one",  "dir/other/deep",
                                       "dirt", "dir/on/x", NULL};
    struct rig *rig = *state;

    put_all(rig, keys);
    expect_list(rig, "dir", false, "dir/*\ndirt\n");
    expect_list(rig, "dir/", false, "dir/\ndir/on/*\ndir/one\ndir/other/*\n");
    expect_list(rig, "dir/o", false, "dir/on/*\ndir/one\ndir/other/*\n");
    expect_list(rig, "dir/on", true, "dir/on/x\ndir/one\n");
    expect_list(rig, "dir/other", true, "dir/other/deep\n");
    expect_list(rig, "dir/other/", true, "dir/other/deep\n");
    expect_list(rig, "dir/one/", true, "");
    expect_list(rig, "x", true, "");
}

static void test_start_after_drops_smaller_prefixes(void **state)
{
    static const char *const keys[] = {"a", "b/1", "b/2", "c", NULL};
    struct rig *rig = *state;
    struct store_req req = {.op = STORE_LIST, .key = ""};

    put_all(rig, keys);
    req.list.start_after = "b/1";
    assert_int_equal(rig_run(rig, &req), 0);
    assert_int_equal(req.nentries, 1);
    assert_string_equal(req.entries[0].key, "c");
    store_req_fini(&req);
    req = (struct store_req){.op = STORE_LIST, .key = ""};
    req.list.start_after = "b/1";
    req.list.recursive = true;
    assert_int_equal(rig_run(rig, &req), 0);
    assert_int_equal(req.nentries, 2);
    assert_string_equal(req.entries[0].key, "b/2");
    store_req_fini(&req);
}

static void test_links_and_odd_names_are_hidden(void **state)
{
    struct rig *rig = *state;
    char path[512];

    rig_write_file(rig, "plain", "");
    rig_write_file(rig, "not\xff utf8", "");
    rig_mkdir(rig, "dir\xfe");
    rig_path(rig, "link", path, sizeof(path));
    assert_int_equal(symlink("plain", path), 0);
    rig_path(rig, "pipe", path, sizeof(path));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(rig_put(rig, ".hidden", ""), 0);
    assert_int_equal(file_store_hidden(rig->store), 0);
    expect_list(rig, "", true, ".hidden\nplain\n");
    assert_true(file_store_hidden(rig->store) >= 4);
}

static void test_implicit_directories_live_by_their_keys(void **state)
{
    struct rig *rig = *state;
    char path[512];

    assert_int_equal(rig_put(rig, "i/j/k", ""), 0);
    expect_list(rig, "", false, "i/*\n");
    expect_list(rig, "i/", false, "i/j/*\n");
    rig_path(rig, "i/j/k", path, sizeof(path));
    assert_int_equal(unlink(path), 0); /* by another program: the directories stay, without keys */
    expect_list(rig, "", false, "");
    expect_list(rig, "", true, "");
    rig_mkdir(rig, "i/m"); /* somebody's directory is a marker */
    expect_list(rig, "", false, "i/*\n");
    expect_list(rig, "", true, "i/m/\n");
}

static void test_entries_carry_what_head_says(void **state)
{
    struct rig *rig = *state;
    struct store_req list = {.op = STORE_LIST, .key = "d/"};
    struct store_req head = {.op = STORE_HEAD, .key = "d/f"};

    assert_int_equal(rig_put(rig, "d/f", "12345"), 0);
    assert_int_equal(rig_run(rig, &list), 0);
    assert_int_equal(rig_run(rig, &head), 0);
    assert_int_equal(list.nentries, 1);
    assert_int_equal(list.entries[0].size, 5);
    assert_string_equal(list.entries[0].etag, head.meta.etag);
    assert_true(list.entries[0].mtime_ns == head.meta.mtime_ns);
    assert_true(head.meta.date_ns >= head.meta.mtime_ns);
    store_req_fini(&list);
    store_req_fini(&head);
}

#define MANY 2500

static void test_many_keys_in_default_pages(void **state)
{
    struct rig *rig = *state;
    struct store_req req = {.op = STORE_LIST, .key = "m/"};
    struct str all = STR_NULL;
    char name[32], *got;

    rig_mkdir(rig, "m");
    assert_int_equal(str_add(&all, "m/\n"), 0);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "m/%05d", i);
        rig_write_file(rig, name, "");
        assert_int_equal(str_addf(&all, "%s\n", name), 0);
    }
    assert_int_equal(rig_run(rig, &req), 0);
    assert_int_equal(req.nentries, 1000);
    assert_non_null(req.next_token);
    store_req_fini(&req);
    for (unsigned page = 23; page < 1000; page += 300) {
        for (int recursive = 0; recursive < 2; recursive++) {
            got = rig_list(rig, "m/", recursive, page);
            assert_string_equal(got, all.s);
            free(got);
        }
    }
    str_fini(&all);
}

static size_t page_of(struct rig *rig, const char *token, char *first, char **ret_token)
{
    struct store_req req = {
        .op = STORE_LIST, .key = "m/", .list.max_keys = 200, .list.token = token};
    size_t n;

    assert_int_equal(rig_run(rig, &req), 0);
    n = req.nentries;
    (void)snprintf(first, 64, "%s", n ? req.entries[0].key : "");
    *ret_token = req.next_token ? strdup(req.next_token) : NULL;
    store_req_fini(&req);
    return n;
}

static void test_changes_between_pages_are_seen(void **state)
{
    struct rig *rig = *state;
    char name[64], first[64], *one, *two, *three;

    for (int i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof(name), "m/%05d", i);
        assert_int_equal(rig_put(rig, name, ""), 0);
    }
    assert_int_equal(page_of(rig, NULL, first, &one), 200);
    assert_int_equal(rig_put(rig, "m/00199-new", ""), 0);
    assert_int_equal(rig_delete(rig, "m/00300"), 0);
    assert_int_equal(page_of(rig, one, first, &two), 200);
    assert_string_equal(first, "m/00199-new");
    assert_int_equal(page_of(rig, two, first, &three), 100);
    assert_string_equal(first, "m/00400");
    assert_null(three);
    assert_int_equal(page_of(rig, one, first, &three), 200); /* a page may be asked for again */
    assert_string_equal(three, two);
    free(one);
    free(two);
    free(three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty_store_lists_nothing, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_order_is_that_of_whole_keys, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_prefixes, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_start_after_drops_smaller_prefixes, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_links_and_odd_names_are_hidden, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_implicit_directories_live_by_their_keys, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_entries_carry_what_head_says, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_many_keys_in_default_pages, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_changes_between_pages_are_seen, rig_setup,
                                        rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
