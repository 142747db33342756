/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* meta.db with real files: listings come back as they were, and garbage never does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/db/db-int.h"
#include "tests/unit/db/fixture.h"

static struct db_listing_entry entries[] = {
    {.name = "file", .size = UINT64_MAX, .mtime_ns = -1, .etag = "\"e\""},
    {.name = "dir", .is_dir = true},
    {.name = "\xff\x01'", .size = 1, .mtime_ns = INT64_MAX, .etag = ""},
};
static struct db_listing sample = {
    .fetched_ns = 1700000000123456789, .marker = true, .entries = entries, .nentries = 3};

static void expect_sample(const struct db_read *read, void *arg)
{
    (void)arg;
    assert_int_equal(read->error, 0);
    assert_non_null(read->listing);
    assert_int_equal(read->listing->fetched_ns, sample.fetched_ns);
    assert_true(read->listing->marker);
    assert_int_equal(read->listing->nentries, sample.nentries);
    for (size_t i = 0; i < sample.nentries; i++) {
        const struct db_listing_entry *got = &read->listing->entries[i], *want = &entries[i];
        assert_string_equal(got->name, want->name);
        assert_int_equal(got->is_dir, want->is_dir);
        assert_int_equal(got->size, want->size);
        assert_int_equal(got->mtime_ns, want->mtime_ns);
        assert_string_equal(got->etag, want->etag ? want->etag : "");
    }
}

static int read_listing(struct fixture *f, uint64_t bucket, const char *prefix)
{
    struct db_read read = {.kind = DB_READ_LISTING, .bucket = bucket, .name = prefix};
    return fixture_read(f, &read, NULL, NULL);
}

static void test_a_listing_comes_back_also_after_a_clean_restart(void **state)
{
    struct fixture *f = *state;
    struct db_read read = {.kind = DB_READ_LISTING, .bucket = 1, .name = "a/"};
    fixture_open(f);
    db_put_listing(f->db, 1, "a/", &sample);
    assert_int_equal(fixture_read(f, &read, expect_sample, NULL), 0);
    assert_int_equal(read_listing(f, 2, "a/"), -ENOENT);
    assert_int_equal(read_listing(f, 1, "a"), -ENOENT);
    fixture_close(f);
    assert_true(fixture_exists(f, "meta.clean"));
    fixture_open(f);
    assert_false(fixture_exists(f, "meta.clean"));
    assert_int_equal(fixture_read(f, &read, expect_sample, NULL), 0);
}

static void test_an_empty_directory_is_a_listing_too(void **state)
{
    struct fixture *f = *state;
    struct db_listing empty = {.fetched_ns = 1};
    fixture_open(f);
    db_put_listing(f->db, 1, "", &empty);
    assert_int_equal(read_listing(f, 1, ""), 0);
}

static void test_removal_takes_one_directory_or_the_tree(void **state)
{
    static const char *const prefixes[] = {"", "a/", "a/b/", "a/b/c/", "a0", "ab/", "a/\xff/"};
    struct fixture *f = *state;
    fixture_open(f);
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        db_put_listing(f->db, 1, prefixes[i], &sample);
        db_put_listing(f->db, 2, prefixes[i], &sample);
    }
    db_del_listing(f->db, 1, "a/b/");
    assert_int_equal(read_listing(f, 1, "a/b/"), -ENOENT);
    assert_int_equal(read_listing(f, 1, "a/b/c/"), 0);
    db_del_listings_below(f->db, 1, "a/");
    assert_int_equal(read_listing(f, 1, "a/"), -ENOENT);
    assert_int_equal(read_listing(f, 1, "a/b/c/"), -ENOENT);
    assert_int_equal(read_listing(f, 1, "a/\xff/"), -ENOENT);
    assert_int_equal(read_listing(f, 1, "a0"), 0);
    assert_int_equal(read_listing(f, 1, "ab/"), 0);
    assert_int_equal(read_listing(f, 1, ""), 0);
    db_del_listings_below(f->db, 1, "");
    assert_int_equal(read_listing(f, 1, "ab/"), -ENOENT);
    assert_int_equal(read_listing(f, 1, ""), -ENOENT);
    assert_int_equal(read_listing(f, 2, "a/b/"), 0);
}

static void test_without_its_mark_the_file_is_thrown_away(void **state)
{
    struct fixture *f = *state;
    char path[128];
    fixture_open(f);
    db_put_listing(f->db, 1, "a/", &sample);
    fixture_close(f);
    fixture_path(f, "meta.clean", path);
    assert_int_equal(unlink(path), 0);
    fixture_open(f);
    assert_int_equal(read_listing(f, 1, "a/"), -ENOENT);
}

static void test_a_mark_of_another_file_is_not_believed(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    db_put_listing(f->db, 1, "a/", &sample);
    fixture_close(f);
    fixture_sql(f, "meta.db", "UPDATE listing SET fetched_ns=1");
    fixture_open(f);
    assert_int_equal(read_listing(f, 1, "a/"), -ENOENT);
}

static void test_garbage_instead_of_a_file_is_replaced(void **state)
{
    struct fixture *f = *state;
    char path[128];
    fixture_path(f, "meta.db", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("this is not a database, and longer than a header of one hundred bytes would have to be"
          " to be read as one by anybody",
          file);
    assert_int_equal(fclose(file), 0);
    fixture_open(f);
    db_put_listing(f->db, 1, "a/", &sample);
    assert_int_equal(read_listing(f, 1, "a/"), 0);
}

static void test_a_bad_value_is_an_absent_listing(void **state)
{
    struct str blob = STR_NULL;
    struct db_listing *out = NULL;
    (void)state;
    assert_int_equal(db_listing_pack(&sample, &blob), 0);
    assert_int_equal(db_listing_unpack(blob.s, blob.len, &out), 0);
    free(out);
    for (size_t cut = 0; cut < blob.len; cut++)
        assert_int_equal(db_listing_unpack(blob.s, cut, &out), -EPROTO);
    for (size_t at = 0; at < blob.len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            char *bad = malloc(blob.len); /* exact size: a sanitizer sees each byte too far */
            assert_non_null(bad);
            memcpy(bad, blob.s, blob.len);
            bad[at] = (char)(bad[at] ^ (1 << bit));
            if (db_listing_unpack(bad, blob.len, &out) == 0)
                free(out);
            free(bad);
        }
    static const unsigned char huge[] = {0x92, 0x00, 0xdd, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(db_listing_unpack(huge, sizeof(huge), &out), -EPROTO);
    str_fini(&blob);
}

static void test_a_huge_listing_is_not_kept_and_hides_no_old_one(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 80000 };
    struct db_listing_entry *many = calloc(COUNT, sizeof(*many));
    char *name = calloc(1, 1024);
    assert_non_null(many);
    assert_non_null(name);
    memset(name, 'x', 1000);
    for (size_t i = 0; i < COUNT; i++)
        many[i] = (struct db_listing_entry){.name = name, .etag = "e"};
    struct db_listing big = {.fetched_ns = 1, .entries = many, .nentries = COUNT};
    fixture_open(f);
    db_put_listing(f->db, 1, "a/", &sample);
    db_put_listing(f->db, 1, "a/", &big);
    assert_int_equal(read_listing(f, 1, "a/"), -ENOENT);
    free(name);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        T(test_a_listing_comes_back_also_after_a_clean_restart),
        T(test_an_empty_directory_is_a_listing_too),
        T(test_removal_takes_one_directory_or_the_tree),
        T(test_without_its_mark_the_file_is_thrown_away),
        T(test_a_mark_of_another_file_is_not_believed),
        T(test_garbage_instead_of_a_file_is_replaced),
        cmocka_unit_test(test_a_bad_value_is_an_absent_listing),
        T(test_a_huge_listing_is_not_kept_and_hides_no_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
