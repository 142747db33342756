/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A listing as one value: msgpack [marker, [[name, is_dir, size, mtime_ns, etag], ...]]. A directory is read
 * and written whole, so rows of its own per entry would buy nothing. Names are bin: a key may hold any
 * byte but NUL. What comes from the disk is read like what comes from a peer. */
#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/wire.h"
#include "s3proxyd/db/db-int.h"

#define DB_LISTING_DEPTH 3u
#define DB_ENTRY_FIELDS 5u

static int db_entry_pack(const struct db_listing_entry *e, struct str *out)
{
    const char *etag = e->etag ? e->etag : "";
    int r = wire_put_array(out, DB_ENTRY_FIELDS);
    if (r == 0)
        r = wire_put_bin(out, e->name, strlen(e->name));
    if (r == 0)
        r = wire_put_u64(out, e->is_dir);
    if (r == 0)
        r = wire_put_u64(out, e->size);
    if (r == 0)
        r = wire_put_i64(out, e->mtime_ns);
    return r < 0 ? r : wire_put_bin(out, etag, strlen(etag));
}

int db_listing_pack(const struct db_listing *listing, struct str *out)
{
    if (listing->nentries > UINT32_MAX)
        return -E2BIG;
    int r = wire_put_array(out, 2);
    if (r == 0)
        r = wire_put_u64(out, listing->marker);
    if (r == 0)
        r = wire_put_array(out, (uint32_t)listing->nentries);
    for (size_t i = 0; r == 0 && i < listing->nentries; i++) {
        r = db_entry_pack(&listing->entries[i], out);
        if (r == 0 && out->len > DB_LISTING_MAX_BYTES)
            r = -E2BIG;
    }
    return r;
}

/* Copies a string to *text, which has room for it: the block is as long as the whole value. */
static int db_text_unpack(struct wire_reader *r, char **text, const char **ret)
{
    const void *data;
    size_t len;
    if (wire_get_bin(r, &data, &len) < 0 || memchr(data, 0, len))
        return -EPROTO;
    memcpy(*text, data, len);
    (*text)[len] = 0;
    *ret = *text;
    *text += len + 1;
    return 0;
}

static int db_entry_unpack(struct wire_reader *r, char **text, struct db_listing_entry *ret)
{
    uint32_t fields;
    uint64_t is_dir;
    if (wire_get_array(r, &fields) < 0 || fields != DB_ENTRY_FIELDS)
        return -EPROTO;
    if (db_text_unpack(r, text, &ret->name) < 0 || wire_get_u64(r, &is_dir) < 0 ||
        wire_get_u64(r, &ret->size) < 0 || wire_get_i64(r, &ret->mtime_ns) < 0)
        return -EPROTO;
    ret->is_dir = is_dir;
    return db_text_unpack(r, text, &ret->etag);
}

int db_listing_unpack(const void *blob, size_t len, struct db_listing **ret_listing)
{
    struct wire_reader r = {blob, (const uint8_t *)blob + len};
    uint32_t two, count;
    uint64_t marker;
    if (!blob || len > DB_LISTING_MAX_BYTES + 4096u || wire_check(blob, len, DB_LISTING_DEPTH) < 0)
        return -EPROTO;
    if (wire_get_array(&r, &two) < 0 || two != 2 || wire_get_u64(&r, &marker) < 0 ||
        wire_get_array(&r, &count) < 0 || count > len)
        return -EPROTO;
    /* Strings with their NULs are shorter than the bytes they were packed in: each has a header. */
    _cleanup_(freep) struct db_listing *listing =
        malloc(sizeof(*listing) + count * sizeof(*listing->entries) + len);
    if (!listing)
        return -ENOMEM;
    listing->fetched_ns = 0;
    listing->marker = marker;
    listing->entries = (struct db_listing_entry *)(listing + 1);
    listing->nentries = count;
    char *text = (char *)(listing->entries + count);
    for (uint32_t i = 0; i < count; i++)
        if (db_entry_unpack(&r, &text, &listing->entries[i]) < 0)
            return -EPROTO;
    if (r.p != r.end)
        return -EPROTO;
    *ret_listing = take(listing);
    return 0;
}
