/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Multipart uploads: any sizes in any order make the same object, and a failed one leaves no
 * trace. */
#include "tests/unit/file/rig.h"

#include <stdio.h>
#include <unistd.h>

#include "proto/base/must.h"
#include "proto/base/str.h"

#define PARTS_MAX 8

struct upload {
    struct rig *rig;
    const char *key;
    char *id;
    char *etags[PARTS_MAX + 1];
};

static struct upload begin(struct rig *rig, const char *key)
{
    struct store_pair pair = {(char[]){"note"}, (char[]){"kept"}};
    struct store_req req = {.op = STORE_MPU_CREATE, .key = key, .user = &pair, .nuser = 1};
    struct upload u = {.rig = rig, .key = key};

    assert_int_equal(rig_run(rig, &req), 0);
    u.id = strdup(req.ret_upload_id);
    store_req_fini(&req);
    return u;
}

static int part(struct upload *u, unsigned number, const char *text)
{
    struct store_req req = {.op = STORE_MPU_PART,
                            .key = u->key,
                            .upload_id = u->id,
                            .part_number = number,
                            .length = strlen(text)};
    int r;

    req.body.fd = -1;
    req.body.memory = text;
    r = rig_run(u->rig, &req);
    if (r == 0) {
        free(u->etags[number]);
        u->etags[number] = strdup(req.meta.etag);
    }
    store_req_fini(&req);
    return r;
}

static int complete(struct upload *u, size_t nparts, const char *if_match, bool if_none_match)
{
    struct store_req req = {.op = STORE_MPU_COMPLETE,
                            .key = u->key,
                            .upload_id = u->id,
                            .part_etags = (const char *const *)&u->etags[1],
                            .nparts = nparts,
                            .if_match = if_match,
                            .if_none_match = if_none_match};
    int r = rig_run(u->rig, &req);

    if (r == 0)
        assert_non_null(req.meta.etag);
    store_req_fini(&req);
    return r;
}

static void end(struct upload *u)
{
    for (int i = 0; i <= PARTS_MAX; i++)
        free(u->etags[i]);
    free(u->id);
}

static void expect_text(struct rig *rig, const char *key, const char *text)
{
    char *got = rig_get(rig, key);

    assert_non_null(got);
    assert_string_equal(got, text);
    free(got);
}

static bool no_uploads(struct rig *rig)
{
    char path[256];

    rig_path(rig, ".hafiz/uploads", path, sizeof(path));
    return rmdir(path) == 0; /* only when empty */
}

static void test_equal_parts_in_any_order(void **state)
{
    struct rig *rig = *state;
    struct upload u = begin(rig, "d/k");
    struct store_req head = {.op = STORE_HEAD, .key = "d/k"};

    assert_int_equal(part(&u, 3, "eeff"), 0);
    assert_int_equal(part(&u, 1, "aabb"), 0);
    assert_int_equal(part(&u, 4, "g"), 0);
    assert_int_equal(part(&u, 2, "ccdd"), 0);
    assert_int_equal(rig_head(rig, "d/k"), -ENOENT);
    assert_int_equal(complete(&u, 4, NULL, false), 0);
    expect_text(rig, "d/k", "aabbccddeeffg");
    assert_int_equal(rig_run(rig, &head), 0);
    assert_int_equal(head.meta.nuser, 1);
    assert_string_equal(head.meta.user[0].value, "kept");
    store_req_fini(&head);
    end(&u);
    assert_true(no_uploads(rig));
}

static void test_growing_parts(void **state)
{
    struct rig *rig = *state;
    struct upload u = begin(rig, "k");

    assert_int_equal(part(&u, 1, "aa"), 0);
    assert_int_equal(part(&u, 2, "bb"), 0);
    assert_int_equal(part(&u, 3, "cccccc"), 0);
    assert_int_equal(part(&u, 4, "dddddd"), 0);
    assert_int_equal(complete(&u, 4, NULL, false), 0);
    expect_text(rig, "k", "aabbccccccdddddd");
    end(&u);
}

static void test_uneven_parts(void **state)
{
    static const char *const texts[][4] = {
        {"1", "22", "333", "4444"},    {"4444", "333", "22", "1"}, {"aaa", "b", "ccc", "dd"},
        {"a", "bbbbbbbbbb", "c", "d"}, {"", "x", "", "y"},         {"xx", "", "yyyyyyy", "z"},
    };
    static const unsigned orders[][4] = {{1, 2, 3, 4}, {4, 3, 2, 1}, {2, 4, 1, 3}};
    struct rig *rig = *state;

    for (size_t t = 0; t < ARRAY_SIZE(texts); t++) {
        for (size_t o = 0; o < ARRAY_SIZE(orders); o++) {
            struct upload u = begin(rig, "k");
            char whole[64];

            for (int i = 0; i < 4; i++)
                assert_int_equal(part(&u, orders[o][i], texts[t][orders[o][i] - 1]), 0);
            assert_int_equal(complete(&u, 4, NULL, false), 0);
            (void)snprintf(whole, sizeof(whole), "%s%s%s%s", texts[t][0], texts[t][1], texts[t][2],
                           texts[t][3]);
            expect_text(rig, "k", whole);
            end(&u);
        }
    }
    assert_true(no_uploads(rig));
}

static void test_a_part_may_be_sent_again(void **state)
{
    struct rig *rig = *state;
    struct upload u = begin(rig, "k");
    char *old;

    assert_int_equal(part(&u, 1, "aa"), 0);
    assert_int_equal(part(&u, 2, "bb"), 0);
    old = strdup(u.etags[2]);
    assert_int_equal(part(&u, 2, "x"), 0);
    assert_string_not_equal(old, u.etags[2]);
    free(old);
    assert_int_equal(part(&u, 1, "longer"), 0);
    assert_int_equal(complete(&u, 2, NULL, false), 0);
    expect_text(rig, "k", "longerx");
    end(&u);
}

static void test_conditions_are_tested_at_the_end(void **state)
{
    struct rig *rig = *state;
    struct upload u = begin(rig, "k");

    assert_int_equal(part(&u, 1, "new"), 0);
    assert_int_equal(rig_put(rig, "k", "somebody's"), 0);
    assert_int_equal(complete(&u, 1, NULL, true), -EEXIST);
    assert_int_equal(complete(&u, 1, "\"other\"", false), -ESTALE);
    expect_text(rig, "k", "somebody's");
    assert_int_equal(complete(&u, 1, "*", false), 0); /* a refusal costs nothing */
    expect_text(rig, "k", "new");
    assert_int_equal(complete(&u, 1, NULL, false), -EIO); /* it is gone */
    end(&u);
}

static void test_wrong_parts_are_refused(void **state)
{
    struct rig *rig = *state;
    struct upload u = begin(rig, "k"), other = begin(rig, "other");

    assert_int_equal(part(&u, 1, "aa"), 0);
    u.etags[2] = strdup("\"never sent\"");
    assert_int_equal(complete(&u, 2, NULL, false), -EIO);
    assert_int_equal(complete(&u, 0, NULL, false), -EINVAL);
    assert_int_equal(part(&u, 0, "x"), -EINVAL);
    u.key = "other"; /* the id of another key's upload */
    assert_int_equal(complete(&u, 1, NULL, false), -EIO);
    u.key = "k";
    free(u.id);
    u.id = strdup("../../etc");
    assert_int_equal(part(&u, 1, "x"), -EIO);
    end(&u);
    end(&other);
}

static void test_abort_leaves_nothing(void **state)
{
    struct rig *rig = *state;
    struct upload u = begin(rig, "k");
    struct store_req req = {.op = STORE_MPU_ABORT, .key = "k", .upload_id = u.id};

    assert_int_equal(part(&u, 1, "aa"), 0);
    assert_int_equal(part(&u, 2, "longer"), 0);
    assert_int_equal(rig_run(rig, &req), 0);
    store_req_fini(&req);
    assert_true(no_uploads(rig));
    assert_int_equal(rig_run(rig, &req), 0);
    store_req_fini(&req);
    assert_int_equal(part(&u, 3, "aa"), -EIO);
    end(&u);
}

static void test_parts_copied_from_objects(void **state)
{
    struct rig *rig = *state;
    struct upload u = begin(rig, "k");
    struct store_req req = {.op = STORE_MPU_PART_COPY,
                            .key = "k",
                            .upload_id = u.id,
                            .part_number = 1,
                            .src_key = "src",
                            .offset = 2,
                            .length = 4};

    assert_int_equal(rig_put(rig, "src", "0123456789"), 0);
    assert_int_equal(rig_run(rig, &req), 0);
    u.etags[1] = strdup(req.meta.etag);
    store_req_fini(&req);
    req.offset = 8;
    assert_int_equal(rig_run(rig, &req), -EINVAL); /* past the end */
    store_req_fini(&req);
    req.src_if_match = "\"other\"";
    assert_int_equal(rig_run(rig, &req), -ESTALE);
    store_req_fini(&req);
    assert_int_equal(part(&u, 2, "new"), 0);
    assert_int_equal(complete(&u, 2, NULL, false), 0);
    expect_text(rig, "k", "2345new");
    end(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_equal_parts_in_any_order, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_growing_parts, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_uneven_parts, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_a_part_may_be_sent_again, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_conditions_are_tested_at_the_end, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_parts_are_refused, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_abort_leaves_nothing, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_parts_copied_from_objects, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
