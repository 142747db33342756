/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Looks failures up in s3-error.tbl and applies the few circumstances that change a row's meaning.
 */
#include "s3proxyd/s3/s3-error.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#define MS_NS 1000000ull
#define BACKOFF_TRANSIENT_MS 50ull
#define BACKOFF_THROTTLE_MS 1000ull
#define BACKOFF_MAX_MS 20000ull
#define RETRY_AFTER_EXTRA_MAX_MS 5000ull
#define FEE_TRANSIENT 14u
#define FEE_THROTTLE 5u

enum variant {
    VARIANT_PLAIN,
    VARIANT_FAIL,
    VARIANT_COND,
    VARIANT_GONE,
    VARIANT_CONFLICT,
    VARIANT_UPLOAD,
    VARIANT_REFUSE,
    VARIANT_HEAD,
};

struct row {
    enum s3_retry retry;
    int error;
    unsigned tries;
    enum variant variant;
};

static const struct {
    const char *code;
    struct row row;
} codes[] = {
#define S3_CODE(code, status, retry, error, tries, variant) \
    {code, {S3_RETRY_##retry, error, tries, VARIANT_##variant}},
#include "s3proxyd/s3/s3-error.tbl"
};

static const struct {
    unsigned from, to;
    struct row row;
} statuses[] = {
#define S3_STATUS(from, to, retry, error, variant) \
    {from, to, {S3_RETRY_##retry, error, 0, VARIANT_##variant}},
#include "s3proxyd/s3/s3-error.tbl"
};

static const struct {
    enum s3_retry retry;
    int error;
    unsigned tries;
    bool sent;
    const char *text;
} broken[] = {
#define S3_BROKEN(name, retry, error, tries, sent, text) \
    {S3_RETRY_##retry, error, tries, sent, text},
#include "s3proxyd/s3/s3-error.tbl"
};

/* Only once is it worth to re-route, to renew credentials or to set the clock; a status row has no
 * column for it. */
static unsigned tries_of(const struct row *row)
{
    bool once = row->retry == S3_RETRY_REROUTE || row->retry == S3_RETRY_CREDENTIALS ||
                row->retry == S3_RETRY_CLOCK;

    return once ? 1 : row->tries;
}

static const struct row *find_code(const char *code)
{
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(codes[i].code, code) == 0)
            return &codes[i].row;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        size_t len = strlen(codes[i].code) - 1;
        if (codes[i].code[len] == '*' && strncmp(codes[i].code, code, len) == 0)
            return &codes[i].row;
    }
    return NULL;
}

static const struct row *find_status(unsigned status, unsigned ctx)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (status >= statuses[i].from && status <= statuses[i].to &&
            (statuses[i].row.variant != VARIANT_HEAD || ctx & S3_CTX_HEAD))
            return &statuses[i].row;
    return &statuses[sizeof(statuses) / sizeof(statuses[0]) - 1].row; /* status above 65535 */
}

/* A failure that may hide a success: a mutation looks before it does anything else. A throttled one
 * keeps its pause and looks when it meets its own traces. */
static void failed(struct s3_verdict *v, unsigned ctx)
{
    v->maybe_applied = ctx & S3_CTX_WRITE;
    if (ctx & S3_CTX_MUTATION && v->retry == S3_RETRY_TRANSIENT)
        v->retry = S3_RETRY_QUERY;
}

static void vary(struct s3_verdict *v, enum variant variant, unsigned ctx)
{
    bool write = ctx & S3_CTX_WRITE;
    enum s3_retry look = ctx & S3_CTX_MUTATION ? S3_RETRY_QUERY : S3_RETRY_NEVER;

    switch (variant) {
    case VARIANT_FAIL:
        failed(v, ctx);
        break;
    case VARIANT_COND:
        v->retry = look;
        v->error = write && ctx & S3_CTX_IF_NONE_MATCH ? -EEXIST : -ESTALE;
        break;
    case VARIANT_GONE:
        v->retry = look;
        if (ctx & S3_CTX_IF_MATCH && !(ctx & S3_CTX_COPY))
            v->error = -ESTALE;
        break;
    case VARIANT_CONFLICT:
        if (ctx & S3_CTX_COMPLETE)
            v->retry = S3_RETRY_NEVER;
        break;
    case VARIANT_UPLOAD:
        v->retry = ctx & S3_CTX_COMPLETE ? S3_RETRY_QUERY : S3_RETRY_NEVER;
        break;
    case VARIANT_REFUSE:
        if (ctx & S3_CTX_ATTACH)
            v->error = -EINVAL;
        break;
    case VARIANT_PLAIN:
    case VARIANT_HEAD:
        break;
    }
}

struct s3_verdict s3_error_classify(unsigned status, const char *code, unsigned ctx)
{
    const struct row *row = code && *code ? find_code(code) : NULL;
    struct s3_verdict v = {.unknown = !row && code && *code};

    if (!row)
        row = find_status(status, ctx);
    v.error = -row->error;
    v.retry = row->retry;
    v.tries_max = tries_of(row);
    vary(&v, row->variant, ctx);
    return v;
}

struct s3_verdict s3_error_broken(enum s3_broken how, unsigned ctx)
{
    struct s3_verdict v = {.error = -EIO, .retry = S3_RETRY_NEVER};

    if ((unsigned)how >= S3_BROKEN_COUNT)
        return v;
    v.error = -broken[how].error;
    v.retry = broken[how].retry;
    v.tries_max = broken[how].tries;
    if (broken[how].sent)
        failed(&v, ctx);
    return v;
}

const char *s3_error_broken_text(enum s3_broken how)
{
    return (unsigned)how < S3_BROKEN_COUNT ? broken[how].text : "unknown failure";
}

const char *s3_retry_name(enum s3_retry retry)
{
    switch (retry) {
    case S3_RETRY_NEVER:
        return "never";
    case S3_RETRY_TRANSIENT:
        return "transient";
    case S3_RETRY_THROTTLE:
        return "throttle";
    case S3_RETRY_CREDENTIALS:
        return "credentials";
    case S3_RETRY_REROUTE:
        return "reroute";
    case S3_RETRY_CLOCK:
        return "clock";
    case S3_RETRY_QUERY:
        return "query";
    }
    return "?";
}

uint64_t s3_backoff_ns(enum s3_retry retry, unsigned attempt, uint32_t random,
                       uint64_t retry_after_ms)
{
    uint64_t scale = retry == S3_RETRY_THROTTLE ? BACKOFF_THROTTLE_MS : BACKOFF_TRANSIENT_MS;
    uint64_t top_ms = attempt < 16 ? scale << attempt : BACKOFF_MAX_MS;
    uint64_t ns, least;

    if (top_ms > BACKOFF_MAX_MS)
        top_ms = BACKOFF_MAX_MS;
    ns = top_ms * 1000 * random / UINT32_MAX * 1000;
    if (retry_after_ms > BACKOFF_MAX_MS + RETRY_AFTER_EXTRA_MAX_MS)
        retry_after_ms = BACKOFF_MAX_MS + RETRY_AFTER_EXTRA_MAX_MS;
    least = retry_after_ms * MS_NS;
    if (least <= ns)
        return ns;
    if (least - ns > RETRY_AFTER_EXTRA_MAX_MS * MS_NS)
        return ns + RETRY_AFTER_EXTRA_MAX_MS * MS_NS;
    return least;
}

void s3_budget_init(struct s3_budget *b)
{
    atomic_init(&b->tokens, S3_BUDGET_MAX);
}

bool s3_budget_take(struct s3_budget *b, enum s3_retry retry, unsigned *ret_fee)
{
    unsigned fee = retry == S3_RETRY_THROTTLE ? FEE_THROTTLE : FEE_TRANSIENT;
    unsigned have = atomic_load(&b->tokens);

    do {
        if (have < fee)
            return false;
    } while (!atomic_compare_exchange_weak(&b->tokens, &have, have - fee));
    *ret_fee = fee;
    return true;
}

void s3_budget_refund(struct s3_budget *b, unsigned fee)
{
    unsigned have = atomic_load(&b->tokens), next;

    fee = fee ? fee : 1;
    do {
        if (have >= S3_BUDGET_MAX)
            return;
        next = have + fee < S3_BUDGET_MAX ? have + fee : S3_BUDGET_MAX;
    } while (!atomic_compare_exchange_weak(&b->tokens, &have, next));
}
