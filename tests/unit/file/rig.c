/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Sets up and takes down, and turns requests into calls that wait. */
#include "tests/unit/file/rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/str.h"

int rig_setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    (void)snprintf(rig->dir, sizeof(rig->dir), "/tmp/hafiz-file-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    assert_int_equal(loop_new(&rig->loop), 0);
    assert_int_equal(mailbox_new(rig->loop, &rig->mailbox), 0);
    assert_int_equal(pool_new(rig->mailbox, 4, &rig->pool), 0);
    assert_int_equal(file_store_new(rig->pool, rig->dir, &rig->store), 0);
    *state = rig;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int rig_teardown(void **state)
{
    struct rig *rig = *state;

    pool_free(rig->pool);
    store_free(rig->store);
    mailbox_free(rig->mailbox);
    loop_free(rig->loop);
    (void)nftw(rig->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(rig);
    return 0;
}

static struct loop *waiting;

static void stop(struct store_req *req)
{
    (void)req;
    loop_stop(waiting);
}

int rig_run(struct rig *rig, struct store_req *req)
{
    waiting = rig->loop;
    req->done = stop;
    store_submit(rig->store, req);
    assert_int_equal(loop_run(rig->loop), 0);
    return req->error;
}

int rig_put_if(struct rig *rig, const char *key, const char *text, const char *if_match,
               bool if_none_match, char **ret_etag)
{
    struct store_req req = {.op = STORE_PUT,
                            .key = key,
                            .length = strlen(text),
                            .if_match = if_match,
                            .if_none_match = if_none_match};
    int r;

    req.body.fd = -1;
    req.body.memory = text;
    r = rig_run(rig, &req);
    if (r == 0)
        assert_int_equal(req.meta.size, strlen(text));
    if (r < 0)
        assert_true(req.error_text[0] != '\0');
    if (r == 0 && ret_etag)
        *ret_etag = strdup(req.meta.etag);
    store_req_fini(&req);
    return r;
}

int rig_put(struct rig *rig, const char *key, const char *text)
{
    return rig_put_if(rig, key, text, NULL, false, NULL);
}

int rig_delete(struct rig *rig, const char *key)
{
    struct store_req req = {.op = STORE_DELETE, .key = key};
    int r = rig_run(rig, &req);

    store_req_fini(&req);
    return r;
}

int rig_head(struct rig *rig, const char *key)
{
    struct store_req req = {.op = STORE_HEAD, .key = key};
    int r = rig_run(rig, &req);

    store_req_fini(&req);
    return r;
}

char *rig_get(struct rig *rig, const char *key)
{
    struct store_req req = {.op = STORE_GET, .key = key, .length = 1 << 20};
    char *text = NULL;
    size_t got;

    req.sink.fd = memfd_create("sink", MFD_CLOEXEC);
    assert_true(req.sink.fd >= 0);
    if (rig_run(rig, &req) == 0) {
        text = calloc(1, req.got + 1);
        assert_int_equal(fd_pread_full(req.sink.fd, text, req.got, 0, &got), 0);
        assert_int_equal(got, req.got);
    }
    close(req.sink.fd);
    store_req_fini(&req);
    return text;
}

char *rig_list(struct rig *rig, const char *prefix, bool recursive, unsigned page)
{
    struct str out = STR_NULL;
    char *token = NULL;

    assert_int_equal(str_add(&out, ""), 0);
    for (int pages = 0; pages < 1000; pages++) {
        struct store_req req = {.op = STORE_LIST, .key = prefix};

        req.list.recursive = recursive;
        req.list.max_keys = page;
        req.list.token = token;
        assert_int_equal(rig_run(rig, &req), 0);
        assert_true(page == 0 || req.nentries <= page);
        for (size_t i = 0; i < req.nentries; i++) {
            assert_int_equal(req.entries[i].key_len, strlen(req.entries[i].key));
            assert_true(req.entries[i].is_prefix == !req.entries[i].etag);
            assert_int_equal(
                str_addf(&out, "%s%s\n", req.entries[i].key, req.entries[i].is_prefix ? "*" : ""),
                0);
        }
        free(token);
        token = req.next_token ? strdup(req.next_token) : NULL;
        store_req_fini(&req);
        if (!token)
            break;
    }
    assert_null(token);
    return out.s;
}

void rig_path(struct rig *rig, const char *name, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%s/%s", rig->dir, name);
}

void rig_write_file(struct rig *rig, const char *name, const char *text)
{
    char path[512];
    int fd;

    rig_path(rig, name, path, sizeof(path));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
    close(fd);
}

void rig_mkdir(struct rig *rig, const char *name)
{
    char path[512];

    rig_path(rig, name, path, sizeof(path));
    assert_int_equal(mkdir(path, 0755), 0);
}

bool rig_exists(struct rig *rig, const char *name)
{
    char path[512];

    rig_path(rig, name, path, sizeof(path));
    return access(path, F_OK) == 0;
}
