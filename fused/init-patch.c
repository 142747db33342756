/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The layouts are FUSE 7.40's (kernel 6.9); longer messages of later ones are left alone. */
#include "fused/init-patch.h"

#include <string.h>

#define OP_INIT 26u
#define PARALLEL_DIROPS (1ull << 18)
#define INIT_EXT (1ull << 30)        /* flags2 counts */
#define WRITEBACK_CACHE (1ull << 16) /* with it the kernel would silently pass nothing */
#define PASSTHROUGH (1ull << 37)
#define STACK_DEPTH 1u /* of cache files: not on an overlayfs, but the mount may be below one */

struct in_header {
    uint32_t len, opcode;
    uint64_t unique, nodeid;
    uint32_t uid, gid, pid, padding;
};
struct init_in { /* as far as flags2 */
    uint32_t major, minor, max_readahead, flags, flags2;
};
struct out_header {
    uint32_t len;
    int32_t error;
    uint64_t unique;
};
struct init_out {
    uint32_t major, minor, max_readahead, flags;
    uint16_t max_background, congestion_threshold;
    uint32_t max_write, time_gran;
    uint16_t max_pages, map_alignment;
    uint32_t flags2, max_stack_depth, unused[6];
};
_Static_assert(sizeof(struct in_header) == 40 && sizeof(struct out_header) == 16 &&
                   sizeof(struct init_out) == INIT_PATCH_REPLY_BYTES,
               "as the kernel has them");

bool init_patch_request(struct init_patch *p, const void *request, size_t len)
{
    struct in_header head;
    struct init_in in;

    if (len < sizeof(head) + sizeof(in))
        return false;
    memcpy(&head, request, sizeof(head));
    memcpy(&in, (const char *)request + sizeof(head), sizeof(in));
    if (head.opcode != OP_INIT || head.len != len || head.unique == 0 || in.major != 7)
        return false;
    p->unique = head.unique;
    p->offered = in.flags;
    if (in.flags & INIT_EXT)
        p->offered |= (uint64_t)in.flags2 << 32;
    return true;
}

bool init_patch_reply(struct init_patch *p, const void *head, size_t head_len, void *body,
                      size_t body_len)
{
    struct out_header h;
    struct init_out out;

    if (p->unique == 0 || head_len != sizeof(h) || body_len != sizeof(out))
        return false;
    memcpy(&h, head, sizeof(h));
    memcpy(&out, body, sizeof(out));
    if (h.unique != p->unique || h.error != 0 || out.major != 7)
        return false;
    p->unique = 0;
    out.flags |= (uint32_t)(p->offered & PARALLEL_DIROPS);
    if (p->pass && p->offered & PASSTHROUGH && !(out.flags & WRITEBACK_CACHE)) {
        out.flags |= (uint32_t)INIT_EXT;
        out.flags2 |= (uint32_t)(PASSTHROUGH >> 32);
        out.max_stack_depth = STACK_DEPTH;
        p->agreed = true;
    }
    memcpy(body, &out, sizeof(out));
    return true;
}
