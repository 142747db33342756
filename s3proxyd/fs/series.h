/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Files opened one after the other, in the order of their listing: how many of the next ones to fetch before
 * they are asked for. Pure arithmetic on places and sizes; files-ahead.c finds the places and does it.
 *
 * What is fetched and never opened is bounded by what is opened: the ledger of a session lets files be
 * fetched ahead while all that were, and were not opened (so far, or for good), do not exceed what its
 * programs did open by more than SERIES_FREE_BYTES. So nobody fetches much more than twice what he reads,
 * whatever his pattern is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SERIES_GAP 4u          /* so many places on is still "the next one", for who is not known yet */
#define SERIES_GAP_KNOWN 16u   /* and for who is: threads that share a queue overtake each other */
#define SERIES_WINDOW_FIRST 4u /* files */
#define SERIES_WINDOW_MAX 64u
#define SERIES_FREE_BYTES (256u * 1024)
#define SERIES_FILE_MAX_BYTES (512u * 1024)    /* of a larger file, its first bytes */
#define SERIES_AHEAD_MAX_BYTES (8u * 1024 * 1024) /* of all of a session's series */

struct series { /* zero-initialised: a file that was opened, and perhaps begins one */
    unsigned in_order; /* opened one after the other, the last SERIES_GAP_KNOWN at most */
    unsigned window;   /* files ahead; 0: it is not known to be one */
};

struct series_ledger { /* bytes; zero-initialised */
    uint64_t opened, ahead, wasted;
};

/* The next file to be opened was `distance` places behind the furthest one so far: 1 the very next. */
void series_next(struct series *s, unsigned distance);
/* Shall `bytes` of one more file be fetched, when n files are ahead already? */
bool series_more(const struct series *s, const struct series_ledger *l, unsigned n, uint64_t bytes,
                 uint64_t most_bytes);
/* Of a file of that size, how much is fetched. */
uint64_t series_bytes(uint64_t size);

void series_opened(struct series_ledger *l, uint64_t size); /* any file, ahead or not */
void series_fetched(struct series_ledger *l, uint64_t bytes);
/* The file was opened, or is given up. */
void series_done(struct series_ledger *l, uint64_t bytes, bool opened);
