/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* An HTTP server in a thread of the test, on a port of 127.0.0.1, that gives scripted answers: the
 * n-th request gets the n-th step, whatever connection it comes on. What came is kept for the test
 * to look at. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define FAKE_SEEN_MAX 64
#define FAKE_HEAD_SIZE 4096

struct fake_step {
    int status;       /* 0: no answer at all, see hang */
    const char *head; /* more header lines, each with \r\n; Content-Length is added */
    const char *body;
    size_t body_len; /* 0: strlen(body) */
    size_t
        announce; /* Content-Length if it is not the truth; the connection closes after the body */
    unsigned delay_ms;
    unsigned read_us;  /* pause after each 16 KiB of the request's body; buffers are small then */
    bool close, reset; /* after the answer: close, or RST */
    bool hang;         /* keep the connection open and silent */
    bool raw;          /* body is the whole answer, byte for byte */
};

struct fake_http;
struct fake_http *fake_http_start(const struct fake_step *steps, size_t nsteps);
void fake_http_stop(struct fake_http *f);
unsigned fake_http_port(const struct fake_http *f);
/* After all answers came back: how many requests, and the n-th one's head (request line and
 * headers). */
size_t fake_http_count(struct fake_http *f);
const char *fake_http_head(struct fake_http *f, size_t n);
