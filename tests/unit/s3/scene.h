/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A scene of the S3 fault tests: a scripted server and a store that talks to it. Included first by
 * every test of this directory, since cmocka wants its headers before it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/net/fake-http.h"
#include "tests/unit/s3/s3-bench.h"

#define HELLO "hello, world"
#define HELLO_MD5 "e4d7f1b4ed2e42d15898f4b27b019da4"
#define ETAG(x) "ETag: \"" x "\"\r\n"
#define S3_ERROR(code)                                                                  \
    "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>no &amp; no</Message>" \
    "<RequestId>R1</RequestId></Error>"

struct scene {
    struct fake_http *server;
    struct s3_bench bench;
};

/* The store gives up retrying after deadline_ms (0: 5 s) and calls silence after stall_ms (0: 5 s).
 */
void scene_open(struct scene *s, const struct fake_step *steps, size_t nsteps, unsigned deadline_ms,
                unsigned stall_ms);
/* Ends it; exactly that many requests must have been made. */
#define SCENE_ANY SIZE_MAX
void scene_close(struct scene *s, size_t requests);
#define SCENE(s, steps) scene_open(s, steps, sizeof(steps) / sizeof((steps)[0]), 0, 0)

/* The n-th request begins with `line` and has, or has not, that text in its headers. */
void scene_saw(struct scene *s, size_t n, const char *line);
void scene_had(struct scene *s, size_t n, const char *text);
void scene_had_not(struct scene *s, size_t n, const char *text);

struct store_req scene_put(const char *key); /* HELLO, create-only */
