/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One commit while it runs. Its phases, each in a file:
 *   wait    a write or truncate is still running                                spool-commit.c
 *   fill    what is missing from the base, several pieces at once               spool-fill.c
 *   seal    the file gets its size, and zeros where nothing is                  spool-commit.c
 *   upload  PUT, or CREATE, parts, COMPLETE; after a failure ABORT              spool-upload.c
 * After the first error nothing new is started; what is in flight is cancelled and waited for. */
#pragma once

#include "s3proxyd/spool/part-plan.h"
#include "s3proxyd/spool/spool-int.h"

#define COMMIT_SLOTS 4u                     /* pieces or parts in flight */
#define COMMIT_PIECE_BYTES (8ULL << 20)     /* of a download */
#define COMMIT_PUT_MAX_BYTES (16ULL << 20)  /* larger files go in parts */

struct commit_slot {
    struct commit_run *run;
    bool busy, is_req;
    struct extent piece;
    unsigned part;
    struct store_req req;
    struct work work;
    int error;
};
struct commit_run {
    struct spool_commit *commit;
    struct spool *spool;
    struct loop_task task;
    bool begun;
    int error;                 /* the first one */
    struct commit_slot slots[COMMIT_SLOTS];
    uint64_t fill_next;        /* gaps below are filled or under way */
    struct extents holes;      /* seal: to be punched */
    struct part_plan plan;
    unsigned next_part;
    char *upload_id;
    char **etags;              /* plan.count of them */
};

void commit_run_fail(struct commit_run *run, int error, const char *text); /* keeps the first */
struct commit_slot *commit_run_slot(struct commit_run *run); /* a free one or NULL */
bool commit_run_idle(const struct commit_run *run);
void commit_run_submit(struct commit_slot *slot, struct store *store);
void commit_run_end(struct commit_run *run); /* idle: success or failure; frees run */

void commit_fill(struct commit_run *run); /* then commit_seal(), or the end */
void commit_seal(struct commit_run *run); /* then commit_upload(), or the end */
void commit_upload(struct commit_run *run);
