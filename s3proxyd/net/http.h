/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One HTTP/1.1 exchange on a transfer thread. It says exactly what was asked: the target is sent as
 * it stands, no redirect is followed, no body is ever sent twice, nothing is read from the
 * environment. What a status means and whether to try again is the caller's to decide; this only
 * tells what happened. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/loop.h"
#include "proto/base/str.h"
#include "s3proxyd/net/net.h"

#define HTTP_HEAD_MAX_BYTES (64u * 1024) /* a reply's header section */
#define HTTP_TEXT_BYTES 256u

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_POST, HTTP_DELETE };

enum http_failure {
    HTTP_FAIL_NONE,    /* a whole reply came: see status */
    HTTP_FAIL_RESOLVE, /* this and the next four: nothing was sent */
    HTTP_FAIL_CONNECT, /* refused, unreachable, too slow */
    HTTP_FAIL_PROXY,
    HTTP_FAIL_TLS,
    HTTP_FAIL_CERT,    /* the server's certificate is not trusted */
    HTTP_FAIL_STALL,   /* connected, then no byte for the stall timeout */
    HTTP_FAIL_SEND,    /* the connection broke while sending */
    HTTP_FAIL_RECEIVE, /* ... while receiving, or without any answer */
    HTTP_FAIL_SHORT,   /* the body ended before its announced length */
    HTTP_FAIL_REPLY,   /* not HTTP, or a header section above the bound */
    HTTP_FAIL_SINK,    /* on_data refused; `error` is what it returned */
    HTTP_FAIL_SOURCE,  /* the request's body could not be read; `error` says why */
    HTTP_FAIL_MEMORY,
    HTTP_FAIL_CANCELLED,
};

struct http {
    /* inputs: the caller's, unchanged until done */
    enum http_method method;
    const char *origin;         /* scheme://host[:port] */
    const char *target;         /* /path?query, encoded as signed */
    const char *const *headers; /* "Name: value" each; Host among them */
    size_t nheaders;
    struct http_body { /* PUT and POST: length bytes of fd at offset, or memory if fd is -1 */
        int fd;
        uint64_t offset, length;
        const void *memory;
    } body;
    bool bulk;                 /* the reply is large: big buffers pay */
    bool fresh;                /* never on a connection that was used before */
    unsigned stall_timeout_ms; /* 0: the engine's */
    /* A piece of the reply's body; status and headers are known. 0 or -errno, which ends the
     * exchange. Runs inside libcurl: no http_ call but http_header(). */
    int (*on_data)(struct http *x, const void *data, size_t len);
    void (*done)(struct http *x); /* exactly once, from the loop, never from http_start() */

    /* outputs */
    enum http_failure failure;
    int error;                    /* -errno of FAIL_SINK and FAIL_SOURCE */
    int status;                   /* of the last header section; 0: none came */
    bool sent;                    /* the server may have seen this request */
    bool stale;                   /* broken on a re-used connection without one byte of reply */
    uint64_t bytes_in, bytes_out; /* of bodies */
    char text[HTTP_TEXT_BYTES];   /* libcurl's words about the failure; not escaped */

    /* the engine's, while started */
    struct str head; /* kept until http_fini() */
    struct http_engine *engine;
    struct list link; /* while it waits for a handle */
    void *easy, *header_list;
    struct loop_timer *stall_timer;
    struct loop_task end;
    uint64_t active_ns; /* last time a byte moved; 0: not connected yet */
    uint64_t body_done, body_left; /* read; and gone from here, see http-stall.c */
    int fd;                        /* its socket, to ask about; -1: none so far */
};

int http_global_init(void); /* before threads start: 0 | -ENOMEM */
void http_global_fini(void);
int http_engine_new(struct loop *loop, const struct net_config *config, struct http_engine **ret);
void http_engine_free(struct http_engine *engine); /* nothing started; NULL is fine */

/* 0, then done() comes | -ENOMEM, -EINVAL: it does not. Outputs are reset. */
int http_start(struct http_engine *engine, struct http *x);
/* Drops the connection; done() comes soon, FAIL_CANCELLED unless it had ended already. */
void http_cancel(struct http *x);
/* Value of the reply's header of that name (any case), NUL-terminated; the first one. NULL: absent.
 */
const char *http_header(const struct http *x, const char *name);
/* All headers in turn: *pos starts at 0. Names as the server spelled them. */
bool http_header_next(const struct http *x, size_t *pos, const char **ret_name,
                      const char **ret_value);

/* For the engine: one line of the reply's header section (0 | -E2BIG | -ENOMEM); the body's next
 * bytes. */
int http_head_add(struct http *x, const char *line, size_t len);
int http_body_read(struct http *x, void *into, size_t max, size_t *ret_got);

void http_fini(struct http *x); /* not started; frees what the outputs hold */
