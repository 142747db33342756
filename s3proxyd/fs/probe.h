/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Asking the store about one name: HEAD of the object and a one-key listing of the directory, side by side.
 * The directory wins when both exist. */
#pragma once

#include "s3proxyd/fs/fs.h"

struct probe { /* embedded in the caller; untouched until done */
    struct inode *parent;  /* referenced */
    char *name, *file_key, *dir_key;
    struct store_req head, list;
    unsigned running, pages;
    char *token;           /* of an empty page that says there is more */
    uint64_t asked_ns, asked_change;
    struct inode *child;   /* result: referenced, or NULL: absent */
    int error;             /* 0 or -errno */
    void (*done)(struct probe *probe);
    bool known;            /* input: the name is there, but not held against others. If it is gone
                            * when the answer comes, we took it away ourselves: it does not come back */
};
/* -EINPROGRESS: done() runs once, later | other -errno: it does not */
int probe_start(struct probe *p, struct inode *parent, const char *name, size_t len);
void probe_fini(struct probe *p);
