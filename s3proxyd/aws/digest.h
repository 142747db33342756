/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Digests and the text forms S3 gives them. Only aws/ talks to libcrypto. Everything is re-entrant.
 * The CRCs use the processor's instructions where there are any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DIGEST_SHA256_BYTES 32u
#define DIGEST_SHA256_HEX_SIZE 65u /* with NUL */
#define DIGEST_MD5_BYTES 16u
#define DIGEST_BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1) /* with NUL */
#define DIGEST_MD5_BASE64_SIZE 25u
#define DIGEST_CRC64_BASE64_SIZE 13u

/* One shot. 0 | -ENOMEM | -EIO (libcrypto refused, e.g. MD5 in FIPS mode) */
int digest_sha256(const void *data, size_t len, uint8_t out[DIGEST_SHA256_BYTES]);
int digest_sha256_hex(const void *data, size_t len, char out[DIGEST_SHA256_HEX_SIZE]);
int digest_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                       uint8_t out[DIGEST_SHA256_BYTES]);
int digest_md5(const void *data, size_t len, uint8_t out[DIGEST_MD5_BYTES]);
int digest_md5_base64(const void *data, size_t len, char out[DIGEST_MD5_BASE64_SIZE]);

/* Streaming. */
struct digest;
enum digest_kind { DIGEST_SHA256, DIGEST_MD5 };
int digest_new(enum digest_kind kind, struct digest **ret_digest);
void digest_free(struct digest *d);
int digest_update(struct digest *d, const void *data, size_t len);
/* Finishes and resets, so that the object can take the next message. out: 32 or 16 bytes. */
int digest_final(struct digest *d, uint8_t *out);

/* Start with 0 and pass the previous result on. digest_crc32c("123456789") = 0xE3069283,
 * digest_crc64nvme("123456789") = 0xAE8B14860A799888. */
uint32_t digest_crc32c(uint32_t crc, const void *data, size_t len);
uint32_t digest_crc32c_portable(uint32_t crc, const void *data, size_t len); /* same, by tables */
uint64_t digest_crc64nvme(uint64_t crc, const void *data, size_t len);
/* The CRC of A‖B from those of A and B and B's length. */
uint64_t digest_crc64nvme_combine(uint64_t crc_a, uint64_t crc_b, uint64_t len_b);
/* As x-amz-checksum-crc64nvme wants it: big-endian, base64. */
void digest_crc64_base64(uint64_t crc, char out[DIGEST_CRC64_BASE64_SIZE]);

void digest_hex(const void *data, size_t len, char *out);    /* 2·len+1 bytes, lower case */
void digest_base64(const void *data, size_t len, char *out); /* DIGEST_BASE64_SIZE(len) bytes */
/* 0 | -EINVAL | -ERANGE (does not fit in out_size) */
int digest_base64_decode(const char *s, size_t len, void *out, size_t out_size, size_t *ret_len);
