/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The one place where bytes from the other side turn into values. Every read first decodes one header
 * against the bytes that are left; nothing is allocated, and recursion ends at a depth the caller sets. */
#include "proto/wire.h"

#include <errno.h>
#include <msgpack.h>

enum wire_type { WIRE_UINT, WIRE_NEGINT, WIRE_STR, WIRE_BIN, WIRE_ARRAY, WIRE_MAP, WIRE_OTHER };

struct wire_item {
    enum wire_type type;
    size_t head_len;  /* bytes before the body */
    uint64_t v;       /* the number (NEGINT: as int64_t), the body's bytes, or the count of members */
};

static uint64_t load_be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    while (n--)
        v = v << 8 | *p++;
    return v;
}

/* A header with an n-byte big-endian number after its first byte. */
static int item_sized(struct wire_item *it, const uint8_t *p, size_t left, enum wire_type type,
                      unsigned n)
{
    if (left < 1 + (size_t)n)
        return -EPROTO;
    *it = (struct wire_item){type, 1 + (size_t)n, load_be(p + 1, n)};
    return 0;
}

static int item_int(struct wire_item *it, const uint8_t *p, size_t left, unsigned n)
{
    unsigned unused_bits = 64 - 8 * n;
    int r = item_sized(it, p, left, WIRE_UINT, n);

    if (r < 0)
        return r;
    if (it->v >> (8 * n - 1) & 1) { /* the sign bit: extend it to 64 */
        it->v |= unused_bits ? ~0ULL << (64 - unused_bits) : 0;
        it->type = WIRE_NEGINT;
    }
    return 0;
}

static int item_decode(const uint8_t *p, size_t left, struct wire_item *it)
{
    uint8_t c = left ? p[0] : 0xc1;

    if (c <= 0x7f)
        *it = (struct wire_item){WIRE_UINT, 1, c};
    else if (c <= 0x8f)
        *it = (struct wire_item){WIRE_MAP, 1, c & 0x0f};
    else if (c <= 0x9f)
        *it = (struct wire_item){WIRE_ARRAY, 1, c & 0x0f};
    else if (c <= 0xbf)
        *it = (struct wire_item){WIRE_STR, 1, c & 0x1f};
    else if (c >= 0xe0)
        *it = (struct wire_item){WIRE_NEGINT, 1, (uint64_t)(int64_t)(int8_t)c};
    else if (c == 0xc0 || c == 0xc2 || c == 0xc3) /* nil, false, true */
        *it = (struct wire_item){WIRE_OTHER, 1, 0};
    else if (c >= 0xc4 && c <= 0xc6)
        return item_sized(it, p, left, WIRE_BIN, 1u << (c - 0xc4));
    else if (c == 0xca || c == 0xcb) /* floats: never used, but may be skipped */
        *it = (struct wire_item){WIRE_OTHER, 1, c == 0xca ? 4 : 8};
    else if (c >= 0xcc && c <= 0xcf)
        return item_sized(it, p, left, WIRE_UINT, 1u << (c - 0xcc));
    else if (c >= 0xd0 && c <= 0xd3)
        return item_int(it, p, left, 1u << (c - 0xd0));
    else if (c >= 0xd9 && c <= 0xdb)
        return item_sized(it, p, left, WIRE_STR, 1u << (c - 0xd9));
    else if (c >= 0xdc && c <= 0xdd)
        return item_sized(it, p, left, WIRE_ARRAY, 2u << (c - 0xdc));
    else if (c >= 0xde && c <= 0xdf)
        return item_sized(it, p, left, WIRE_MAP, 2u << (c - 0xde));
    else
        return -EPROTO; /* ext types, 0xc1, or no byte at all */
    return 0;
}

/* One header whose body, or whose members at a byte each, fit into what is left. */
static int item_next(const struct wire_reader *r, struct wire_item *it)
{
    size_t left = (size_t)(r->end - r->p), body;
    int err = item_decode(r->p, left, it);

    if (err < 0)
        return err;
    body = left - it->head_len;
    switch (it->type) {
    case WIRE_STR:
    case WIRE_BIN:
    case WIRE_OTHER:
    case WIRE_ARRAY:
        return it->v <= body ? 0 : -EPROTO;
    case WIRE_MAP:
        return it->v <= body / 2 ? 0 : -EPROTO;
    case WIRE_UINT:
    case WIRE_NEGINT:
        break;
    }
    return 0;
}

int wire_skip(struct wire_reader *r, unsigned depth_max)
{
    struct wire_reader at = *r;
    struct wire_item it;
    uint64_t members = 0;
    int err = item_next(&at, &it);

    if (err < 0)
        return err;
    at.p += it.head_len;
    if (it.type == WIRE_STR || it.type == WIRE_BIN || it.type == WIRE_OTHER)
        at.p += it.v;
    else if (it.type == WIRE_ARRAY || it.type == WIRE_MAP)
        members = it.type == WIRE_MAP ? 2 * it.v : it.v;
    if ((it.type == WIRE_ARRAY || it.type == WIRE_MAP) && depth_max == 0)
        return -EPROTO;
    for (; members > 0; members--) {
        err = wire_skip(&at, depth_max - 1);
        if (err < 0)
            return err;
    }
    *r = at;
    return 0;
}

int wire_check(const void *data, size_t len, unsigned depth_max)
{
    struct wire_reader r = {data, (const uint8_t *)data + len};
    int err = wire_skip(&r, depth_max);

    if (err < 0)
        return err;
    return r.p == r.end ? 0 : -EPROTO;
}

static int get_of(struct wire_reader *r, enum wire_type type, struct wire_item *it)
{
    int err = item_next(r, it);

    if (err < 0)
        return err;
    return it->type == type ? 0 : -EPROTO;
}

int wire_get_u64(struct wire_reader *r, uint64_t *ret)
{
    struct wire_item it;
    int err = get_of(r, WIRE_UINT, &it);

    if (err < 0)
        return err;
    r->p += it.head_len;
    *ret = it.v;
    return 0;
}

int wire_get_i64(struct wire_reader *r, int64_t *ret)
{
    struct wire_item it;
    int err = item_next(r, &it);

    if (err < 0)
        return err;
    if (it.type != WIRE_NEGINT && (it.type != WIRE_UINT || it.v > INT64_MAX))
        return -EPROTO;
    r->p += it.head_len;
    *ret = (int64_t)it.v;
    return 0;
}

int wire_get_str(struct wire_reader *r, const char **ret, size_t *ret_len)
{
    struct wire_item it;
    int err = get_of(r, WIRE_STR, &it);

    if (err < 0)
        return err;
    *ret = (const char *)r->p + it.head_len;
    *ret_len = it.v;
    r->p += it.head_len + it.v;
    return 0;
}

int wire_get_bin(struct wire_reader *r, const void **ret, size_t *ret_len)
{
    struct wire_item it;
    int err = get_of(r, WIRE_BIN, &it);

    if (err < 0)
        return err;
    *ret = r->p + it.head_len;
    *ret_len = it.v;
    r->p += it.head_len + it.v;
    return 0;
}

static int get_count(struct wire_reader *r, enum wire_type type, uint32_t *ret_count)
{
    struct wire_item it;
    int err = get_of(r, type, &it);

    if (err < 0)
        return err;
    r->p += it.head_len;
    *ret_count = (uint32_t)it.v; /* at most four bytes long in the header */
    return 0;
}

int wire_get_array(struct wire_reader *r, uint32_t *ret_count)
{
    return get_count(r, WIRE_ARRAY, ret_count);
}

int wire_get_map(struct wire_reader *r, uint32_t *ret_count)
{
    return get_count(r, WIRE_MAP, ret_count);
}

static int append(void *out, const char *data, size_t len)
{
    return str_addn(out, data, len);
}

/* What a failed put had already appended is taken back. */
static int put_end(struct str *out, size_t before, int failed)
{
    if (!failed)
        return 0;
    out->len = before;
    if (out->s)
        out->s[before] = '\0';
    return -ENOMEM;
}

int wire_put_u64(struct str *out, uint64_t v)
{
    msgpack_packer pk = {out, append};
    size_t before = out->len;

    return put_end(out, before, msgpack_pack_uint64(&pk, v));
}

int wire_put_i64(struct str *out, int64_t v)
{
    msgpack_packer pk = {out, append};
    size_t before = out->len;

    return put_end(out, before, msgpack_pack_int64(&pk, v));
}

int wire_put_str(struct str *out, const char *s, size_t len)
{
    msgpack_packer pk = {out, append};
    size_t before = out->len;

    if (len > UINT32_MAX)
        return -ENOMEM;
    return put_end(out, before, msgpack_pack_str(&pk, len) || str_addn(out, s, len));
}

int wire_put_bin(struct str *out, const void *data, size_t len)
{
    msgpack_packer pk = {out, append};
    size_t before = out->len;

    if (len > UINT32_MAX)
        return -ENOMEM;
    return put_end(out, before, msgpack_pack_bin(&pk, len) || str_addn(out, data, len));
}

int wire_put_array(struct str *out, uint32_t count)
{
    msgpack_packer pk = {out, append};
    size_t before = out->len;

    return put_end(out, before, msgpack_pack_array(&pk, count));
}

int wire_put_map(struct str *out, uint32_t count)
{
    msgpack_packer pk = {out, append};
    size_t before = out->len;

    return put_end(out, before, msgpack_pack_map(&pk, count));
}
