/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* messages.tbl expanded into tables of fields, and one codec that walks them: a message is added by adding
 * its row, and no message can forget a bound. */
#include "proto/msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/wire.h"

/* A function per message, because offsetof() needs a type that the field macro can name. */
#define FIELD_ROW(TYPE, number, fname, limit)                                                      \
    {#fname, MSG_TYPE_##TYPE, number, offsetof(this_msg, fname), limit},
#define LAYOUT(name, side, FIELDS)                                                                 \
    static const struct msg_layout *layout_##name##_##side(void)                                   \
    {                                                                                              \
        typedef struct msg_##name##_##side this_msg;                                               \
        static const struct msg_field fields[] = {FIELDS(FIELD_ROW){0}};                           \
        static const struct msg_layout layout = {fields, ARRAY_SIZE(fields) - 1,                   \
                                                 sizeof(this_msg)};                                \
        return &layout;                                                                            \
    }
#define LAYOUTS(NAME, name, id, phase, replay, payload)                                            \
    LAYOUT(name, req, MSG_##NAME##_REQ)                                                            \
    LAYOUT(name, rep, MSG_##NAME##_REP)
MSG_TABLE(LAYOUTS)

#define CODEC(name, side)                                                                          \
    int msg_pack_##name##_##side(struct str *out, const struct msg_##name##_##side *m)             \
    {                                                                                              \
        return msg_pack(out, layout_##name##_##side(), m);                                         \
    }                                                                                              \
    int msg_unpack_##name##_##side(const void *fields, size_t len,                                 \
                                   struct msg_##name##_##side *ret)                                \
    {                                                                                              \
        return msg_unpack(fields, len, layout_##name##_##side(), ret);                             \
    }
#define CODECS(NAME, name, id, phase, replay, payload) CODEC(name, req) CODEC(name, rep)
MSG_TABLE(CODECS)

const struct msg_layout *msg_layout(uint64_t method, bool rep)
{
    switch (method) {
#define LAYOUT_CASE(NAME, name, id, phase, replay, payload)                                        \
    case id:                                                                                       \
        return rep ? layout_##name##_rep() : layout_##name##_req();
        MSG_TABLE(LAYOUT_CASE)
    }
    return NULL;
}

const struct msg_info *msg_info(uint64_t method)
{
    switch (method) {
#define INFO_CASE(NAME, name, id, phase, replay, payload)                                          \
    case id: {                                                                                     \
        static const struct msg_info info = {#NAME, MSG_##NAME, MSG_PHASE_##phase,                 \
                                             MSG_REPLAY_##replay, MSG_PAYLOAD_##payload};          \
        return &info;                                                                              \
    }
        MSG_TABLE(INFO_CASE)
    }
    return NULL;
}

/* The 12 members of struct msg_attr are read and written as one array of 64-bit integers. */
#define ATTR_INTS 12u
_Static_assert(sizeof(struct msg_attr) == ATTR_INTS * sizeof(uint64_t), "12 integers");
#define ATTR_AT(member) (offsetof(struct msg_attr, member) / sizeof(uint64_t))

static const struct {
    uint64_t max;
    bool is_signed;
} attr_rules[ATTR_INTS] = {
    [ATTR_AT(ino)] = {UINT64_MAX, false},
    [ATTR_AT(generation)] = {UINT64_MAX, false},
    [ATTR_AT(mode)] = {0177777, false},
    [ATTR_AT(nlink)] = {UINT32_MAX, false},
    [ATTR_AT(uid)] = {UINT32_MAX, false},
    [ATTR_AT(gid)] = {UINT32_MAX, false},
    [ATTR_AT(size)] = {INT64_MAX, false},
    [ATTR_AT(blocks)] = {INT64_MAX, false},
    [ATTR_AT(atime_ns)] = {0, true},
    [ATTR_AT(mtime_ns)] = {0, true},
    [ATTR_AT(ctime_ns)] = {0, true},
    [ATTR_AT(rdev)] = {UINT32_MAX, false},
};

static int attr_pack(struct str *out, const struct msg_attr *attr)
{
    uint64_t v[ATTR_INTS];
    int r = wire_put_array(out, ATTR_INTS);

    memcpy(v, attr, sizeof(v));
    for (size_t i = 0; i < ATTR_INTS && r == 0; i++) {
        if (attr_rules[i].is_signed)
            r = wire_put_i64(out, (int64_t)v[i]);
        else
            r = v[i] <= attr_rules[i].max ? wire_put_u64(out, v[i]) : -EINVAL;
    }
    return r;
}

static int attr_unpack(struct wire_reader *r, struct msg_attr *ret)
{
    uint64_t v[ATTR_INTS];
    uint32_t count;
    int err = wire_get_array(r, &count);

    if (err < 0)
        return err;
    if (count != ATTR_INTS)
        return -EPROTO;
    for (size_t i = 0; i < ATTR_INTS; i++) {
        int64_t s;
        err = attr_rules[i].is_signed ? wire_get_i64(r, &s) : wire_get_u64(r, &v[i]);
        if (err < 0)
            return err;
        if (attr_rules[i].is_signed)
            v[i] = (uint64_t)s;
        else if (v[i] > attr_rules[i].max)
            return -EPROTO;
    }
    memcpy(ret, v, sizeof(v));
    return 0;
}

/* Zero and empty fields stay at home. */
static bool field_absent(const struct msg_field *f, const void *at)
{
    static const struct msg_attr no_attr;

    switch (f->type) {
    case MSG_TYPE_U64:
    case MSG_TYPE_I64:
        return *(const uint64_t *)at == 0;
    case MSG_TYPE_STR:
    case MSG_TYPE_BIN:
        return ((const struct msg_str *)at)->len == 0;
    case MSG_TYPE_ATTR:
        return memcmp(at, &no_attr, sizeof(no_attr)) == 0;
    }
    return true;
}

static bool over_limit(const struct msg_field *f, uint64_t v)
{
    return f->limit != 0 && v > f->limit;
}

static int field_pack(struct str *out, const struct msg_field *f, const void *at)
{
    const struct msg_str *s = at;
    int r = wire_put_u64(out, f->number);

    if (r < 0)
        return r;
    switch (f->type) {
    case MSG_TYPE_U64:
        return over_limit(f, *(const uint64_t *)at) ? -EINVAL
                                                    : wire_put_u64(out, *(const uint64_t *)at);
    case MSG_TYPE_I64:
        return wire_put_i64(out, *(const int64_t *)at);
    case MSG_TYPE_STR:
        return over_limit(f, s->len) ? -EINVAL : wire_put_str(out, s->s, s->len);
    case MSG_TYPE_BIN:
        return over_limit(f, s->len) ? -EINVAL : wire_put_bin(out, s->s, s->len);
    case MSG_TYPE_ATTR:
        return attr_pack(out, at);
    }
    return -EINVAL;
}

static void take_back(struct str *out, size_t len)
{
    out->len = len;
    if (out->s)
        out->s[len] = '\0';
}

int msg_pack(struct str *out, const struct msg_layout *l, const void *m)
{
    size_t before = out->len;
    uint32_t count = 0;
    int r;

    for (size_t i = 0; i < l->count; i++)
        count += !field_absent(&l->fields[i], (const char *)m + l->fields[i].offset);
    r = wire_put_map(out, count);
    for (size_t i = 0; i < l->count && r == 0; i++) {
        const void *at = (const char *)m + l->fields[i].offset;
        if (!field_absent(&l->fields[i], at))
            r = field_pack(out, &l->fields[i], at);
    }
    if (r < 0)
        take_back(out, before);
    return r;
}

static int field_unpack(struct wire_reader *r, const struct msg_field *f, void *at)
{
    struct msg_str *s = at;
    const void *bytes;
    int err;

    switch (f->type) {
    case MSG_TYPE_U64:
        err = wire_get_u64(r, at);
        return err == 0 && over_limit(f, *(uint64_t *)at) ? -EPROTO : err;
    case MSG_TYPE_I64:
        return wire_get_i64(r, at);
    case MSG_TYPE_STR:
        err = wire_get_str(r, &s->s, &s->len);
        return err == 0 && over_limit(f, s->len) ? -EPROTO : err;
    case MSG_TYPE_BIN:
        err = wire_get_bin(r, &bytes, &s->len);
        if (err < 0)
            return err;
        s->s = bytes;
        return over_limit(f, s->len) ? -EPROTO : 0;
    case MSG_TYPE_ATTR:
        return attr_unpack(r, at);
    }
    return -EPROTO;
}

static const struct msg_field *field_find(const struct msg_layout *l, uint64_t number)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->fields[i].number == number)
            return &l->fields[i];
    return NULL;
}

int msg_unpack(const void *fields, size_t len, const struct msg_layout *l, void *ret)
{
    struct wire_reader r = {fields, (const uint8_t *)fields + len};
    uint64_t number, seen = 0;
    uint32_t count;
    int err;

    memset(ret, 0, l->struct_bytes);
    err = wire_get_map(&r, &count);
    if (err < 0)
        return err;
    if (count > PROTO_FIELDS_MAX)
        return -EPROTO;
    for (; count > 0; count--) {
        const struct msg_field *f;

        err = wire_get_u64(&r, &number);
        if (err < 0)
            return err;
        if (number < 64) { /* a field given twice has no meaning */
            if (seen >> number & 1)
                return -EPROTO;
            seen |= 1ULL << number;
        }
        f = field_find(l, number);
        err = f ? field_unpack(&r, f, (char *)ret + f->offset) : wire_skip(&r, PROTO_DEPTH_MAX);
        if (err < 0)
            return err;
    }
    return r.p == r.end ? 0 : -EPROTO;
}

int msg_head_unpack(const void *head, size_t len, struct msg_head *ret)
{
    struct wire_reader r = {head, (const uint8_t *)head + len};
    struct wire_reader fields;
    struct msg_head h = {0};
    uint32_t elements, count;
    int err = wire_check(head, len, PROTO_DEPTH_MAX);

    if (err < 0)
        return err;
    if (wire_get_array(&r, &elements) < 0 || elements < 4 || wire_get_u64(&r, &h.kind) < 0 ||
        wire_get_u64(&r, &h.id) < 0 || wire_get_u64(&r, &h.method) < 0)
        return -EPROTO;
    if (h.kind > MSG_KIND_ERROR || h.id > UINT32_MAX || h.method > UINT16_MAX ||
        elements > (h.kind == MSG_KIND_REQUEST ? 5u : 4u))
        return -EPROTO;
    fields = r;
    if (wire_get_map(&fields, &count) < 0 || count > PROTO_FIELDS_MAX)
        return -EPROTO;
    h.fields = r.p;
    err = wire_skip(&r, PROTO_DEPTH_MAX);
    if (err < 0)
        return err;
    h.fields_len = (size_t)(r.p - h.fields);
    if (elements == 5 && wire_get_u64(&r, &h.seq) < 0)
        return -EPROTO;
    *ret = h;
    return 0;
}

static int head_pack(struct str *out, uint32_t elements, uint64_t kind, uint64_t id,
                     uint64_t method)
{
    size_t before = out->len;

    if (wire_put_array(out, elements) < 0 || wire_put_u64(out, kind) < 0 ||
        wire_put_u64(out, id) < 0 || wire_put_u64(out, method) < 0) {
        take_back(out, before);
        return -ENOMEM;
    }
    return 0;
}

int msg_head_pack(struct str *out, uint64_t kind, uint64_t id, uint64_t method)
{
    return head_pack(out, 4, kind, id, method);
}

int msg_request_pack(struct str *out, uint64_t id, uint64_t method, const struct str *fields,
                     uint64_t seq)
{
    size_t before = out->len;

    if (head_pack(out, 5, MSG_KIND_REQUEST, id, method) < 0 ||
        str_addn(out, fields->s, fields->len) < 0 || wire_put_u64(out, seq) < 0) {
        take_back(out, before);
        return -ENOMEM;
    }
    return 0;
}

static const struct {
    int error;
    unsigned wire;
} errnos[] = {
#define ERR(name, number) {name, number},
#include "proto/errno.tbl"
#undef ERR
};

bool msg_errno_known(int error)
{
    for (size_t i = 0; i < ARRAY_SIZE(errnos); i++)
        if (errnos[i].error == -error)
            return true;
    return false;
}

/* An error's fields, packed like those of any message. */
struct error_fields {
    uint64_t number;
    struct msg_str text;
};
static const struct msg_field error_rows[] = {
    {"errno", MSG_TYPE_U64, 1, offsetof(struct error_fields, number), 65535},
    {"text", MSG_TYPE_STR, 2, offsetof(struct error_fields, text), PROTO_TEXT_MAX_BYTES},
};
static const struct msg_layout error_layout = {error_rows, ARRAY_SIZE(error_rows),
                                               sizeof(struct error_fields)};

int msg_error_pack(struct str *out, int error, const char *text)
{
    struct error_fields e = {0, msg_str_of(text)};

    if (!msg_errno_known(error)) {
        log_warn("proto", "bug: error %d may not cross the socket, sending EIO", error);
        error = -EIO;
    }
    for (size_t i = 0; i < ARRAY_SIZE(errnos); i++)
        if (errnos[i].error == -error)
            e.number = errnos[i].wire;
    if (e.text.len > PROTO_TEXT_MAX_BYTES) { /* cut before a character, not inside */
        e.text.len = PROTO_TEXT_MAX_BYTES;
        while (e.text.len > 0 && ((unsigned char)text[e.text.len] & 0xc0) == 0x80)
            e.text.len--;
    }
    return msg_pack(out, &error_layout, &e);
}

int msg_error_unpack(const void *fields, size_t len, int *ret_error, struct msg_str *ret_text)
{
    struct error_fields e;
    int r = msg_unpack(fields, len, &error_layout, &e);

    if (r < 0)
        return r;
    *ret_error = -EIO;
    *ret_text = e.text;
    for (size_t i = 0; i < ARRAY_SIZE(errnos); i++)
        if (errnos[i].wire == e.number)
            *ret_error = -errnos[i].error;
    return 0;
}

int msg_dirent_pack(struct str *out, const struct msg_dirent *e)
{
    size_t before = out->len;
    int r;

    if (e->name.len == 0 || e->name.len > PROTO_NAME_MAX_BYTES)
        return -EINVAL;
    r = wire_put_array(out, 3);
    if (r == 0)
        r = wire_put_u64(out, e->cookie);
    if (r == 0)
        r = attr_pack(out, &e->attr);
    if (r == 0)
        r = wire_put_str(out, e->name.s, e->name.len);
    if (r < 0)
        take_back(out, before);
    return r;
}

int msg_dirent_unpack(struct wire_reader *r, struct msg_dirent *ret)
{
    struct wire_reader at = *r;
    struct msg_dirent e;
    uint32_t count;

    if (wire_get_array(&at, &count) < 0 || count != 3 || wire_get_u64(&at, &e.cookie) < 0 ||
        attr_unpack(&at, &e.attr) < 0 || wire_get_str(&at, &e.name.s, &e.name.len) < 0)
        return -EPROTO;
    if (e.name.len == 0 || e.name.len > PROTO_NAME_MAX_BYTES)
        return -EPROTO;
    *r = at;
    *ret = e;
    return 0;
}

char *msg_str_dup(struct msg_str s)
{
    char *copy;

    if (s.len > 0 && memchr(s.s, '\0', s.len))
        return NULL;
    copy = malloc(s.len + 1);
    if (!copy)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.s, s.len);
    copy[s.len] = '\0';
    return copy;
}
