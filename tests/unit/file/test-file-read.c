/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* GET: ranges land where the sink says, with the checksums of whole blocks, and never mix
 * versions. */
#include "tests/unit/file/rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "proto/limits.h"
#include "s3proxyd/aws/digest.h"

#define SIZE (5u * BLOCK_BYTES + 1234)
#define BLOCKS 6

static unsigned char content[SIZE];

static void put_content(struct rig *rig, const char *key)
{
    struct store_req req = {.op = STORE_PUT, .key = key, .length = SIZE};

    for (size_t i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 2654435761u >> 13);
    req.body.fd = -1;
    req.body.memory = content;
    assert_int_equal(rig_run(rig, &req), 0);
    store_req_fini(&req);
}

static void get_range(struct rig *rig, uint64_t offset, uint64_t length, uint32_t *crcs)
{
    struct store_req req = {.op = STORE_GET, .key = "k", .offset = offset, .length = length};
    uint64_t end = MIN(offset + length, (uint64_t)SIZE);
    unsigned char *got = calloc(1, SIZE);
    size_t n;

    req.sink = (struct store_sink){.fd = memfd_create("sink", MFD_CLOEXEC),
                                   .fd_offset = offset,
                                   .object_size = SIZE,
                                   .block_crcs = crcs};
    assert_int_equal(rig_run(rig, &req), 0);
    assert_int_equal(req.got, end > offset ? end - offset : 0);
    assert_int_equal(fd_pread_full(req.sink.fd, got, SIZE, 0, &n), 0);
    if (req.got > 0) {
        assert_int_equal(n, end);
        assert_memory_equal(got + offset, content + offset, end - offset);
    }
    close(req.sink.fd);
    free(got);
    store_req_fini(&req);
}

static uint32_t crc_of(unsigned block)
{
    size_t from = (size_t)block * BLOCK_BYTES;

    return digest_crc32c(0, content + from, MIN((size_t)BLOCK_BYTES, SIZE - from));
}

static void test_whole_object_with_checksums(void **state)
{
    struct rig *rig = *state;
    uint32_t crcs[BLOCKS] = {0};

    put_content(rig, "k");
    get_range(rig, 0, SIZE, crcs);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_int_equal(crcs[i], crc_of(i));
}

static void test_ranges_give_checksums_of_whole_blocks_only(void **state)
{
    struct rig *rig = *state;
    uint32_t crcs[BLOCKS] = {0};

    put_content(rig, "k");
    get_range(rig, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES, crcs);
    assert_int_equal(crcs[0], crc_of(2));
    assert_int_equal(crcs[1], crc_of(3));
    memset(crcs, 0, sizeof(crcs));
    get_range(rig, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, crcs);
    assert_int_equal(crcs[0], 0);
    assert_int_equal(crcs[1], crc_of(2));
    assert_int_equal(crcs[2], 0);
    memset(crcs, 0, sizeof(crcs));
    get_range(rig, 5 * BLOCK_BYTES, 1 << 20, crcs); /* beyond the end: what there is */
    assert_int_equal(crcs[0], crc_of(5));
    get_range(rig, 7, 1, NULL);
    get_range(rig, SIZE, 10, NULL);
    get_range(rig, SIZE + 10, 10, NULL);
    get_range(rig, 3, 0, NULL);
}

static void test_a_replaced_object_is_stale(void **state)
{
    struct rig *rig = *state;
    struct store_req req = {.op = STORE_GET, .key = "k", .length = 10, .sink = {.fd = -1}};
    char *etag;

    assert_int_equal(rig_put_if(rig, "k", "old", NULL, false, &etag), 0);
    assert_int_equal(rig_put(rig, "k", "new"), 0);
    req.if_match = etag;
    assert_int_equal(rig_run(rig, &req), -ESTALE);
    assert_int_equal(req.got, 0);
    store_req_fini(&req);
    free(etag);
}

struct watched {
    struct store_req req;
    struct loop *loop;
    unsigned calls;
    uint64_t last;
    bool cancel;
};

static void watch_progress(struct store_req *req, uint64_t got)
{
    struct watched *w = container_of(req, struct watched, req);

    assert_true(got > w->last);
    w->last = got;
    w->calls++;
    if (w->cancel)
        store_cancel(req);
}

static void watch_done(struct store_req *req)
{
    loop_stop(container_of(req, struct watched, req)->loop);
}

static void big_object(struct rig *rig, uint64_t size)
{
    char path[256];

    rig_write_file(rig, "k", "");
    rig_path(rig, "k", path, sizeof(path));
    assert_int_equal(truncate(path, (off_t)size), 0);
}

static void test_progress_grows_and_comes_before_done(void **state)
{
    struct rig *rig = *state;
    struct watched w = {.loop = rig->loop};

    big_object(rig, 32u << 20);
    w.req =
        (struct store_req){.op = STORE_GET, .key = "k", .length = 32u << 20, .done = watch_done};
    w.req.sink.fd = memfd_create("sink", MFD_CLOEXEC);
    w.req.sink.progress = watch_progress;
    store_submit(rig->store, &w.req);
    assert_int_equal(loop_run(rig->loop), 0);
    assert_int_equal(w.req.error, 0);
    assert_int_equal(w.last, 32u << 20); /* the last one is never lost */
    close(w.req.sink.fd);
    store_req_fini(&w.req);
}

struct changing {
    struct watched w;
    int source;
    uint64_t size, shown; /* since the change */
};

static void change_it(struct store_req *req, uint64_t got)
{
    struct changing *c = container_of(req, struct changing, w.req);

    if (c->source < 0) {
        c->shown = got;
        return;
    }
    assert_int_equal(pwrite(c->source, "x", 1, (off_t)c->size - 1), 1);
    close(c->source);
    c->source = -1;
}

/* What is read of it from then on is told to nobody: it may be of either version. */
static void test_changed_while_it_is_read(void **state)
{
    struct rig *rig = *state;
    struct changing c = {.w.loop = rig->loop, .size = 256u << 20};
    char path[256];

    big_object(rig, c.size);
    rig_path(rig, "k", path, sizeof(path));
    c.source = open(path, O_WRONLY | O_CLOEXEC);
    c.w.req =
        (struct store_req){.op = STORE_GET, .key = "k", .length = c.size, .done = watch_done};
    c.w.req.sink.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    c.w.req.sink.progress = change_it;
    store_submit(rig->store, &c.w.req);
    assert_int_equal(loop_run(rig->loop), 0);
    assert_int_equal(c.w.req.error, -ESTALE);
    assert_true(c.w.req.got < c.size && c.shown < c.size);
    close(c.w.req.sink.fd);
    store_req_fini(&c.w.req);
}

static void test_cancel_and_deadline(void **state)
{
    struct rig *rig = *state;
    struct watched w = {.loop = rig->loop, .cancel = true};
    const uint64_t size = 4ull << 30;

    big_object(rig, size);
    w.req = (struct store_req){.op = STORE_GET, .key = "k", .length = size, .done = watch_done};
    w.req.sink.fd = memfd_create("sink", MFD_CLOEXEC);
    w.req.sink.progress = watch_progress;
    store_submit(rig->store, &w.req);
    assert_int_equal(loop_run(rig->loop), 0);
    assert_int_equal(w.req.error, -ECANCELED);
    assert_true(w.req.got < size);
    store_req_fini(&w.req);
    w.req = (struct store_req){.op = STORE_GET,
                               .key = "k",
                               .length = size,
                               .done = watch_done,
                               .sink = w.req.sink,
                               .deadline_ns = 1};
    store_submit(rig->store, &w.req);
    assert_int_equal(loop_run(rig->loop), 0);
    assert_int_equal(w.req.error, -ETIMEDOUT);
    close(w.req.sink.fd);
    store_req_fini(&w.req);
}

static void test_body_from_a_file(void **state)
{
    struct rig *rig = *state;
    struct store_req req = {.op = STORE_PUT, .key = "k", .length = SIZE - 10};
    int fd = memfd_create("body", MFD_CLOEXEC);
    char *etag = NULL;

    put_content(rig, "other");
    assert_int_equal(fd_pwrite_full(fd, content, SIZE, 100), 0);
    req.body.fd = fd;
    req.body.offset = 110;
    assert_int_equal(rig_run(rig, &req), 0);
    assert_int_equal(req.meta.size, SIZE - 10);
    store_req_fini(&req);
    free(etag);
    char *text = rig_get(rig, "k");
    assert_memory_equal(text, content + 10, SIZE - 10);
    free(text);
    req = (struct store_req){.op = STORE_PUT, .key = "k", .length = SIZE};
    req.body.fd = fd;
    req.body.offset = 200;
    assert_int_equal(rig_run(rig, &req), -EIO); /* shorter than announced: nothing is replaced */
    store_req_fini(&req);
    text = rig_get(rig, "k");
    assert_memory_equal(text, content + 10, SIZE - 10);
    free(text);
    close(fd);
}

static void test_check(void **state)
{
    struct rig *rig = *state;
    struct store_req req = {.op = STORE_CHECK};
    struct store *other;
    char path[256];

    assert_int_equal(rig_run(rig, &req), 0);
    store_req_fini(&req);
    rig_write_file(rig, "file", "");
    rig_path(rig, "file", path, sizeof(path));
    assert_int_equal(file_store_new(rig->pool, path, &other), -ENOTDIR);
    assert_int_equal(file_store_new(rig->pool, "relative", &other), -EINVAL);
    assert_int_equal(file_store_new(rig->pool, "/no/such/dir", &other), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole_object_with_checksums, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_ranges_give_checksums_of_whole_blocks_only, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_a_replaced_object_is_stale, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_progress_grows_and_comes_before_done, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_changed_while_it_is_read, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_cancel_and_deadline, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_body_from_a_file, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_check, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
