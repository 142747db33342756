/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The sidecar of a cache file: written by s3proxyd, mapped read-only by clients. Layout, little-endian:
 *     struct sidecar_head (4096 bytes reserved)
 *     present  bitmap, one bit per block, padded to 8 bytes: the block may be read from the cache file
 *     stored   bitmap, same size: the block was written and its checksum is known (the backend's own)
 *     crc      u32 CRC-32C per block (the backend's own)
 * A client maps head and present bitmap only, checks magic, version, block size and that the file is long
 * enough for object_size before use, and never trusts a bit without looking at seq twice. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/limits.h"

#define SIDECAR_MAGIC 0x31454443585a4648ULL /* "HFZXCDE1" */
#define SIDECAR_VERSION 1u
#define SIDECAR_HEAD_BYTES 4096u

struct sidecar_head {
    uint64_t magic;
    uint32_t version, block_bytes;
    uint64_t object_size;
    uint64_t boot_id[2];        /* of the boot in which `present` is valid */
    _Atomic uint64_t seq;       /* raised before and after bits are cleared, then the hole is punched */
    _Atomic uint64_t revoked;   /* not 0: ask the backend for every read */
    _Atomic uint64_t promised;  /* not 0: whole, and in this boot no block of it goes (OPEN's `whole`) */
    /* The backend's own, of when nobody had it open any more: mtime of the data file, and what
     * `present` was. */
    uint64_t sealed_time_ns, sealed_sum;
};

/* For guard_new(): a sidecar that was cut below a mapping serves nothing any more. */
static inline void sidecar_break(void *fresh)
{
    atomic_store(&((struct sidecar_head *)fresh)->revoked, 1);
}

static inline uint64_t sidecar_blocks(uint64_t object_size)
{
    return object_size / BLOCK_BYTES + (object_size % BLOCK_BYTES != 0);
}
static inline uint64_t sidecar_bitmap_bytes(uint64_t object_size)
{
    return (sidecar_blocks(object_size) + 63) / 64 * 8;
}
static inline uint64_t sidecar_client_bytes(uint64_t object_size)
{
    return SIDECAR_HEAD_BYTES + sidecar_bitmap_bytes(object_size);
}
static inline uint64_t sidecar_file_bytes(uint64_t object_size)
{
    return SIDECAR_HEAD_BYTES + 2 * sidecar_bitmap_bytes(object_size) +
           4 * sidecar_blocks(object_size);
}
static inline _Atomic uint64_t *sidecar_present(const struct sidecar_head *h)
{
    return (_Atomic uint64_t *)((uintptr_t)h + SIDECAR_HEAD_BYTES);
}
static inline bool sidecar_test(const struct sidecar_head *h, uint64_t block)
{
    return atomic_load_explicit(&sidecar_present(h)[block / 64], memory_order_acquire) >>
               (block % 64) & 1;
}
