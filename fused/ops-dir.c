/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Listings. "." and ".." are made here at offsets 0 and 1; every other offset the kernel holds is
 * the backend's cookie plus 2. With plus, each entry but those counts as a lookup. */
#include "fused/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fused/known.h"
#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/wire.h"

#define DOTS 2u

struct page {
    char *buf;
    size_t len, room;
    bool plus;
    uint64_t attr_ttl_ms, entry_ttl_ms, stamp;
};

static size_t entry_bytes(bool plus, size_t name_len)
{
    return plus ? MSG_DIRENTPLUS_BYTES(name_len) : MSG_DIRENT_BYTES(name_len);
}

/* true: it is in */
static bool add(struct req *r, struct page *page, const char *name,
                const struct fuse_entry_param *e, uint64_t offset)
{
    char *at = page->buf + page->len;
    size_t left = page->room - page->len;
    size_t n = page->plus ? fuse_add_direntry_plus(r->fuse, at, left, name, e, (off_t)offset)
                          : fuse_add_direntry(r->fuse, at, left, name, &e->attr, (off_t)offset);
    if (n > left)
        return false;
    page->len += n;
    return true;
}

static void add_dots(struct req *r, struct page *page)
{
    struct fuse_entry_param e = {
        /* ino 0: no lookup counted */
        .attr = {.st_ino = daemon_ino_out(r->d, r->ino), .st_mode = S_IFDIR}};
    if (r->offset < 1)
        add(r, page, ".", &e, 1);
    if (r->offset < 2)
        add(r, page, "..", &e, 2);
}

/* 1: added; 0: no more room; -errno */
static int add_one(struct req *r, struct page *page, const struct msg_dirent *in)
{
    struct ops_entry entry = {in->attr, page->attr_ttl_ms, page->entry_ttl_ms, page->stamp};
    struct fuse_entry_param e;
    char name[PROTO_NAME_MAX_BYTES + 1];
    int error = ops_entry_param(r->d, &entry, &e);

    if (error < 0)
        return error;
    if (e.ino == 0 || in->name.len == 0 || in->name.len > PROTO_NAME_MAX_BYTES ||
        memchr(in->name.s, '/', in->name.len) || memchr(in->name.s, '\0', in->name.len) ||
        in->cookie > INT64_MAX - DOTS)
        return -EIO;
    memcpy(name, in->name.s, in->name.len);
    name[in->name.len] = '\0';
    if (!add(r, page, name, &e, in->cookie + DOTS))
        return 0;
    if (page->plus)
        known_add(in->attr.ino, daemon_ino_out(r->d, r->ino), in->name.s, in->name.len);
    return 1;
}

/* Gives back the lookups of entries from number `from` on, which the kernel will not see. */
static void forget_entries(struct req *r, const struct client_reply *reply, uint64_t from,
                           uint64_t count)
{
    struct wire_reader in = {reply->payload, (const uint8_t *)reply->payload + reply->payload_len};
    struct msg_dirent e;

    for (uint64_t i = 0; i < count && msg_dirent_unpack(&in, &e) == 0; i++)
        if (i >= from && e.attr.ino > ROOT_INO)
            ops_forget(r->d, e.attr.ino, 1);
}

static void readdir_answer(struct req *r, const struct client_reply *reply)
{
    struct wire_reader in = {reply->payload, (const uint8_t *)reply->payload + reply->payload_len};
    _cleanup_(freep) char *buf = malloc(r->size);
    struct msg_readdir_rep rep;
    struct msg_dirent e;
    uint64_t done = 0;
    int error = buf ? msg_unpack_readdir_rep(reply->fields, reply->fields_len, &rep) : -ENOMEM;

    if (error < 0) {
        req_reply_err(r, error);
        return;
    }
    struct page page = {buf, 0, r->size, r->flag, rep.attr_ttl_ms, rep.entry_ttl_ms, rep.stamp};
    fuse_req_t fuse = req_take(r);
    if (fuse)
        add_dots(r, &page);
    for (; fuse && done < rep.count && error == 0; done++) {
        int n = msg_dirent_unpack(&in, &e);
        if (n == 0)
            n = add_one(r, &page, &e);
        if (n < 0)
            error = n;
        if (n <= 0)
            break;
    }
    if (!fuse)
        error = -EINTR;
    else if (error < 0 && page.len == 0)
        fuse_reply_err(fuse, EIO);
    else
        error = fuse_reply_buf(fuse, buf, page.len);
    if (page.plus && error < 0)
        done = 0;
    if (page.plus && done < rep.count)
        forget_entries(r, reply, done, rep.count);
}

static void ask(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    struct req *r = req_new(fuse, readdir_answer, NULL);
    if (!r)
        return;
    if (off < 0) {
        req_fail(r, -EINVAL);
        return;
    }
    r->ino = daemon_ino_in(r->d, ino);
    r->size = MIN(size, (size_t)PROTO_IO_MAX_BYTES);
    r->offset = (uint64_t)off;
    r->flag = plus;
    size_t dots = (off < 1 ? entry_bytes(plus, 1) : 0) + (off < 2 ? entry_bytes(plus, 2) : 0);
    req_call(r, READDIR, readdir, .ino = r->ino, .cookie = r->offset < DOTS ? 0 : r->offset - DOTS,
             .max_bytes = r->size > dots ? r->size - dots : 0, .plus = plus);
}

void ops_readdir(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    ask(fuse, ino, size, off, false);
}

void ops_readdirplus(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    (void)fi;
    ask(fuse, ino, size, off, true);
}
