/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the database's tests share: a state directory of their own, a loop for the answers, and reads
 * that wait. */
#pragma once

#include "proto/base/loop.h"
#include "s3proxyd/db/db.h"

struct fixture {
    char dir[64];
    struct loop *loop;
    struct mailbox *home;
    struct db *db;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_open(struct fixture *f); /* expects success */
void fixture_close(struct fixture *f);
/* Starts the read and runs the loop until it is done; check sees the rows while they live. */
typedef void fixture_check_fn(const struct db_read *read, void *arg);
int fixture_read(struct fixture *f, struct db_read *read, fixture_check_fn *check, void *arg);
void fixture_path(const struct fixture *f, const char *name, char out[128]);
bool fixture_exists(const struct fixture *f, const char *name);
/* Runs SQL on a file of the closed database. */
void fixture_sql(const struct fixture *f, const char *name, const char *sql);
