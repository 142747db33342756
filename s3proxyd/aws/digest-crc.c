/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* CRC-32C (cache blocks, our own files) and CRC-64/NVME (S3's checksum of whole objects). Both are
 * reflected. CRC-32C uses SSE4.2 in three interleaved lanes; without it, and for CRC-64, eight
 * table look-ups take eight bytes at a time. */
#include "s3proxyd/aws/digest.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define CRC32C_POLY 0x82F63B78u
#define CRC64NVME_POLY 0x9A6C9329AC4BC9B5ull

static uint64_t table32[8][256], table64[8][256]; /* table32: values of 32 bits */

static void fill(uint64_t table[8][256], uint64_t poly)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t v = i;
        for (unsigned bit = 0; bit < 8; bit++)
            v = v & 1 ? v >> 1 ^ poly : v >> 1;
        table[0][i] = v;
    }
    for (unsigned k = 1; k < 8; k++)
        for (unsigned i = 0; i < 256; i++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
}

/* One register for both widths: a 32-bit CRC never leaves the low half. */
static uint64_t slice_by_8(const uint64_t table[8][256], uint64_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        v = __builtin_bswap64(v);
#endif
        v ^= crc;
        crc = table[7][v & 255] ^ table[6][v >> 8 & 255] ^ table[5][v >> 16 & 255] ^
              table[4][v >> 24 & 255] ^ table[3][v >> 32 & 255] ^ table[2][v >> 40 & 255] ^
              table[1][v >> 48 & 255] ^ table[0][v >> 56];
    }
    for (; len > 0; p++, len--)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
    return crc;
}

/* Multiplication by x^n modulo the polynomial is linear, so appending n zero bytes to a message is
 * one matrix; matrices are kept as the images of the 64 (or 32) single bits. */
static uint64_t times(const uint64_t *matrix, uint64_t v)
{
    uint64_t sum = 0;

    for (unsigned i = 0; v; i++, v >>= 1)
        if (v & 1)
            sum ^= matrix[i];
    return sum;
}

static void square(uint64_t *out, const uint64_t *matrix, unsigned bits)
{
    for (unsigned i = 0; i < bits; i++)
        out[i] = times(matrix, matrix[i]);
}

static uint64_t append_zeros(uint64_t crc, uint64_t len_bytes, uint64_t poly, unsigned bits)
{
    uint64_t a[64], b[64];

    a[0] = poly; /* one zero bit */
    for (unsigned i = 1; i < bits; i++)
        a[i] = 1ull << (i - 1);
    for (unsigned i = 0; i < 3; i++) { /* eight of them */
        square(b, a, bits);
        memcpy(a, b, sizeof(a[0]) * bits);
    }
    for (; len_bytes; len_bytes >>= 1) {
        if (len_bytes & 1)
            crc = times(a, crc);
        square(b, a, bits);
        memcpy(a, b, sizeof(a[0]) * bits);
    }
    return crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

#define LANE_BYTES 5456u /* three fill a cache block of 16 KiB, but for 16 bytes */

static uint64_t lane_shift[4][256]; /* what LANE_BYTES zeros do to each byte of a CRC-32C */
static bool have_sse42;

static void fill_lane_shift(void)
{
    have_sse42 = __builtin_cpu_supports("sse4.2");
    for (unsigned k = 0; k < 4; k++)
        for (uint64_t i = 1; i < 256; i++) {
            uint64_t rest = i & (i - 1); /* all bits but the lowest */
            lane_shift[k][i] = rest ? lane_shift[k][rest] ^ lane_shift[k][i ^ rest]
                                    : append_zeros(i << (8 * k), LANE_BYTES, CRC32C_POLY, 32);
        }
}

static uint64_t shift_lane(uint64_t crc)
{
    return lane_shift[0][crc & 255] ^ lane_shift[1][crc >> 8 & 255] ^
           lane_shift[2][crc >> 16 & 255] ^ lane_shift[3][crc >> 24 & 255];
}

/* The instruction takes three cycles but one can start every cycle: three lanes keep it busy. */
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p,
                                                               size_t len)
{
    uint64_t a = crc, v, w, x;

    for (; len >= 3 * LANE_BYTES; p += 3 * LANE_BYTES, len -= 3 * LANE_BYTES) {
        uint64_t b = 0, c = 0;
        for (size_t i = 0; i < LANE_BYTES; i += 8) {
            memcpy(&v, p + i, 8);
            memcpy(&w, p + i + LANE_BYTES, 8);
            memcpy(&x, p + i + 2 * LANE_BYTES, 8);
            a = _mm_crc32_u64(a, v);
            b = _mm_crc32_u64(b, w);
            c = _mm_crc32_u64(c, x);
        }
        a = shift_lane(shift_lane(a) ^ b) ^ c;
    }
    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&v, p, 8);
        a = _mm_crc32_u64(a, v);
    }
    for (; len > 0; p++, len--)
        a = _mm_crc32_u8((uint32_t)a, *p);
    return (uint32_t)a;
}
#endif

static void fill_all(void)
{
    fill(table32, CRC32C_POLY);
    fill(table64, CRC64NVME_POLY);
#if defined(__x86_64__)
    fill_lane_shift();
#endif
}

static void prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fill_all);
}

uint32_t digest_crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    prepare();
    return ~(uint32_t)slice_by_8(table32, ~crc, data, len);
}

uint32_t digest_crc32c(uint32_t crc, const void *data, size_t len)
{
    prepare();
#if defined(__x86_64__)
    if (have_sse42)
        return ~crc32c_sse42(~crc, data, len);
#endif
    return digest_crc32c_portable(crc, data, len);
}

uint64_t digest_crc64nvme(uint64_t crc, const void *data, size_t len)
{
    prepare();
    return ~slice_by_8(table64, ~crc, data, len);
}

uint64_t digest_crc64nvme_combine(uint64_t crc_a, uint64_t crc_b, uint64_t len_b)
{
    return append_zeros(crc_a, len_b, CRC64NVME_POLY, 64) ^ crc_b;
}

void digest_crc64_base64(uint64_t crc, char out[DIGEST_CRC64_BASE64_SIZE])
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(crc >> (56 - 8 * i));
    digest_base64(bytes, sizeof(bytes), out);
}
