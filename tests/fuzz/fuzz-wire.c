/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Whatever wire_check() lets through can be read to its end by the getters, member by member, and written
 * again; and no getter ever passes the end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/limits.h"
#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One value by whichever getter takes it; what none takes is skipped. Copies it to out. */
static void walk(struct wire_reader *r, unsigned depth, struct str *out)
{
    const uint8_t *before = r->p;
    const void *bytes;
    const char *s;
    size_t len;
    uint64_t u;
    int64_t i;
    uint32_t count;

    must(depth <= PROTO_DEPTH_MAX);
    if (wire_get_u64(r, &u) == 0) {
        must(wire_put_u64(out, u) == 0);
    } else if (wire_get_i64(r, &i) == 0) {
        must(i < 0 && wire_put_i64(out, i) == 0);
    } else if (wire_get_str(r, &s, &len) == 0) {
        must((const uint8_t *)s + len == r->p && wire_put_str(out, s, len) == 0);
    } else if (wire_get_bin(r, &bytes, &len) == 0) {
        must((const uint8_t *)bytes + len == r->p && wire_put_bin(out, bytes, len) == 0);
    } else if (wire_get_array(r, &count) == 0) {
        must(wire_put_array(out, count) == 0);
        for (; count > 0; count--)
            walk(r, depth + 1, out);
    } else if (wire_get_map(r, &count) == 0) {
        must(wire_put_map(out, count) == 0);
        for (; count > 0; count--) {
            walk(r, depth + 1, out);
            walk(r, depth + 1, out);
        }
    } else {
        must(wire_skip(r, 0) == 0); /* nil, true, false, floats */
        must(wire_put_u64(out, 0) == 0);
    }
    must(r->p > before && r->p <= r->end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_reader r = {data, data + size};
    struct str out = STR_NULL;
    int ok = wire_check(data, size, PROTO_DEPTH_MAX);

    must(wire_skip(&r, PROTO_DEPTH_MAX) < 0 || r.p <= data + size);
    if (ok == 0) {
        r.p = data;
        walk(&r, 0, &out);
        must(r.p == r.end);
        must(wire_check(out.s, out.len, PROTO_DEPTH_MAX) == 0);
    }
    str_fini(&out);
    return 0;
}
