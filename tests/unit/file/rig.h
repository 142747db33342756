/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A file store on a fresh directory, and its operations as plain calls. */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3proxyd/file/file.h"

struct rig {
    struct loop *loop;
    struct mailbox *mailbox;
    struct pool *pool;
    struct store *store;
    char dir[64];
};

int rig_setup(void **state);
int rig_teardown(void **state);

/* Submits and waits; outputs stay in req until store_req_fini(). */
int rig_run(struct rig *rig, struct store_req *req);

int rig_put(struct rig *rig, const char *key, const char *text);
/* Conditions as in the request; *ret_etag is malloc'd. */
int rig_put_if(struct rig *rig, const char *key, const char *text, const char *if_match,
               bool if_none_match, char **ret_etag);
int rig_delete(struct rig *rig, const char *key);
int rig_head(struct rig *rig, const char *key);  /* the error only */
char *rig_get(struct rig *rig, const char *key); /* malloc'd text or NULL */
/* Keys of all pages with '\n' behind each; a common prefix has a '*' behind. malloc'd */
char *rig_list(struct rig *rig, const char *prefix, bool recursive, unsigned page);

/* In the directory itself, as other programs do. */
void rig_path(struct rig *rig, const char *name, char *buf, size_t size);
void rig_write_file(struct rig *rig, const char *name, const char *text);
void rig_mkdir(struct rig *rig, const char *name);
bool rig_exists(struct rig *rig, const char *name);
