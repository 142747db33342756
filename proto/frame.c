/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Cuts a byte stream into frames. The twelve bytes of a prefix are collected first and checked whole:
 * memory is reserved only for a frame that keeps to limits.h. */
#include "proto/frame.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/limits.h"

void frame_fini(struct frame *f)
{
    free(f->data);
    *f = (struct frame){0};
}

void frame_parser_fini(struct frame_parser *p)
{
    if (p->frame.data) /* half a head may hold half a key */
        explicit_bzero(p->frame.data, MIN(p->got, (size_t)p->frame.head_len));
    frame_fini(&p->frame);
    *p = FRAME_PARSER_NULL;
}

static uint32_t load_le32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static bool bounds_ok(size_t head_len, size_t payload_len, size_t nfds)
{
    return head_len > 0 && head_len <= PROTO_HEAD_MAX_BYTES &&
           payload_len <= PROTO_PAYLOAD_MAX_BYTES && nfds <= PROTO_FDS_MAX;
}

static size_t frame_bytes(const struct frame *f)
{
    return (size_t)f->head_len + f->payload_len;
}

/* The prefix is complete: judge it and make room. */
static int parse_prefix(struct frame_parser *p)
{
    uint32_t head = load_le32(p->prefix), payload = load_le32(p->prefix + 4);
    uint32_t nfds = load_le32(p->prefix + 8);

    if (!bounds_ok(head, payload, nfds))
        return -EPROTO;
    p->frame = (struct frame){malloc((size_t)head + payload), head, payload, nfds};
    p->got = 0;
    return p->frame.data ? 0 : -ENOMEM;
}

int frame_parser_filled(struct frame_parser *p, size_t n, struct frame *ret_frame)
{
    must(n <= frame_bytes(&p->frame) - p->got);
    p->got += n;
    if (p->got < frame_bytes(&p->frame))
        return 0;
    *ret_frame = p->frame;
    *p = FRAME_PARSER_NULL;
    return 1;
}

size_t frame_parser_room(struct frame_parser *p, void **ret_at)
{
    if (!p->frame.data)
        return 0;
    *ret_at = p->frame.data + p->got;
    return frame_bytes(&p->frame) - p->got;
}

int frame_parse(struct frame_parser *p, const void *data, size_t len, size_t *ret_used,
                struct frame *ret_frame)
{
    size_t used = 0, n;

    *ret_used = 0;
    if (!p->frame.data) {
        n = MIN(len, FRAME_PREFIX_BYTES - (size_t)p->prefix_got);
        if (n > 0)
            memcpy(p->prefix + p->prefix_got, data, n);
        p->prefix_got += (uint32_t)n;
        *ret_used = used = n;
        if (p->prefix_got < FRAME_PREFIX_BYTES)
            return 0;
        int r = parse_prefix(p);
        if (r < 0)
            return r;
    }
    n = MIN(len - used, frame_bytes(&p->frame) - p->got);
    if (n > 0)
        memcpy(p->frame.data + p->got, (const uint8_t *)data + used, n);
    *ret_used = used + n;
    return frame_parser_filled(p, n, ret_frame);
}

static void store_le32(uint8_t *p, size_t v)
{
    uint32_t le = htole32((uint32_t)v);

    memcpy(p, &le, sizeof(le));
}

int frame_prefix(uint8_t out[FRAME_PREFIX_BYTES], size_t head_len, size_t payload_len,
                 unsigned nfds)
{
    if (!bounds_ok(head_len, payload_len, nfds))
        return -EMSGSIZE;
    store_le32(out, head_len);
    store_le32(out + 4, payload_len);
    store_le32(out + 8, nfds);
    return 0;
}

size_t frame_begin(struct str *out)
{
    static const uint8_t blank[FRAME_PREFIX_BYTES];
    size_t at = out->len;

    return str_addn(out, blank, sizeof(blank)) < 0 ? SIZE_MAX : at;
}

void frame_end_head(struct str *out, size_t at)
{
    size_t head = out->len - at - FRAME_PREFIX_BYTES;

    store_le32((uint8_t *)out->s + at, MIN(head, (size_t)UINT32_MAX));
}

int frame_end(struct str *out, size_t at, uint32_t nfds)
{
    uint8_t *prefix = (uint8_t *)out->s + at;
    size_t head = load_le32(prefix);

    return frame_prefix(prefix, head, out->len - at - FRAME_PREFIX_BYTES - head, nfds);
}
