/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One sidecar, mapped for writing: the only code that sets or clears presence bits. Head and bitmaps are
 * mapped (their disk space is allocated first: a full disk under a mapping would be a SIGBUS); the
 * checksums are read and written by pread/pwrite.
 *
 * A block is in one of these states:
 *   present=0 stored=0   absent
 *   present=1 stored=1   readable, checksum known
 *   present=1 stored=0   readable in this boot only (adopted uploads)
 *   present=0 stored=1   written in an earlier boot: verify against the checksum before use */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "proto/base/guard.h"
#include "proto/sidecar.h"

struct side {
    int fd;                      /* read-write */
    struct sidecar_head *head;   /* NULL: not open */
    struct guard *guard;         /* of the map: a file that is cut below it is as a revoked one */
    uint64_t map_bytes;
    uint64_t object_size, blocks;
    uint8_t *made;               /* of a large one: a bit per page that has disk space. NULL: all have */
    uint64_t pages;              /* that have */
};
#define SIDE_NULL ((struct side){.fd = -1})
#define SIDE_SIZE_ANY UINT64_MAX
#define SIDE_BLOCKS_OF_WORD 64u
#define SIDE_STRETCH_WORDS 8192u /* what is trimmed at once: 8 GiB of data */

struct side_boot {
    uint64_t id[2];
};
int side_boot_now(struct side_boot *ret_boot); /* 0 | -EIO: no boot id */

/* Creates the file complete under a temporary name and renames it to `path` (relative to dir_fd).
 * 0 | -ENOSPC | -errno */
int side_create(int dir_fd, const char *path, uint64_t object_size, const struct side_boot *boot,
                bool all_present, struct side *ret_side);
/* Maps an existing file; bits of another boot are cleared (stored ones stay, to be verified).
 * object_size: the expected one or SIDE_SIZE_ANY. 0 | -ENOENT | -EBADMSG (unusable, make a new one) |
 * -errno */
int side_open(int dir_fd, const char *path, uint64_t object_size, const struct side_boot *boot,
              struct side *ret_side);
void side_fini(struct side *side);

bool side_stored(const struct side *side, uint64_t block);
uint64_t side_present_word(const struct side *side, uint64_t word);
uint64_t side_held_word(const struct side *side, uint64_t word); /* present or stored */
bool side_all_present(const struct side *side, uint64_t first, uint64_t end);
/* The bytes are written: records the checksums (crcs NULL: none, or already there), then shows them. */
void side_set(struct side *side, uint64_t first, uint64_t end, const uint32_t *crcs);
/* Hides the blocks of `mask` in word `word`. Afterwards, and only then, they may be punched. */
void side_clear(struct side *side, uint64_t word, uint64_t mask);
int side_crcs(const struct side *side, uint64_t first, uint64_t end, uint32_t *ret_crcs);

void side_hide_all(struct side *side); /* present becomes stored, or absent */

/* ---- side-seal.c: between two openings. data: the data file's */

void side_seal(struct side *side, const struct stat *data);
void side_check_seal(struct side *side, const struct stat *data); /* hides all if it does not fit */

/* Disk blocks charged for a data block, for all held ones, and for a whole object. */
uint64_t side_block_charge(const struct side *side, uint64_t block);
uint64_t side_held_charge(const struct side *side);
uint64_t side_data_charge(uint64_t object_size);

/* ---- side-room.c: disk blocks of the sidecar itself, all of them or, when it is large, those it needs */

uint64_t side_new_charge(uint64_t object_size);  /* of a new one */
uint64_t side_file_charge(uint64_t object_size); /* of one with all blocks */
uint64_t side_own_charge(const struct side *side);
/* What it takes beside that to hold blocks [first, end), and that being done. 0 | -ENOSPC | -errno; then some
 * of it may be done. No bit may be set before. */
uint64_t side_lacks(const struct side *side, uint64_t first, uint64_t end);
int side_make(struct side *side, uint64_t first, uint64_t end);
/* None of the blocks is held or being fetched any more: gives back what was for them alone. */
uint64_t side_trim(struct side *side, uint64_t first, uint64_t end);
/* So many words from `word` on are known to be empty without a look at them. */
uint64_t side_absent_words(const struct side *side, uint64_t word);
/* Of side_create() and side_open(), before the file is mapped. */
int side_room_init(struct side *side, uint64_t object_size, bool fresh, bool all_present);
