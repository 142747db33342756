/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What an S3 failure means: the only map from (status, Code) or a broken exchange to an errno and
 * to what may be done about it, and the arithmetic of trying again. Rows are in s3-error.tbl. Pure
 * functions. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum s3_retry {
    S3_RETRY_NEVER,       /* N */
    S3_RETRY_TRANSIENT,   /* T: after a short pause */
    S3_RETRY_THROTTLE,    /* S: after a long pause */
    S3_RETRY_CREDENTIALS, /* C: with fresh credentials, once; without any newer ones: never */
    S3_RETRY_REROUTE,     /* R: region or host from the reply, once */
    S3_RETRY_CLOCK,       /* take the clock offset from the reply's Date, once */
    /* Q: look whether an attempt of ours took effect (HEAD, ListParts) before anything else. When
     * none so far was maybe_applied there is nothing to look for, and the answer is final. */
    S3_RETRY_QUERY,
};

/* The circumstances that change a verdict; or-ed. */
enum s3_ctx {
    S3_CTX_HEAD = 1,  /* the reply carries no body: only the status is known */
    S3_CTX_WRITE = 2, /* PUT, parts, Complete, Copy, DELETE */
    /* Repeating it is not harmless: conditional writes, Complete. Not so parts, unconditional PUT,
     * Copy and DELETE. */
    S3_CTX_MUTATION = 4,
    S3_CTX_IF_MATCH = 8,       /* with WRITE: compare-and-swap; else a read pinned to a version */
    S3_CTX_IF_NONE_MATCH = 16, /* create-only */
    S3_CTX_COPY = 32,          /* has a source: a 404 may mean that one */
    S3_CTX_COMPLETE = 64,      /* the parts must be sent again after a conflict */
    S3_CTX_ATTACH = 128, /* at mount: a refusal is EINVAL, the user sees the text and can act */
};

struct s3_verdict {
    int error; /* -errno when tries are used up */
    enum s3_retry retry;
    unsigned tries_max; /* 0: as the budget and the deadline allow; else retries of this kind */
    bool maybe_applied; /* this attempt may have taken effect all the same: keep it across attempts
                         */
    bool unknown;       /* no row for it: log it with request id and host id */
};

/* status: of HTTP; 200 for an <Error> behind a 200. code: <Code>, or NULL or "" when there is none.
 */
struct s3_verdict s3_error_classify(unsigned status, const char *code, unsigned ctx);

/* How an exchange broke; the user of net/ maps curl's code into it. See s3-error.tbl for each. */
enum s3_broken {
#define S3_BROKEN(name, ...) S3_BROKEN_##name,
#include "s3proxyd/s3/s3-error.tbl"
    S3_BROKEN_COUNT
};
struct s3_verdict s3_error_broken(enum s3_broken how, unsigned ctx);
const char *s3_error_broken_text(enum s3_broken how); /* for error_text and the log */
const char *s3_retry_name(enum s3_retry retry);

/* Delay before retry number `attempt` (0 first): random·min(scale·2^attempt, 20 s), scale 50 ms, or
 * 1 s for a throttle; retry_after_ms (x-amz-retry-after, 0: absent) is the least, but raises it by
 * at most 5 s. random: uniform over all 32-bit values, the caller's. */
uint64_t s3_backoff_ns(enum s3_retry retry, unsigned attempt, uint32_t random,
                       uint64_t retry_after_ms);

/* Retries are paid from a budget per endpoint, so that a sick endpoint is not beaten to death: 14
 * for a transient one, 5 for a throttled one (it paces itself). A success pays the request's last
 * fee back, or 1 when it cost nothing. Any thread. */
#define S3_BUDGET_MAX 500u
struct s3_budget {
    _Atomic unsigned tokens;
};
void s3_budget_init(struct s3_budget *b);
bool s3_budget_take(struct s3_budget *b, enum s3_retry retry, unsigned *ret_fee);
void s3_budget_refund(struct s3_budget *b,
                      unsigned fee); /* after success; fee 0: no retry was needed */
