/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the files of the file store share. Everything here but file.c runs on pool threads, many
 * at a time, and keeps no state in memory: the directory is the truth, and other programs and
 * other backends change it too. What must not interleave (test a condition, then rename) is done
 * under the flock of .hafiz/lock. */
#pragma once

#include <stdatomic.h>
#include <sys/stat.h>

#include "proto/limits.h"
#include "s3proxyd/store/store.h"
#include "s3proxyd/work/pool.h"

#define FILE_PRIVATE_DIR ".hafiz"

struct file_names_rest;

struct file_store {
    struct store store;
    struct pool *pool;
    char *directory;
    int root;                 /* O_RDONLY | O_DIRECTORY */
    _Atomic bool no_openat2;  /* the kernel or a filter refused it */
    _Atomic bool has_records; /* attributes may stand below .hafiz/meta */
    _Atomic bool swept;       /* leftovers of crashes were looked for */
    _Atomic uint64_t hidden;  /* names no key can carry, links and specials met in listings */
    _Atomic uint64_t last_mtime_ns;
    struct file_names_rest *_Atomic rest; /* of a listing between two pages, see file-names.h */
    struct store_stats stats;             /* main loop only */
};

/* One request on its way; hangs on req->impl. */
struct file_job {
    struct file_store *fs;
    struct store_req *req;
    struct mail progress; /* posted while `progress_posted` */
    _Atomic bool progress_posted;
    _Atomic uint64_t progress_got;
};

/* -ECANCELED, -ETIMEDOUT or 0: asked between pieces of work, never between commit and answer. */
int file_job_check(const struct file_job *job);
void file_job_progress(struct file_job *job, uint64_t got);
/* Puts a text for the log and the user beside the error and returns it. */
int file_job_fail(struct file_job *job, int error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The operations; 0 | -errno, outputs into job->req. */
int file_object_head(struct file_job *job);
int file_object_get(struct file_job *job);
int file_object_put(struct file_job *job);
int file_object_copy(struct file_job *job);
int file_delete_one(struct file_job *job);
int file_delete_many(struct file_job *job);
int file_list_page(struct file_job *job);
int file_upload_create(struct file_job *job);
int file_upload_part(struct file_job *job);
int file_upload_complete(struct file_job *job);
int file_upload_abort(struct file_job *job);
