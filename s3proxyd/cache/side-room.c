/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The disk space of sidecars. That of an object of 5 TiB has 1.4 GiB, most of it for blocks that are never
 * read: a large sidecar is sparse, gets pages before their first bit is set (a full disk below a mapping
 * would be a SIGBUS) and gives them back when the blocks of a large stretch have gone. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/must.h"
#include "proto/base/str.h"
#include "s3proxyd/cache/side.h"

#define PAGE 4096u
#define SPARSE_BITMAP_BYTES (16u * PAGE) /* larger bitmaps (objects of more than 8 GiB) are sparse */
#define WORDS_OF_PAGE (PAGE / 8)

_Static_assert(SIDE_STRETCH_WORDS % WORDS_OF_PAGE == 0, "whole pages of the first bitmap");

struct bytes {
    uint64_t from, to;
};

static uint64_t pages_of(uint64_t bytes)
{
    return bytes / PAGE + (bytes % PAGE != 0);
}

static bool is_made(const struct side *side, uint64_t page)
{
    return !side->made || side->made[page / 8] >> (page % 8) & 1;
}

static void mark(struct side *side, uint64_t page, bool made)
{
    uint8_t bit = (uint8_t)(1u << (page % 8));

    if (is_made(side, page) == made)
        return;
    side->made[page / 8] ^= bit;
    side->pages += made ? 1 : UINT64_MAX;
}

/* The three places where blocks [first, end) leave something: two bitmaps and the checksums. */
static void places_of(const struct side *side, uint64_t first, uint64_t end, struct bytes out[3])
{
    uint64_t bitmap = sidecar_bitmap_bytes(side->object_size);
    uint64_t crcs = SIDECAR_HEAD_BYTES + 2 * bitmap;

    out[0].from = SIDECAR_HEAD_BYTES + first / 64 * 8;
    out[0].to = SIDECAR_HEAD_BYTES + ((end - 1) / 64 + 1) * 8;
    out[1] = (struct bytes){out[0].from + bitmap, out[0].to + bitmap};
    out[2] = (struct bytes){crcs + 4 * first, crcs + 4 * end};
}

uint64_t side_lacks(const struct side *side, uint64_t first, uint64_t end)
{
    struct bytes places[3];
    uint64_t n = 0;

    if (!side->made || first >= end)
        return 0;
    places_of(side, first, end, places);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
        for (uint64_t p = places[i].from / PAGE; p < pages_of(places[i].to); p++)
            n += !is_made(side, p);
    return n * PAGE;
}

int side_make(struct side *side, uint64_t first, uint64_t end)
{
    struct bytes places[3];

    if (!side->made || first >= end)
        return 0;
    places_of(side, first, end, places);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        for (uint64_t p = places[i].from / PAGE; p < pages_of(places[i].to); p++) {
            if (is_made(side, p))
                continue;
            if (fallocate(side->fd, FALLOC_FL_KEEP_SIZE, (off_t)(p * PAGE), PAGE) < 0)
                return -errno;
            mark(side, p, true);
        }
    }
    return 0;
}

uint64_t side_trim(struct side *side, uint64_t first, uint64_t end)
{
    struct bytes places[3];
    uint64_t before = side->pages;

    if (!side->made || first >= end)
        return 0;
    places_of(side, first, end, places);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        for (uint64_t p = pages_of(places[i].from); p < places[i].to / PAGE; p++) {
            if (is_made(side, p) &&
                fallocate(side->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(p * PAGE),
                          PAGE) == 0)
                mark(side, p, false);
        }
    }
    return (before - side->pages) * PAGE;
}

uint64_t side_absent_words(const struct side *side, uint64_t word)
{
    uint64_t words = sidecar_bitmap_bytes(side->object_size) / 8, n = 0;
    uint64_t stored = SIDECAR_HEAD_BYTES + words * 8;

    while (side->made && word + n < words) {
        uint64_t p = (SIDECAR_HEAD_BYTES + (word + n) * 8) / PAGE;
        uint64_t q = (stored + (word + n) * 8) / PAGE;
        if (is_made(side, p) || is_made(side, q))
            break;
        /* To the end of the page that ends first. */
        uint64_t p_end = ((p + 1) * PAGE - SIDECAR_HEAD_BYTES) / 8;
        uint64_t q_end = ((q + 1) * PAGE - stored) / 8;
        uint64_t end = MIN(p_end, q_end);
        n = MIN(end, words) - word;
    }
    return n;
}

/* A file system that does not know its holes has none. */
static void find_made(struct side *side, uint64_t pages)
{
    off_t at = 0, size = (off_t)(pages * PAGE);

    while (at < size) {
        off_t data = lseek(side->fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return;
        off_t hole = data < 0 ? size : lseek(side->fd, data, SEEK_HOLE);
        data = data < 0 ? at : data;
        hole = hole <= data ? size : hole;
        for (uint64_t p = (uint64_t)data / PAGE; p < MIN(pages_of((uint64_t)hole), pages); p++)
            mark(side, p, true);
        at = hole;
    }
}

int side_room_init(struct side *side, uint64_t object_size, bool fresh, bool all_present)
{
    uint64_t pages = pages_of(sidecar_file_bytes(object_size));
    uint64_t mapped = SIDECAR_HEAD_BYTES + 2 * sidecar_bitmap_bytes(object_size);

    side->pages = pages;
    if (sidecar_bitmap_bytes(object_size) <= SPARSE_BITMAP_BYTES || all_present)
        return fallocate(side->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)mapped) < 0 ? -errno : 0;
    side->made = calloc(pages / 8 + 1, 1);
    if (!side->made)
        return -ENOMEM;
    side->pages = 0;
    if (!fresh)
        find_made(side, pages);
    if (fallocate(side->fd, FALLOC_FL_KEEP_SIZE, 0, SIDECAR_HEAD_BYTES) < 0)
        return -errno;
    mark(side, 0, true);
    return 0;
}

uint64_t side_own_charge(const struct side *side)
{
    return side->pages * PAGE;
}

uint64_t side_file_charge(uint64_t object_size)
{
    return pages_of(sidecar_file_bytes(object_size)) * PAGE;
}

uint64_t side_new_charge(uint64_t object_size)
{
    bool sparse = sidecar_bitmap_bytes(object_size) > SPARSE_BITMAP_BYTES;

    return sparse ? PAGE : side_file_charge(object_size);
}
