/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Objects: what is put is got, conditions hold, markers and implicit directories behave as
 * prefixes do. */
#include "tests/unit/file/rig.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/str.h"

static void expect_text(struct rig *rig, const char *key, const char *text)
{
    char *got = rig_get(rig, key);

    assert_non_null(got);
    assert_string_equal(got, text);
    free(got);
}

static void test_put_get_delete(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(rig_head(rig, "a/b"), -ENOENT);
    assert_int_equal(rig_put(rig, "a/b", "hello"), 0);
    expect_text(rig, "a/b", "hello");
    assert_int_equal(rig_put(rig, "a/b", ""), 0);
    expect_text(rig, "a/b", "");
    assert_int_equal(rig_delete(rig, "a/b"), 0);
    assert_int_equal(rig_delete(rig, "a/b"), 0);
    assert_int_equal(rig_delete(rig, "no/such/thing"), 0);
    assert_int_equal(rig_head(rig, "a/b"), -ENOENT);
    assert_false(rig_exists(rig, "a"));
    assert_true(rig_exists(rig, ".hafiz"));
}

static void test_files_of_others_are_objects(void **state)
{
    struct rig *rig = *state;

    rig_mkdir(rig, "d");
    rig_write_file(rig, "d/f", "by hand");
    expect_text(rig, "d/f", "by hand");
    assert_int_equal(rig_head(rig, "d/"), 0);
    assert_int_equal(rig_delete(rig, "d/f"), 0);
    assert_true(rig_exists(rig, "d")); /* explicit: somebody made it */
}

static void test_keys_no_path_can_carry(void **state)
{
    static const char *const bad[] = {"",        "/a",   "a//b",        "a/./b",
                                      "../a",    "a/..", ".hafiz/lock", ".hafiz",
                                      ".hafiz/", "//",   "/",           "."};
    struct rig *rig = *state;
    char longer[400], *etag = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(rig_put(rig, bad[i], "x"), -EINVAL);
        assert_int_equal(rig_head(rig, bad[i]), -ENOENT);
        assert_int_equal(rig_delete(rig, bad[i]), 0);
    }
    memset(longer, 'x', sizeof(longer));
    longer[256] = '\0';
    assert_int_equal(rig_put(rig, longer, "x"), -ENAMETOOLONG);
    longer[255] = '\0';
    assert_int_equal(rig_put(rig, longer, "x"), 0);
    assert_int_equal(rig_put(rig, "caf\xe9", "x"), -EILSEQ);
    assert_int_equal(rig_put(rig, "a/.hafiz", "x"), 0); /* only the first component is ours */
    assert_int_equal(rig_put_if(rig, "odd\n\x01 \"\\;'", "x", NULL, false, &etag), 0);
    free(etag);
    expect_text(rig, "odd\n\x01 \"\\;'", "x");
}

static void test_conditions(void **state)
{
    struct rig *rig = *state;
    char *first = NULL, *second = NULL;

    assert_int_equal(rig_put_if(rig, "k", "1", "\"nope\"", false, NULL), -ENOENT);
    assert_int_equal(rig_put_if(rig, "k", "1", NULL, true, &first), 0);
    assert_int_equal(rig_put_if(rig, "k", "2", NULL, true, NULL), -EEXIST);
    assert_int_equal(rig_put_if(rig, "k", "2", "\"nope\"", false, NULL), -ESTALE);
    assert_int_equal(rig_put_if(rig, "k", "2", first, false, &second), 0);
    assert_string_not_equal(first, second);
    assert_int_equal(rig_put_if(rig, "k", "3", first, false, NULL), -ESTALE);
    assert_int_equal(rig_put_if(rig, "k", "3", "*", false, NULL), 0);
    expect_text(rig, "k", "3");
    free(first);
    free(second);
}

static void test_a_refused_put_leaves_nothing(void **state)
{
    struct rig *rig = *state;
    char *keys;

    assert_int_equal(rig_put_if(rig, "x/y/z", "1", "*", false, NULL), -ENOENT);
    assert_false(rig_exists(rig, "x"));
    keys = rig_list(rig, "", true, 0);
    assert_string_equal(keys, "");
    free(keys);
}

#define QUICK 200

static void test_every_put_has_a_new_etag(void **state)
{
    struct rig *rig = *state;
    char *etags[QUICK];

    for (int i = 0; i < QUICK; i++) {
        assert_int_equal(rig_put_if(rig, "k", "same", NULL, false, &etags[i]), 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(etags[i], etags[k]);
    }
    for (int i = 0; i < QUICK; i++)
        free(etags[i]);
}

static void test_one_name_is_not_both(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(rig_put(rig, "a/b", "x"), 0);
    assert_int_equal(rig_put(rig, "a", "x"), -EISDIR);
    assert_int_equal(rig_put(rig, "a/b/c", "x"), -ENOTDIR);
    assert_int_equal(rig_put(rig, "a/b/", ""), -ENOTDIR);
    assert_int_equal(rig_head(rig, "a"), -ENOENT);
    assert_int_equal(rig_head(rig, "a/b/"), -ENOENT);
    assert_int_equal(rig_head(rig, "a/b/c"), -ENOENT);
    assert_int_equal(rig_delete(rig, "a/b/c"), 0);
    expect_text(rig, "a/b", "x");
}

static void test_markers_and_implicit_directories(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(rig_put(rig, "d/", ""), 0);
    assert_int_equal(rig_put(rig, "d/", "bytes"), -EINVAL);
    assert_int_equal(rig_head(rig, "d/"), 0);
    assert_int_equal(rig_put(rig, "d/e/f", "x"), 0);
    assert_int_equal(rig_head(rig, "d/e/"), -ENOENT);
    assert_int_equal(rig_delete(rig, "d/"), 0); /* not empty: becomes implicit */
    assert_int_equal(rig_head(rig, "d/"), -ENOENT);
    expect_text(rig, "d/e/f", "x");
    assert_int_equal(rig_put(rig, "d/e/", ""), 0);
    assert_int_equal(rig_head(rig, "d/e/"), 0);
    assert_int_equal(rig_put_if(rig, "d/e/", "", NULL, true, NULL), -EEXIST);
    assert_int_equal(rig_put_if(rig, "d/", "", NULL, true, NULL), 0);
    assert_int_equal(rig_delete(rig, "d/"), 0);
    assert_int_equal(rig_delete(rig, "d/e/f"), 0);
    assert_true(rig_exists(rig, "d/e")); /* a marker keeps it and what is above */
    assert_int_equal(rig_delete(rig, "d/e/"), 0);
    assert_false(rig_exists(rig, "d"));
}

static void test_links_are_not_followed(void **state)
{
    struct rig *rig = *state;
    char path[256];

    rig_path(rig, "link", path, sizeof(path));
    assert_int_equal(symlink("/etc/passwd", path), 0);
    rig_path(rig, "up", path, sizeof(path));
    assert_int_equal(symlink("/tmp", path), 0);
    rig_path(rig, "pipe", path, sizeof(path));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(rig_head(rig, "link"), -ENOENT);
    assert_int_equal(rig_head(rig, "up/"), -ENOENT);
    assert_int_equal(rig_head(rig, "pipe"), -ENOENT);
    assert_int_equal(rig_put(rig, "link", "x"), -EEXIST);
    assert_int_equal(rig_put(rig, "pipe", "x"), -EEXIST);
    assert_int_equal(rig_put(rig, "up/x", "x"), -ENOTDIR);
    assert_int_equal(rig_put(rig, "up/", ""), -ENOTDIR);
    assert_int_equal(rig_delete(rig, "link"), 0);
    assert_int_equal(rig_delete(rig, "up/"), 0);
    assert_int_equal(rig_delete(rig, "up/hafiz-nothing"), 0);
    assert_true(rig_exists(rig, "link"));
    assert_true(rig_exists(rig, "up"));
}

static void test_user_metadata(void **state)
{
    struct rig *rig = *state;
    struct store_pair pairs[] = {{(char[]){"mode"}, (char[]){"33188"}},
                                 {(char[]){"note"}, (char[]){"two\nlines = 2"}}};
    struct store_req put = {.op = STORE_PUT,
                            .key = "m/k",
                            .user = pairs,
                            .nuser = 2,
                            .content_type = "text/x-odd",
                            .body = {.fd = -1}};
    struct store_req copy = {.op = STORE_COPY, .key = "m/k2", .src_key = "m/k"};
    struct store_req again = {
        .op = STORE_COPY, .key = "m/k2", .src_key = "m/k2", .user = pairs, .nuser = 1};
    struct store_req head = {.op = STORE_HEAD, .key = "m/k2"};

    assert_int_equal(rig_run(rig, &put), 0);
    assert_int_equal(rig_run(rig, &copy), 0);
    assert_int_equal(rig_run(rig, &head), 0);
    assert_string_equal(head.meta.content_type, "text/x-odd");
    assert_int_equal(head.meta.nuser, 2);
    for (int i = 0; i < 2; i++) {
        bool mode = str_eq(head.meta.user[i].name, "mode");

        assert_string_equal(head.meta.user[i].value, mode ? "33188" : "two\nlines = 2");
    }
    assert_string_equal(head.meta.etag, copy.meta.etag);
    store_req_fini(&head);
    assert_int_equal(rig_run(rig, &again), 0); /* replaces */
    head = (struct store_req){.op = STORE_HEAD, .key = "m/k2"};
    assert_int_equal(rig_run(rig, &head), 0);
    assert_int_equal(head.meta.nuser, 1);
    assert_null(head.meta.content_type);
    store_req_fini(&put);
    store_req_fini(&copy);
    store_req_fini(&again);
    store_req_fini(&head);
}

static void test_large_metadata_moves_below_hafiz(void **state)
{
    struct rig *rig = *state;
    char *value = malloc(60001);
    struct store_pair pair = {(char[]){"big"}, value};
    struct store_req put = {
        .op = STORE_PUT, .key = "big", .user = &pair, .nuser = 1, .body = {.fd = -1}};
    struct store_req head = {.op = STORE_HEAD, .key = "big"};

    memset(value, 'v', 60000);
    value[60000] = '\0';
    assert_int_equal(rig_run(rig, &put), 0);
    assert_int_equal(rig_run(rig, &head), 0);
    assert_int_equal(head.meta.nuser, 1);
    assert_string_equal(head.meta.user[0].value, value);
    store_req_fini(&put);
    store_req_fini(&head);
    rig_write_file(rig, "big", "replaced by another program");
    head = (struct store_req){.op = STORE_HEAD, .key = "big"};
    assert_int_equal(rig_run(rig, &head), 0);
    store_req_fini(&head);
    assert_int_equal(rig_delete(rig, "big"), 0);
    free(value);
}

static void test_copy_conditions(void **state)
{
    struct rig *rig = *state;
    struct store_req copy = {.op = STORE_COPY, .key = "b", .src_key = "a"};

    assert_int_equal(rig_run(rig, &copy), -ENOENT);
    store_req_fini(&copy);
    assert_int_equal(rig_put(rig, "a", "text"), 0);
    copy =
        (struct store_req){.op = STORE_COPY, .key = "b", .src_key = "a", .src_if_match = "\"old\""};
    assert_int_equal(rig_run(rig, &copy), -ESTALE);
    store_req_fini(&copy);
    copy = (struct store_req){.op = STORE_COPY, .key = "b", .src_key = "a", .if_none_match = true};
    assert_int_equal(rig_run(rig, &copy), 0);
    store_req_fini(&copy);
    expect_text(rig, "b", "text");
    copy = (struct store_req){.op = STORE_COPY, .key = "b", .src_key = "a", .if_none_match = true};
    assert_int_equal(rig_run(rig, &copy), -EEXIST);
    store_req_fini(&copy);
    assert_int_equal(rig_put(rig, "d/", ""), 0);
    copy = (struct store_req){.op = STORE_COPY, .key = "e/", .src_key = "d/"};
    assert_int_equal(rig_run(rig, &copy), 0);
    store_req_fini(&copy);
    assert_int_equal(rig_head(rig, "e/"), 0);
}

static void test_delete_many_and_conditional_delete(void **state)
{
    struct rig *rig = *state;
    const char *keys[] = {"x/1", "x/2", "absent", "y/", "a//b"};
    struct store_req many = {.op = STORE_DELETE_MANY, .keys = keys, .nkeys = 5};
    struct store_req one = {.op = STORE_DELETE, .key = "z", .if_match = "\"other\""};

    assert_int_equal(rig_put(rig, "x/1", "1"), 0);
    assert_int_equal(rig_put(rig, "x/2", "2"), 0);
    assert_int_equal(rig_put(rig, "y/", ""), 0);
    assert_int_equal(rig_put(rig, "z", "z"), 0);
    assert_int_equal(rig_run(rig, &many), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(many.key_errors[i], 0);
    store_req_fini(&many);
    assert_false(rig_exists(rig, "x"));
    assert_false(rig_exists(rig, "y"));
    assert_int_equal(rig_run(rig, &one), -ESTALE);
    store_req_fini(&one);
    assert_int_equal(rig_head(rig, "z"), 0);
}

static mode_t mode_of(struct rig *rig, const char *name)
{
    char path[256];
    struct stat st;

    rig_path(rig, name, path, sizeof(path));
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void set_mode(struct rig *rig, const char *name, mode_t mode)
{
    char path[256];

    rig_path(rig, name, path, sizeof(path));
    assert_int_equal(chmod(path, mode), 0);
}

static void test_modes_come_from_the_directory_and_stay(void **state)
{
    struct rig *rig = *state;
    mode_t before = umask(0077); /* as the backend's */

    assert_int_equal(rig_put(rig, "private/f", "x"), 0); /* the directory is 0700 */
    assert_int_equal(mode_of(rig, "private/f"), 0600);
    set_mode(rig, "", 0755);
    assert_int_equal(rig_put(rig, "d/f", "x"), 0);
    assert_int_equal(rig_put(rig, "e/", ""), 0);
    assert_int_equal(mode_of(rig, "d"), 0755);
    assert_int_equal(mode_of(rig, "e"), 0755);
    assert_int_equal(rig_put(rig, "d/f", "x"), 0);
    assert_int_equal(mode_of(rig, "d/f"), 0644);
    set_mode(rig, "d/f", 0640);
    assert_int_equal(rig_put(rig, "d/f", "new"), 0);
    assert_int_equal(mode_of(rig, "d/f"), 0640);
    set_mode(rig, "d", 0777);
    assert_int_equal(rig_put(rig, "d/g", "x"), 0);
    assert_int_equal(mode_of(rig, "d/g"), 0664); /* never for everybody to write */
    umask(before);
}

#define RACERS 16

struct race {
    struct store_req req;
    struct loop *loop;
    int *left;
};

static void race_done(struct store_req *req)
{
    struct race *race = container_of(req, struct race, req);

    if (--*race->left == 0)
        loop_stop(race->loop);
}

static void test_one_of_many_creators_wins(void **state)
{
    struct rig *rig = *state;
    struct race racers[RACERS] = {0};
    int left = RACERS, won = 0;

    for (int i = 0; i < RACERS; i++) {
        racers[i].req = (struct store_req){.op = STORE_PUT,
                                           .key = "only/one",
                                           .length = 1,
                                           .if_none_match = true,
                                           .done = race_done,
                                           .body = {.fd = -1, .memory = "x"}};
        racers[i].loop = rig->loop;
        racers[i].left = &left;
        store_submit(rig->store, &racers[i].req);
    }
    assert_int_equal(loop_run(rig->loop), 0);
    for (int i = 0; i < RACERS; i++) {
        won += racers[i].req.error == 0;
        assert_true(racers[i].req.error == 0 || racers[i].req.error == -EEXIST);
        store_req_fini(&racers[i].req);
    }
    assert_int_equal(won, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_get_delete, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_files_of_others_are_objects, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_keys_no_path_can_carry, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_conditions, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_a_refused_put_leaves_nothing, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_every_put_has_a_new_etag, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_one_name_is_not_both, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_markers_and_implicit_directories, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_user_metadata, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_large_metadata_moves_below_hafiz, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_copy_conditions, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_delete_many_and_conditional_delete, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_modes_come_from_the_directory_and_stay, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_one_of_many_creators_wins, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
