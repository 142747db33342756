/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The writer's half of the sidecar protocol: see side.h for the states, proto/sidecar.h for the
 * layout. */
#include "s3proxyd/cache/side.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/must.h"
#include "proto/base/str.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the sidecar is little-endian");
_Static_assert(sizeof(struct sidecar_head) <= SIDECAR_HEAD_BYTES, "the head has its room");

#define DISK_BLOCK_BYTES 4096u

int side_boot_now(struct side_boot *ret_boot)
{
    char text[64] = "", hex[33];
    size_t got = 0, n = 0;
    _cleanup_(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fd_read_full(fd, text, sizeof(text) - 1, &got) < 0)
        return -EIO;
    for (size_t i = 0; i < got && n < 32; i++)
        if (text[i] != '-' && text[i] != '\n')
            hex[n++] = text[i];
    if (n != 32)
        return -EIO;
    for (int i = 0; i < 2; i++) {
        char half[17];
        memcpy(half, hex + 16 * i, 16);
        half[16] = 0;
        if (str_to_u64(half, 16, &ret_boot->id[i]) < 0)
            return -EIO;
    }
    return 0;
}

static _Atomic uint64_t *present_of(const struct side *side)
{
    return sidecar_present(side->head);
}

static _Atomic uint64_t *stored_of(const struct side *side)
{
    return present_of(side) + sidecar_bitmap_bytes(side->object_size) / 8;
}

static uint64_t crc_offset(const struct side *side, uint64_t block)
{
    return SIDECAR_HEAD_BYTES + 2 * sidecar_bitmap_bytes(side->object_size) + 4 * block;
}

static uint64_t words_of(const struct side *side)
{
    return sidecar_bitmap_bytes(side->object_size) / 8;
}

/* The bits of word `word` that belong to blocks [first, end). */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t base = word * SIDE_BLOCKS_OF_WORD;
    uint64_t lo = first > base ? first - base : 0;
    uint64_t hi = MIN(end - base, (uint64_t)SIDE_BLOCKS_OF_WORD);
    uint64_t mask = hi == 64 ? UINT64_MAX : (1ULL << hi) - 1;

    return mask & ~((1ULL << lo) - 1);
}

static int map_side(struct side *side, uint64_t object_size)
{
    side->object_size = object_size;
    side->blocks = sidecar_blocks(object_size);
    side->map_bytes = SIDECAR_HEAD_BYTES + 2 * sidecar_bitmap_bytes(object_size);
    void *map = mmap(NULL, side->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, side->fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    int r = guard_new(map, side->map_bytes, sidecar_break, &side->guard);
    if (r < 0) {
        munmap(map, side->map_bytes);
        return r;
    }
    side->head = map;
    return 0;
}

static void set_bits(_Atomic uint64_t *bitmap, uint64_t first, uint64_t end)
{
    for (uint64_t w = first / 64; w * 64 < end; w++)
        atomic_fetch_or_explicit(&bitmap[w], mask_of(w, first, end), memory_order_release);
}

int side_create(int dir_fd, const char *path, uint64_t object_size, const struct side_boot *boot,
                bool all_present, struct side *ret_side)
{
    _cleanup_(side_fini) struct side side = SIDE_NULL;
    _cleanup_(freep) char *temp = str_dup_printf("%s.tmp", path);
    int r;

    if (!temp)
        return -ENOMEM;
    if (!range_ok(0, object_size))
        return -EFBIG;
    side.fd = openat(dir_fd, temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (side.fd < 0)
        return -errno;
    r = ftruncate(side.fd, (off_t)sidecar_file_bytes(object_size)) < 0 ? -errno : 0;
    if (r == 0)
        r = side_room_init(&side, object_size, true, all_present);
    if (r == 0)
        r = map_side(&side, object_size);
    if (r == 0) {
        struct sidecar_head *h = side.head;
        h->magic = SIDECAR_MAGIC;
        h->version = SIDECAR_VERSION;
        h->block_bytes = BLOCK_BYTES;
        h->object_size = object_size;
        memcpy(h->boot_id, boot->id, sizeof(h->boot_id));
        if (all_present && side.blocks)
            set_bits(present_of(&side), 0, side.blocks);
        if (renameat(dir_fd, temp, dir_fd, path) < 0)
            r = -errno;
    }
    if (r < 0) {
        unlinkat(dir_fd, temp, 0);
        return r;
    }
    *ret_side = side;
    side = SIDE_NULL;
    return 0;
}

void side_hide_all(struct side *side)
{
    for (uint64_t w = 0; w < words_of(side); w++) {
        w += side_absent_words(side, w);
        if (w < words_of(side))
            atomic_store_explicit(&present_of(side)[w], 0, memory_order_release);
    }
    atomic_fetch_add_explicit(&side->head->seq, 1, memory_order_seq_cst);
}

static void forget_boot(struct side *side, const struct side_boot *boot)
{
    if (memcmp(side->head->boot_id, boot->id, sizeof(boot->id)) == 0)
        return;
    side_hide_all(side);
    memcpy(side->head->boot_id, boot->id, sizeof(boot->id));
    atomic_store(&side->head->promised, 0); /* no mapping outlives a boot */
}

static bool head_good(const struct sidecar_head *h, uint64_t object_size, uint64_t file_bytes)
{
    return h->magic == SIDECAR_MAGIC && h->version == SIDECAR_VERSION &&
           h->block_bytes == BLOCK_BYTES && range_ok(0, h->object_size) &&
           (object_size == SIDE_SIZE_ANY || h->object_size == object_size) &&
           file_bytes == sidecar_file_bytes(h->object_size) && h->revoked == 0;
}

/* Bits beyond the last block would be fetched, counted and punched: not a file of ours. */
static bool padding_clear(const struct side *side)
{
    uint64_t words = words_of(side);

    if (side->blocks % 64 == 0)
        return true;
    return (side_held_word(side, words - 1) & ~mask_of(words - 1, 0, side->blocks)) == 0;
}

int side_open(int dir_fd, const char *path, uint64_t object_size, const struct side_boot *boot,
              struct side *ret_side)
{
    _cleanup_(side_fini) struct side side = SIDE_NULL;
    struct sidecar_head head;
    struct stat st;
    size_t got;
    int r;

    side.fd = openat(dir_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (side.fd < 0)
        return errno == ELOOP ? -EBADMSG : -errno;
    if (fstat(side.fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EBADMSG;
    r = fd_pread_full(side.fd, &head, sizeof(head), 0, &got);
    if (r < 0)
        return r == -EIO ? -EBADMSG : r;
    /* A revoked one stays with the clients that were told so; its version was replaced by then. */
    if (got < sizeof(head) || !head_good(&head, object_size, (uint64_t)st.st_size))
        return -EBADMSG;
    /* Bitmaps of another maker may be sparse: writing them on a full disk must not be a SIGBUS. */
    r = side_room_init(&side, head.object_size, false, false);
    if (r == 0)
        r = map_side(&side, head.object_size);
    if (r < 0)
        return r;
    if (!padding_clear(&side))
        return -EBADMSG;
    forget_boot(&side, boot);
    *ret_side = side;
    side = SIDE_NULL;
    return 0;
}

void side_fini(struct side *side)
{
    guard_free(side->guard);
    if (side->head)
        munmap(side->head, side->map_bytes);
    closep(&side->fd);
    free(side->made);
    *side = SIDE_NULL;
}

bool side_stored(const struct side *side, uint64_t block)
{
    return stored_of(side)[block / 64] >> (block % 64) & 1;
}

uint64_t side_present_word(const struct side *side, uint64_t word)
{
    return atomic_load_explicit(&present_of(side)[word], memory_order_acquire);
}

uint64_t side_held_word(const struct side *side, uint64_t word)
{
    return side_present_word(side, word) | stored_of(side)[word];
}

bool side_all_present(const struct side *side, uint64_t first, uint64_t end)
{
    for (uint64_t w = first / 64; w * 64 < end; w++) {
        uint64_t mask = mask_of(w, first, end);
        if ((side_present_word(side, w) & mask) != mask)
            return false;
    }
    return true;
}

void side_set(struct side *side, uint64_t first, uint64_t end, const uint32_t *crcs)
{
    must(first <= end && end <= side->blocks);
    if (crcs) {
        int r =
            fd_pwrite_full(side->fd, crcs, (end - first) * sizeof(*crcs), crc_offset(side, first));
        if (r == 0)
            set_bits(stored_of(side), first, end);
        else /* good for this boot all the same */
            log_debug("cache", "checksums of %" PRIu64 " blocks not kept: %s", end - first,
                      strerror(-r));
    }
    set_bits(present_of(side), first, end);
}

void side_clear(struct side *side, uint64_t word, uint64_t mask)
{
    must(word < words_of(side));
    /* seq is raised on both sides of the clearing: a reader that took seq between the first raise
     * and the clearing would see the old bit and an unchanged seq while the block is punched below
     * it. */
    atomic_fetch_add_explicit(&side->head->seq, 1, memory_order_seq_cst);
    atomic_fetch_and_explicit(&present_of(side)[word], ~mask, memory_order_seq_cst);
    atomic_fetch_and_explicit(&stored_of(side)[word], ~mask, memory_order_seq_cst);
    atomic_fetch_add_explicit(&side->head->seq, 1, memory_order_seq_cst);
}

int side_crcs(const struct side *side, uint64_t first, uint64_t end, uint32_t *ret_crcs)
{
    size_t want = (end - first) * sizeof(*ret_crcs), got;
    int r = fd_pread_full(side->fd, ret_crcs, want, crc_offset(side, first), &got);

    return r < 0 ? r : got < want ? -EIO : 0;
}

static uint64_t to_disk_blocks(uint64_t bytes)
{
    return (bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
}

uint64_t side_block_charge(const struct side *side, uint64_t block)
{
    if (block + 1 < side->blocks)
        return BLOCK_BYTES;
    return to_disk_blocks(side->object_size - block * BLOCK_BYTES);
}

uint64_t side_held_charge(const struct side *side)
{
    uint64_t held = 0, last = side->blocks - 1;

    for (uint64_t w = 0; w < words_of(side); w++) {
        w += side_absent_words(side, w);
        if (w < words_of(side))
            held += (uint64_t)__builtin_popcountll(side_held_word(side, w));
    }
    if (held && side_held_word(side, last / 64) >> (last % 64) & 1)
        return (held - 1) * BLOCK_BYTES + side_block_charge(side, last);
    return held * BLOCK_BYTES;
}

uint64_t side_data_charge(uint64_t object_size)
{
    return to_disk_blocks(object_size);
}
