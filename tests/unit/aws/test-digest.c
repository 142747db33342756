/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Digests against the check values of their standards, and the fast paths against slow ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/aws/digest.h"

static const char check[] = "123456789";

/* Bit by bit, as the definition reads. */
static uint64_t slow_crc(uint64_t poly, unsigned bits, const uint8_t *p, size_t len)
{
    uint64_t mask = bits == 64 ? UINT64_MAX : (1ull << bits) - 1, crc = mask;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (unsigned b = 0; b < 8; b++)
            crc = crc & 1 ? crc >> 1 ^ poly : crc >> 1;
    }
    return ~crc & mask;
}

static uint8_t *noise(size_t len)
{
    uint8_t *p = malloc(len);
    uint64_t x = 88172645463325252ull;

    assert_non_null(p);
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (uint8_t)x;
    }
    return p;
}

static void test_check_values(void **state)
{
    (void)state;
    assert_int_equal(digest_crc32c(0, check, 9), 0xE3069283u);
    assert_int_equal(digest_crc32c_portable(0, check, 9), 0xE3069283u);
    assert_true(digest_crc64nvme(0, check, 9) == 0xAE8B14860A799888ull);
    assert_int_equal(digest_crc32c(0, NULL, 0), 0);
    assert_true(digest_crc64nvme(0, NULL, 0) == 0);
}

static void test_crcs_of_all_lengths_and_alignments(void **state)
{
    (void)state;
    enum { LEN = 3 * 3 * 4096 + 77 };
    uint8_t *p = noise(LEN);

    for (size_t start = 0; start < 9; start++) {
        for (size_t len = 0; len < 80; len++) {
            assert_int_equal(digest_crc32c(0, p + start, len),
                             slow_crc(0x82F63B78, 32, p + start, len));
            assert_true(digest_crc64nvme(0, p + start, len) ==
                        slow_crc(0x9A6C9329AC4BC9B5ull, 64, p + start, len));
        }
        for (size_t len = LEN - 90; len <= LEN - start; len++)
            assert_int_equal(digest_crc32c(0, p + start, len),
                             digest_crc32c_portable(0, p + start, len));
    }
    assert_int_equal(digest_crc32c(0, p, LEN), slow_crc(0x82F63B78, 32, p, LEN));
    free(p);
}

static void test_crcs_continue(void **state)
{
    (void)state;
    enum { LEN = 40000 };
    uint8_t *p = noise(LEN);
    uint32_t whole32 = digest_crc32c(0, p, LEN);
    uint64_t whole64 = digest_crc64nvme(0, p, LEN);

    for (size_t cut = 0; cut <= LEN; cut += 1237) {
        uint64_t a = digest_crc64nvme(0, p, cut), b = digest_crc64nvme(0, p + cut, LEN - cut);
        assert_int_equal(digest_crc32c(digest_crc32c(0, p, cut), p + cut, LEN - cut), whole32);
        assert_true(digest_crc64nvme(a, p + cut, LEN - cut) == whole64);
        assert_true(digest_crc64nvme_combine(a, b, LEN - cut) == whole64);
    }
    free(p);
}

static void test_sha256_and_hmac(void **state)
{
    (void)state;
    char hex[DIGEST_SHA256_HEX_SIZE];
    uint8_t sum[DIGEST_SHA256_BYTES];

    assert_int_equal(digest_sha256_hex("", 0, hex), 0);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(digest_sha256_hex("abc", 3, hex), 0);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /* RFC 4231, case 2 */
    assert_int_equal(digest_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, sum), 0);
    digest_hex(sum, sizeof(sum), hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void test_streaming_equals_one_shot_and_resets(void **state)
{
    (void)state;
    uint8_t *p = noise(100000), once[32], pieces[32];
    struct digest *d;

    for (enum digest_kind kind = DIGEST_SHA256; kind <= DIGEST_MD5; kind++) {
        assert_int_equal(digest_new(kind, &d), 0);
        for (int round = 0; round < 2; round++) {
            memset(once, 0, sizeof(once));
            memset(pieces, 0, sizeof(pieces));
            assert_int_equal(kind == DIGEST_MD5 ? digest_md5(p, 100000, once)
                                                : digest_sha256(p, 100000, once),
                             0);
            for (size_t at = 0; at < 100000; at += 4000)
                assert_int_equal(digest_update(d, p + at, 4000), 0);
            assert_int_equal(digest_final(d, pieces), 0);
            assert_memory_equal(once, pieces, 32);
        }
        digest_free(d);
    }
    digest_free(NULL);
    free(p);
}

static void test_text_forms(void **state)
{
    (void)state;
    char text[64];

    assert_int_equal(digest_md5_base64("", 0, text), 0);
    assert_string_equal(text, "1B2M2Y8AsgTpgAmY7PhCfg==");
    digest_crc64_base64(0xAE8B14860A799888ull, text);
    assert_string_equal(text, "rosUhgp5mIg=");
    digest_hex("\x00\xff\x10", 3, text);
    assert_string_equal(text, "00ff10");
}

static void test_base64_of_rfc_4648(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[DIGEST_BASE64_SIZE(6)], back[6];
        size_t len;
        digest_base64(rows[i][0], strlen(rows[i][0]), text);
        assert_string_equal(text, rows[i][1]);
        assert_int_equal(digest_base64_decode(text, strlen(text), back, sizeof(back), &len), 0);
        assert_int_equal(len, strlen(rows[i][0]));
        assert_memory_equal(back, rows[i][0], len);
    }
}

static void test_base64_refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"Z",        "Zg",   "Zg=",    "Zh==", "Zm9=", "====", "Z===",
                                      "Zg==Zg==", "Z g=", "Zm9v\n", "Zm-v", "=g==", "Zm\0v"};
    char out[16];
    size_t len;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(digest_base64_decode(bad[i], i + 1 == ARRAY_SIZE(bad) ? 4 : strlen(bad[i]),
                                              out, sizeof(out), &len),
                         -EINVAL);
    assert_int_equal(digest_base64_decode("Zm9v", 4, out, 2, &len), -ERANGE);
    assert_int_equal(digest_base64_decode("Zm8=", 4, out, 2, &len), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_values),
        cmocka_unit_test(test_crcs_of_all_lengths_and_alignments),
        cmocka_unit_test(test_crcs_continue),
        cmocka_unit_test(test_sha256_and_hmac),
        cmocka_unit_test(test_streaming_equals_one_shot_and_resets),
        cmocka_unit_test(test_text_forms),
        cmocka_unit_test(test_base64_of_rfc_4648),
        cmocka_unit_test(test_base64_refuses_what_is_none),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
