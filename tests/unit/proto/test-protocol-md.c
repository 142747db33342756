/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* PROTOCOL.md against the code: its hex frames are what the codec writes, and read back to the same bytes;
 * every message and every field of messages.tbl has a word there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/frame.h"
#include "proto/msg.h"
#include "proto/wire.h"

static char *text; /* PROTOCOL.md */

static const struct msg_attr file_attr = {
    .ino = 42, .mode = S_IFREG | 0644, .nlink = 1, .uid = 1000, .gid = 1000, .size = 5, .blocks = 1,
    .atime_ns = 1700000000000000000, .mtime_ns = 1700000000000000000,
    .ctime_ns = 1700000000000000000};

static void build_hello_req(struct str *out)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;

    msg_pack_hello_req(&fields, &(struct msg_hello_req){
        .version_min = 1, .version_max = 1, .program = msg_str_of("hafiz-mount 0.1.0")});
    msg_request_pack(out, 1, MSG_HELLO, &fields, 0);
}

static void build_hello_rep(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REPLY, 1, MSG_HELLO);
    msg_pack_hello_rep(out, &(struct msg_hello_rep){
        .version = 1, .program = msg_str_of("s3proxyd 0.1.0"), .private_backend = 1,
        .backend_uid = 1000, .backend_instance = 0x1122334455667788});
}

static void build_lookup_req(struct str *out)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;

    msg_pack_lookup_req(&fields, &(struct msg_lookup_req){
        .parent = 7, .name = msg_str_of("hello.txt")});
    msg_request_pack(out, 0x10000, MSG_LOOKUP, &fields, 300);
}

static void build_lookup_rep(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REPLY, 0x10000, MSG_LOOKUP);
    msg_pack_lookup_rep(out, &(struct msg_lookup_rep){
        .attr = file_attr, .attr_ttl_ms = 30000, .entry_ttl_ms = 30000, .stamp = 9});
}

static void build_lookup_error(struct str *out)
{
    msg_head_pack(out, MSG_KIND_ERROR, 0x10001, MSG_LOOKUP);
    msg_error_pack(out, -EACCES, "bucket says no");
}

static void build_open_rep(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REPLY, 0x10002, MSG_OPEN);
    msg_pack_open_rep(out, &(struct msg_open_rep){
        .cached = 1, .size = 5, .keep_cache = 1, .etag = msg_str_of("\"5d41402a\"")});
}

static void build_open_bytes_rep(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REPLY, 0x10002, MSG_OPEN);
    msg_pack_open_rep(out, &(struct msg_open_rep){
        .size = 5, .keep_cache = 1, .etag = msg_str_of("\"5d41402a\""), .inline_data = 1,
        .stamp = 9});
}

static void build_read_rep(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REPLY, 0x10003, MSG_READ);
    msg_pack_read_rep(out, &(struct msg_read_rep){.inline_data = 1});
}

static void build_cancel(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REQUEST, 0, MSG_CANCEL);
    msg_pack_cancel_req(out, &(struct msg_cancel_req){.call = 0x10003});
}

static void build_invalidate(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REQUEST, 0, MSG_INVALIDATE);
    msg_pack_invalidate_req(out, &(struct msg_invalidate_req){
        .what = 2, .ino = 7, .name = msg_str_of("hello.txt"), .stamp = 10});
}

static void build_readdir_rep(struct str *out)
{
    msg_head_pack(out, MSG_KIND_REPLY, 0x10004, MSG_READDIR);
    msg_pack_readdir_rep(out, &(struct msg_readdir_rep){
        .count = 1, .attr_ttl_ms = 30000, .entry_ttl_ms = 30000, .stamp = 10});
}

static void payload_hello(struct str *out)
{
    str_add(out, "hello");
}

static void payload_dirent(struct str *out)
{
    msg_dirent_pack(out, &(struct msg_dirent){
        .cookie = 1, .attr = file_attr, .name = msg_str_of("hello.txt")});
}

static const struct example {
    const char *title;
    void (*head)(struct str *out);
    void (*payload)(struct str *out);
    uint32_t nfds;
} examples[] = {
    {"HELLO request", build_hello_req, NULL, 0},
    {"HELLO reply", build_hello_rep, NULL, 0},
    {"LOOKUP request", build_lookup_req, NULL, 0},
    {"LOOKUP reply", build_lookup_rep, NULL, 0},
    {"LOOKUP error", build_lookup_error, NULL, 0},
    {"OPEN reply", build_open_rep, NULL, 2},
    {"OPEN reply with bytes", build_open_bytes_rep, payload_hello, 0},
    {"READ reply", build_read_rep, payload_hello, 0},
    {"READDIR reply", build_readdir_rep, payload_dirent, 0},
    {"CANCEL request", build_cancel, NULL, 0},
    {"INVALIDATE request", build_invalidate, NULL, 0},
};

static void build(const struct example *e, struct str *out)
{
    size_t at = frame_begin(out);

    assert_int_not_equal(at, SIZE_MAX);
    e->head(out);
    frame_end_head(out, at);
    if (e->payload)
        e->payload(out);
    assert_int_equal(frame_end(out, at, e->nfds), 0);
}

/* The bytes of the block ```hex TITLE; what follows a # on a line is a comment. */
static void read_block(const char *title, struct str *out)
{
    _cleanup_(freep) char *fence = str_dup_printf("```hex %s\n", title);
    const char *p = strstr(text, fence), *end;

    if (!p)
        fail_msg("PROTOCOL.md has no block: hex %s", title);
    p += strlen(fence);
    end = strstr(p, "```");
    assert_non_null(end);
    while (p < end) {
        char pair[3] = {p[0], p[1], '\0'};
        uint64_t v;
        uint8_t byte;

        if (*p == '#') {
            p += strcspn(p, "\n");
        } else if (*p == ' ' || *p == '\n') {
            p++;
        } else {
            assert_int_equal(str_to_u64(pair, 16, &v), 0);
            byte = (uint8_t)v;
            assert_int_equal(str_addn(out, &byte, 1), 0);
            p += 2;
        }
    }
}

static void print_block(const char *title, const struct str *b)
{
    fprintf(stderr, "%s should be:", title);
    for (size_t i = 0; i < b->len; i++)
        fprintf(stderr, "%s%02x", i % 16 ? " " : "\n", (uint8_t)b->s[i]);
    fprintf(stderr, "\n");
}

static void test_examples_are_what_we_write(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        _cleanup_(str_fini) struct str ours = STR_NULL, doc = STR_NULL;

        build(&examples[i], &ours);
        if (getenv("PRINT_EXAMPLES"))
            print_block(examples[i].title, &ours);
        read_block(examples[i].title, &doc);
        if (doc.len != ours.len || memcmp(doc.s, ours.s, doc.len) != 0) {
            print_block(examples[i].title, &ours);
            fail_msg("example differs: %s", examples[i].title);
        }
    }
}

static void test_every_block_is_known(void **state)
{
    size_t count = 0;

    (void)state;
    for (const char *p = text; (p = strstr(p, "```hex ")); p++)
        count++;
    assert_int_equal(count, ARRAY_SIZE(examples));
}

static void repack(const struct frame *f, struct str *out)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;
    bool five = ((const uint8_t *)f->data)[0] == 0x95;
    struct msg_head head;

    assert_int_equal(msg_head_unpack(f->data, f->head_len, &head), 0);
    if (!five)
        msg_head_pack(out, head.kind, head.id, head.method);
    if (head.kind == MSG_KIND_ERROR) {
        struct msg_str why;
        int error;
        assert_int_equal(msg_error_unpack(head.fields, head.fields_len, &error, &why), 0);
        _cleanup_(freep) char *copy = msg_str_dup(why);
        msg_error_pack(out, error, copy);
    } else {
        const struct msg_layout *l = msg_layout(head.method, head.kind == MSG_KIND_REPLY);
        _cleanup_(freep) void *m = malloc(l->struct_bytes + 1);
        assert_non_null(m);
        assert_int_equal(msg_unpack(head.fields, head.fields_len, l, m), 0);
        assert_int_equal(msg_pack(five ? &fields : out, l, m), 0);
    }
    if (five)
        assert_int_equal(msg_request_pack(out, head.id, head.method, &fields, head.seq), 0);
}

static void test_examples_read_back_to_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        _cleanup_(str_fini) struct str doc = STR_NULL, again = STR_NULL;
        struct frame_parser parser = FRAME_PARSER_NULL;
        struct frame f;
        size_t used, at;

        read_block(examples[i].title, &doc);
        assert_int_equal(frame_parse(&parser, doc.s, doc.len, &used, &f), 1);
        assert_int_equal(used, doc.len);
        assert_int_equal(f.nfds, examples[i].nfds);
        at = frame_begin(&again);
        repack(&f, &again);
        frame_end_head(&again, at);
        str_addn(&again, frame_payload(&f), f.payload_len);
        assert_int_equal(frame_end(&again, at, f.nfds), 0);
        assert_int_equal(again.len, doc.len);
        assert_memory_equal(again.s, doc.s, doc.len);
        frame_fini(&f);
    }
}

static void test_dirent_of_the_example_reads_back(void **state)
{
    _cleanup_(str_fini) struct str payload = STR_NULL;
    struct wire_reader r;
    struct msg_dirent e;

    (void)state;
    payload_dirent(&payload);
    r = (struct wire_reader){(uint8_t *)payload.s, (uint8_t *)payload.s + payload.len};
    assert_int_equal(msg_dirent_unpack(&r, &e), 0);
    assert_ptr_equal(r.p, r.end);
    assert_int_equal(e.cookie, 1);
    assert_memory_equal(&e.attr, &file_attr, sizeof(file_attr));
    assert_int_equal(e.name.len, 9);
}

/* The paragraph "**NAME** (id, phase, replay...)" up to the next one. */
static char *paragraph_of(const struct msg_info *info)
{
    static const char *const phases[] = {"hello", "idle", "session", "push"};
    static const char *const replays[] = {"replay-safe", "not replayed", "one-way"};
    _cleanup_(freep) char *mark =
        str_dup_printf("\n**%s** (%u, %s, %s)", info->name, (unsigned)info->method,
                       phases[info->phase], replays[info->replay]);
    const char *p = strstr(text, mark), *end, *section;

    if (!p)
        fail_msg("PROTOCOL.md has no line: %s", mark + 1);
    end = strstr(p + strlen(mark), "\n**");
    section = strstr(p, "\n## ");
    if (!end || (section && section < end))
        end = section;
    return end ? strndup(p, (size_t)(end - p)) : strdup(p);
}

static void test_every_message_and_field_is_named(void **state)
{
    (void)state;
    for (uint64_t id = 0; id < 65536; id++) {
        const struct msg_info *info = msg_info(id);
        if (!info)
            continue;
        _cleanup_(freep) char *paragraph = paragraph_of(info);
        for (int rep = 0; rep < 2; rep++) {
            const struct msg_layout *l = msg_layout(id, rep);
            for (size_t i = 0; i < l->count; i++) {
                _cleanup_(freep) char *word = str_dup_printf("`%s`", l->fields[i].name);
                if (!strstr(paragraph, word))
                    fail_msg("PROTOCOL.md: %s does not name %s", info->name, word);
            }
        }
    }
}

static void test_every_errno_is_named(void **state)
{
    static const char *const names[] = {
#define ERR(name, number) #name,
#include "proto/errno.tbl"
#undef ERR
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (!strstr(text, names[i]))
            fail_msg("PROTOCOL.md does not name %s", names[i]);
}

static int load(void **state)
{
    FILE *f = fopen(PROTOCOL_MD, "r");
    static char buf[256 * 1024];
    size_t n;

    (void)state;
    if (!f)
        return -1;
    n = fread(buf, 1, sizeof(buf) - 1, f);
    buf[n] = '\0';
    text = buf;
    return fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_are_what_we_write),
        cmocka_unit_test(test_every_block_is_known),
        cmocka_unit_test(test_examples_read_back_to_the_same_bytes),
        cmocka_unit_test(test_dirent_of_the_example_reads_back),
        cmocka_unit_test(test_every_message_and_field_is_named),
        cmocka_unit_test(test_every_errno_is_named),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
