/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* INIT as Linux 6.18 sends it and the reply as libfuse 3.14 makes it, as bytes. */
#include "fused/init-patch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Header (40 bytes) and fuse_init_in (64): unique 2, 7.45, flags with INIT_EXT, flags2. */
static unsigned char ask[104] = {
    104, 0, 0, 0, 26, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, [40] = 7, [44] = 45,
    [50] = 2, [52] = 0xfb, 0xff, 0xff, 0x73, [56] = 0xff,
};
static const unsigned char answer_head[16] = {80, 0, 0, 0, 0, 0, 0, 0, 2};
static unsigned char answer[64];

static int setup(void **state)
{
    (void)state;
    memset(answer, 0, sizeof(answer));
    answer[0] = 7;
    answer[4] = 38;
    answer[12] = 0x01; /* flags: async read */
    answer[22] = 0x10; /* max_write 1 MiB */
    ask[4] = 26;
    ask[54] = 0xff;
    ask[55] = 0x73;
    ask[56] = 0xff;
    return 0;
}

static bool patched(struct init_patch *p)
{
    return init_patch_reply(p, answer_head, sizeof(answer_head), answer, sizeof(answer));
}

static void test_reply_gets_passthrough_and_nothing_else(void **state)
{
    unsigned char want[64];
    struct init_patch p = {.pass = true};

    (void)state;
    memcpy(want, answer, sizeof(want));
    want[14] |= 0x04; /* PARALLEL_DIROPS */
    want[15] |= 0x40; /* INIT_EXT */
    want[32] |= 0x20; /* flags2: PASSTHROUGH */
    want[36] = 1;     /* max_stack_depth */
    assert_true(init_patch_request(&p, ask, sizeof(ask)));
    assert_true(patched(&p));
    assert_true(p.agreed);
    assert_memory_equal(answer, want, sizeof(want));
}

static void test_kernel_without_it_gets_the_reply_as_it_was(void **state)
{
    unsigned char want[64];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct init_patch p = {.pass = true};
        setup(NULL);
        if (i == 0)
            ask[56] = 0xdf; /* not offered */
        else
            ask[55] = 0x33; /* flags2 is not there at all */
        memcpy(want, answer, sizeof(want));
        want[14] |= 0x04;
        assert_true(init_patch_request(&p, ask, sizeof(ask)));
        assert_true(patched(&p));
        assert_false(p.agreed);
        assert_memory_equal(answer, want, sizeof(want));
    }
}

static void test_who_does_not_want_it_does_not_say_it(void **state)
{
    struct init_patch p = {0};

    (void)state;
    assert_true(init_patch_request(&p, ask, sizeof(ask)));
    assert_true(patched(&p));
    assert_false(p.agreed);
    assert_int_equal(answer[32], 0);
    assert_int_equal(answer[14], 0x04);
}

static void test_what_is_not_offered_is_not_taken(void **state)
{
    struct init_patch p = {0};

    (void)state;
    ask[54] &= 0xfb;
    assert_true(init_patch_request(&p, ask, sizeof(ask)));
    assert_true(patched(&p));
    assert_int_equal(answer[14], 0);
}

static void test_writeback_cache_excludes_it(void **state)
{
    struct init_patch p = {.pass = true};

    (void)state;
    answer[14] |= 0x01;
    assert_true(init_patch_request(&p, ask, sizeof(ask)));
    assert_true(patched(&p));
    assert_false(p.agreed);
    assert_int_equal(answer[36], 0);
}

static void test_other_requests_are_not_init(void **state)
{
    struct init_patch p = {.pass = true};

    (void)state;
    ask[4] = 1;
    assert_false(init_patch_request(&p, ask, sizeof(ask)));
    ask[4] = 26;
    for (size_t len = 0; len < sizeof(ask); len++)
        assert_false(init_patch_request(&p, ask, len));
    assert_false(patched(&p));
}

static void test_other_replies_are_left_alone(void **state)
{
    unsigned char head[16], want[64];
    struct init_patch p = {.pass = true};

    (void)state;
    memcpy(want, answer, sizeof(want));
    assert_true(init_patch_request(&p, ask, sizeof(ask)));
    memcpy(head, answer_head, sizeof(head));
    head[8] = 3; /* another request's */
    assert_false(init_patch_reply(&p, head, sizeof(head), answer, sizeof(answer)));
    memcpy(head, answer_head, sizeof(head));
    head[4] = 0xfb; /* an error */
    assert_false(init_patch_reply(&p, head, sizeof(head), answer, sizeof(answer)));
    assert_false(init_patch_reply(&p, answer_head, 15, answer, sizeof(answer)));
    assert_false(init_patch_reply(&p, answer_head, 16, answer, 63));
    assert_memory_equal(answer, want, sizeof(want));
    assert_true(patched(&p));
    assert_false(patched(&p)); /* once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reply_gets_passthrough_and_nothing_else, setup),
        cmocka_unit_test_setup(test_kernel_without_it_gets_the_reply_as_it_was, setup),
        cmocka_unit_test_setup(test_who_does_not_want_it_does_not_say_it, setup),
        cmocka_unit_test_setup(test_what_is_not_offered_is_not_taken, setup),
        cmocka_unit_test_setup(test_writeback_cache_excludes_it, setup),
        cmocka_unit_test_setup(test_other_requests_are_not_init, setup),
        cmocka_unit_test_setup(test_other_replies_are_left_alone, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
