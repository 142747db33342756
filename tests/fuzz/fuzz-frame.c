/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Any stream, cut in any way: the same frames come out of it, within the limits. The first byte of an input
 * chooses the cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/base/table.h"
#include "proto/frame.h"
#include "proto/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct frame *f, uint64_t *sum)
{
    must(f->head_len > 0 && f->head_len <= PROTO_HEAD_MAX_BYTES);
    must(f->payload_len <= PROTO_PAYLOAD_MAX_BYTES && f->nfds <= PROTO_FDS_MAX);
    *sum = table_hash_u64(*sum + f->head_len * 7u + f->payload_len * 3u + f->nfds) +
           table_hash_bytes(f->data, f->head_len + (size_t)f->payload_len);
}

/* A hash over all frames, and how the stream ended. */
static uint64_t parse(const uint8_t *data, size_t size, size_t step, bool use_room)
{
    struct frame_parser p = FRAME_PARSER_NULL;
    uint64_t sum = 0;
    int r = 0;

    while (size > 0 && r >= 0) {
        size_t n = MIN(step, size), used = n;
        struct frame f;
        void *at;
        size_t room = use_room ? frame_parser_room(&p, &at) : 0;

        if (room > 0) {
            used = MIN(n, room);
            memcpy(at, data, used);
            r = frame_parser_filled(&p, used, &f);
        } else {
            r = frame_parse(&p, data, n, &used, &f);
        }
        must(used <= n && (used > 0 || r < 0));
        data += used;
        size -= used;
        if (r == 1) {
            check(&f, &sum);
            frame_fini(&f);
        }
    }
    sum += (uint64_t)(r < 0) + 2 * (uint64_t)frame_parser_idle(&p);
    frame_parser_fini(&p);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step;
    uint64_t whole;

    if (size < 1)
        return 0;
    step = 1 + data[0];
    data++;
    size--;
    whole = parse(data, size, size + 1, false);
    must(whole == parse(data, size, step, false));
    must(whole == parse(data, size, step, true));
    return 0;
}
