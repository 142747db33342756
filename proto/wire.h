/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Bounded msgpack. wire.c is the only file that includes <msgpack.h>, and uses it only for packing:
 * msgpack-c's unpacker reserves gigabytes for a six-byte input, so reading walks the bytes itself, with
 * every count checked against the bytes that are left and against a depth, before anything is used.
 * Reading never allocates and never copies: strings point into the buffer. Pure, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/str.h"

struct wire_reader {
    const uint8_t *p, *end;
};

/* The whole of data is exactly one well-formed value, nested at most depth_max, with every array and
 * map count <= bytes left. Ext types are refused. 0 | -EPROTO */
int wire_check(const void *data, size_t len, unsigned depth_max);

/* Each reads one value and moves on; -EPROTO (nothing moved) on another type or on truncated bytes. */
int wire_get_u64(struct wire_reader *r, uint64_t *ret);
int wire_get_i64(struct wire_reader *r, int64_t *ret);
int wire_get_str(struct wire_reader *r, const char **ret, size_t *ret_len);
int wire_get_bin(struct wire_reader *r, const void **ret, size_t *ret_len);
int wire_get_array(struct wire_reader *r, uint32_t *ret_count);
int wire_get_map(struct wire_reader *r, uint32_t *ret_count);
int wire_skip(struct wire_reader *r, unsigned depth_max); /* one value of any kind */

/* Append one value to out. 0 | -ENOMEM */
int wire_put_u64(struct str *out, uint64_t v);
int wire_put_i64(struct str *out, int64_t v);
int wire_put_str(struct str *out, const char *s, size_t len);
int wire_put_bin(struct str *out, const void *data, size_t len);
int wire_put_array(struct str *out, uint32_t count);
int wire_put_map(struct str *out, uint32_t count);
