/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A frame's head: what unpacks keeps its limits and packs to something that unpacks to the same. Its fields
 * are also tried as those of every other message, and the input as a page of directory entries. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/msg.h"
#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STRUCT_MAX 1024

static void check_fields(const uint8_t *fields, size_t len, const struct msg_layout *l)
{
    _Alignas(uint64_t) char m[STRUCT_MAX];
    struct str once = STR_NULL, twice = STR_NULL;

    must(l->struct_bytes <= sizeof(m));
    if (msg_unpack(fields, len, l, m) < 0)
        return;
    for (size_t i = 0; i < l->count; i++) {
        const struct msg_field *f = &l->fields[i];
        const struct msg_str *s = (const void *)(m + f->offset);
        if (f->type == MSG_TYPE_STR || f->type == MSG_TYPE_BIN)
            must(s->len <= f->limit &&
                 (s->len == 0 || ((const uint8_t *)s->s >= fields &&
                                  (const uint8_t *)s->s + s->len <= fields + len)));
    }
    must(msg_pack(&once, l, m) == 0);
    must(msg_unpack(once.s, once.len, l, m) == 0);
    must(msg_pack(&twice, l, m) == 0);
    must(once.len == twice.len && memcmp(once.s, twice.s, once.len) == 0);
    str_fini(&once);
    str_fini(&twice);
}

static void check_dirents(const uint8_t *data, size_t size)
{
    struct wire_reader r = {data, data + size};
    struct msg_dirent e;

    while (msg_dirent_unpack(&r, &e) == 0) {
        struct str out = STR_NULL;
        must(e.name.len > 0 && e.name.len <= PROTO_NAME_MAX_BYTES && e.attr.size <= INT64_MAX);
        must(msg_dirent_pack(&out, &e) == 0);
        str_fini(&out);
    }
    must(r.p <= r.end);
}

/* Whatever forms its integers came in: packed again, the head says the same. */
static void check_seq(const struct msg_head *head)
{
    const struct str fields = {(char *)head->fields, head->fields_len, 0};
    struct str out = STR_NULL;
    struct msg_head again;

    must(msg_request_pack(&out, head->id, head->method, &fields, head->seq) == 0);
    must(msg_head_unpack(out.s, out.len, &again) == 0);
    must(again.id == head->id && again.method == head->method && again.seq == head->seq);
    must(again.fields_len == head->fields_len &&
         memcmp(again.fields, head->fields, head->fields_len) == 0);
    str_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct msg_head head;
    struct msg_str text;
    int error;

    check_dirents(data, size);
    if (msg_head_unpack(data, size, &head) < 0)
        return 0;
    must(head.kind <= MSG_KIND_ERROR && head.id <= UINT32_MAX);
    must(head.fields >= data && head.fields_len >= 1 && head.fields_len <= size);
    must(head.fields + head.fields_len <= data + size);
    must(head.kind == MSG_KIND_REQUEST || head.fields + head.fields_len == data + size);
    must(head.kind == MSG_KIND_REQUEST || head.seq == 0);
    check_seq(&head);
    if (msg_error_unpack(head.fields, head.fields_len, &error, &text) == 0)
        must(msg_errno_known(error) && text.len <= PROTO_TEXT_MAX_BYTES);
    for (uint64_t id = 0; id < 64; id++) {
        if (!msg_info(id))
            continue;
        check_fields(head.fields, head.fields_len, msg_layout(id, false));
        check_fields(head.fields, head.fields_len, msg_layout(id, true));
    }
    return 0;
}
