/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Messages as C structs, expanded from messages.tbl: struct msg_NAME_req / struct msg_NAME_rep, and for
 * each msg_pack_NAME_req/rep() and msg_unpack_NAME_req/rep(). Unpacked strings point into the frame and
 * live as long as it does; they are not NUL-terminated. Pure, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/str.h"
#include "proto/limits.h"
#include "proto/messages.tbl"

struct msg_str {
    const char *s;
    size_t len;
};

/* Attributes of an inode; on the wire an array of 12 integers in this order. Times in ns since 1970. */
struct msg_attr {
    uint64_t ino, generation;
    uint64_t mode; /* type and permission bits, as st_mode */
    uint64_t nlink, uid, gid, size;
    uint64_t blocks; /* of 512 bytes */
    int64_t atime_ns, mtime_ns, ctime_ns;
    uint64_t rdev;
};

#define SETATTR_MODE 1u
#define SETATTR_UID 2u
#define SETATTR_GID 4u
#define SETATTR_SIZE 8u
#define SETATTR_ATIME 16u
#define SETATTR_MTIME 32u
#define SETATTR_ATIME_NOW 64u
#define SETATTR_MTIME_NOW 128u

/* Bytes an entry takes in the kernel's READDIR / READDIRPLUS buffer (fuse_dirent, fuse_direntplus). */
#define MSG_DIRENT_BYTES(namelen) ((24u + (namelen) + 7u) & ~7u)
#define MSG_DIRENTPLUS_BYTES(namelen) ((152u + (namelen) + 7u) & ~7u)

enum msg_kind { MSG_KIND_REQUEST = 0, MSG_KIND_REPLY = 1, MSG_KIND_ERROR = 2 };
enum msg_phase { MSG_PHASE_HELLO, MSG_PHASE_IDLE, MSG_PHASE_SESSION, MSG_PHASE_PUSH };
enum msg_replay { MSG_REPLAY_YES, MSG_REPLAY_NO, MSG_REPLAY_ONEWAY };
enum msg_payload { MSG_PAYLOAD_NONE, MSG_PAYLOAD_REQ, MSG_PAYLOAD_REP };

#define MSG_ENUM_(NAME, name, id, phase, replay, payload) MSG_##NAME = id,
enum msg_method { MSG_TABLE(MSG_ENUM_) };
#undef MSG_ENUM_

struct msg_info {
    const char *name;
    enum msg_method method;
    enum msg_phase phase;
    enum msg_replay replay;
    enum msg_payload payload;
};
const struct msg_info *msg_info(uint64_t method); /* NULL: no such method */

/* The fields of a request or a reply, for code that walks them: the codec itself, tests, fuzzers. */
enum msg_type { MSG_TYPE_U64, MSG_TYPE_I64, MSG_TYPE_STR, MSG_TYPE_BIN, MSG_TYPE_ATTR };
struct msg_field {
    const char *name;
    enum msg_type type;
    unsigned number;
    size_t offset; /* in the struct */
    uint64_t limit;
};
struct msg_layout {
    const struct msg_field *fields;
    size_t count, struct_bytes;
};
const struct msg_layout *msg_layout(uint64_t method, bool rep); /* NULL: no such method */
int msg_pack(struct str *out, const struct msg_layout *l, const void *m);
int msg_unpack(const void *fields, size_t len, const struct msg_layout *l, void *ret);

#define MSG_FIELD_U64_(name) uint64_t name;
#define MSG_FIELD_I64_(name) int64_t name;
#define MSG_FIELD_STR_(name) struct msg_str name;
#define MSG_FIELD_BIN_(name) struct msg_str name;
#define MSG_FIELD_ATTR_(name) struct msg_attr name;
#define MSG_FIELD_(TYPE, number, name, limit) MSG_FIELD_##TYPE##_(name)
#define MSG_STRUCTS_(NAME, name, id, phase, replay, payload)                                       \
    struct msg_##name##_req {                                                                      \
        MSG_##NAME##_REQ(MSG_FIELD_) char unused_[0];                                              \
    };                                                                                             \
    struct msg_##name##_rep {                                                                      \
        MSG_##NAME##_REP(MSG_FIELD_) char unused_[0];                                              \
    };                                                                                             \
    /* Append the fields map to out. 0 | -ENOMEM | -EINVAL (a field exceeds its limit: our bug) */ \
    int msg_pack_##name##_req(struct str *out, const struct msg_##name##_req *m);                  \
    int msg_pack_##name##_rep(struct str *out, const struct msg_##name##_rep *m);                  \
    /* From a checked fields map; limits enforced. 0 | -EPROTO */                                  \
    int msg_unpack_##name##_req(const void *fields, size_t len, struct msg_##name##_req *ret);     \
    int msg_unpack_##name##_rep(const void *fields, size_t len, struct msg_##name##_rep *ret);
MSG_TABLE(MSG_STRUCTS_)
#undef MSG_STRUCTS_

/* A frame's head: [kind, id, method, {fields}]. For errors fields is {1: errno, 2: text}. Requests may have
 * a fifth element, the operation sequence: (instance, seq) names an operation however often it is sent. */
struct msg_head {
    uint64_t kind, id, method;
    uint64_t seq;          /* 0: none, and always so in replies and errors */
    const uint8_t *fields; /* points into the head's bytes */
    size_t fields_len;
};
/* Checks depth, counts and the elements; the fields map itself is only walked. 0 | -EPROTO */
int msg_head_unpack(const void *head, size_t len, struct msg_head *ret);
/* The start of a head of four elements; the caller appends the fields. 0 | -ENOMEM */
int msg_head_pack(struct str *out, uint64_t kind, uint64_t id, uint64_t method);
/* A whole head of five, of a request; fields is the packed map. 0 | -ENOMEM */
int msg_request_pack(struct str *out, uint64_t id, uint64_t method, const struct str *fields,
                     uint64_t seq);

int msg_error_pack(struct str *out, int error, const char *text); /* error: -errno */
/* *ret_error is a negative errno of errno.tbl, -EIO for any other number. */
int msg_error_unpack(const void *fields, size_t len, int *ret_error, struct msg_str *ret_text);
bool msg_errno_known(int error); /* is -error a row of errno.tbl */

/* One READDIR entry of a payload. */
struct msg_dirent {
    uint64_t cookie; /* pass it to continue after this entry */
    struct msg_attr attr;
    struct msg_str name;
};
struct wire_reader;
int msg_dirent_pack(struct str *out, const struct msg_dirent *e);
int msg_dirent_unpack(struct wire_reader *r, struct msg_dirent *ret); /* 0 | -EPROTO */

static inline struct msg_str msg_str_of(const char *s)
{
    return (struct msg_str){s, s ? __builtin_strlen(s) : 0};
}
char *msg_str_dup(struct msg_str s); /* NUL-terminated copy; NULL: no memory or a NUL inside */
