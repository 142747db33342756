/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Frames without I/O: bytes in, frames out. A frame is
 *     u32 head_len | u32 payload_len | u32 fds       (little-endian)
 *     head_len bytes of msgpack | payload_len raw bytes
 * The bounds of limits.h are checked on the 12 bytes, before anything is allocated. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/str.h"

#define FRAME_PREFIX_BYTES 12u

struct frame {
    uint8_t *data; /* head, then payload; owned */
    uint32_t head_len, payload_len, nfds;
};
static inline const uint8_t *frame_payload(const struct frame *f)
{
    return f->data + f->head_len;
}

struct frame_parser {
    uint8_t prefix[FRAME_PREFIX_BYTES];
    uint32_t prefix_got;
    struct frame frame; /* the one being filled */
    size_t got;
};
#define FRAME_PARSER_NULL ((struct frame_parser){0})

void frame_fini(struct frame *f);
void frame_parser_fini(struct frame_parser *p);
/* Eats bytes of data up to the end of one frame; *ret_used says how many. 1: *ret_frame is complete and
 * the caller's; 0: wants more; -EPROTO: bounds broken; -ENOMEM. */
int frame_parse(struct frame_parser *p, const void *data, size_t len, size_t *ret_used,
                struct frame *ret_frame);
/* For large frames: where the rest of the one being filled belongs (0: none is), to receive straight into
 * it; and that n bytes were put there. */
size_t frame_parser_room(struct frame_parser *p, void **ret_at);
int frame_parser_filled(struct frame_parser *p, size_t n, struct frame *ret_frame); /* as frame_parse() */
static inline bool frame_parser_idle(const struct frame_parser *p) /* between two frames */
{
    return p->prefix_got == 0;
}
/* The twelve bytes. 0 | -EMSGSIZE */
int frame_prefix(uint8_t out[FRAME_PREFIX_BYTES], size_t head_len, size_t payload_len,
                 unsigned nfds);

/* Begin a frame in out and finish it once the head (and payload, raw) were appended to it. */
size_t frame_begin(struct str *out);                     /* position of the prefix, SIZE_MAX: no memory */
void frame_end_head(struct str *out, size_t at);         /* all appended so far is the head */
int frame_end(struct str *out, size_t at, uint32_t nfds); /* 0 | -EMSGSIZE */
