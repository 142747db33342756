/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What an exchange's end means for the request: the verdict of s3-error.tbl, and from that alone
 * whether to answer, to wait and try again, to go elsewhere, or to look first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/aws/date.h"
#include "s3proxyd/s3/s3-request.h"

#define AFTER_MAX_MS 3600000u /* a larger Retry-After is nonsense */
#define POOR_PAUSE_MS 5000u   /* least pause when the endpoint's budget of retries is used up */
#define SKEW_MIN_NS                                                               \
    (600 * (int64_t)NS_PER_S) /* S3 tolerates 15 minutes; HEAD's 403 does not say \
                               */
#define CHECK_TRIES 3u        /* at mount somebody waits to hear that nobody listens there */

static void request_refused(struct s3_request *rq, const struct s3_verdict *v)
{
    int r = v->error;

    if (rq->op->on_refused)
        r = rq->op->on_refused(rq, v);
    if (r == S3_STEP_AGAIN)
        s3_request_attempt(rq);
    else
        s3_request_end(rq, r);
}

bool s3_request_answered(const struct s3_request *rq)
{
    return rq->http.failure == HTTP_FAIL_NONE && rq->http.status >= 300 && !rq->late &&
           !rq->req->cancelled;
}

unsigned s3_request_ctx(const struct s3_request *rq)
{
    unsigned ctx = rq->op->ctx;

    if (rq->op != rq->main_op)
        return ctx;
    if (rq->req->if_match)
        ctx |= S3_CTX_IF_MATCH;
    if (rq->req->if_none_match)
        ctx |= S3_CTX_IF_NONE_MATCH;
    if ((ctx & S3_CTX_WRITE) && (rq->req->if_match || rq->req->if_none_match))
        ctx |= S3_CTX_MUTATION;
    return ctx;
}

static uint64_t retry_after_ms(const struct http *x)
{
    const char *ms = http_header(x, "x-amz-retry-after"), *s = http_header(x, "Retry-After");
    uint64_t v = 0;

    if (ms && str_to_u64(ms, 10, &v) >= 0)
        return MIN(v, AFTER_MAX_MS);
    if (s && str_to_u64(s, 10, &v) >= 0)
        return MIN(v, AFTER_MAX_MS / 1000) * 1000;
    return 0;
}

/* After a pause, if verdict, budget and deadline allow another try. */
static void request_later(struct s3_request *rq, const struct s3_verdict *v, enum s3_retry pace)
{
    struct s3_counters *c = &rq->store->count;
    uint64_t delay_ns, now = clock_mono_ns();
    bool at_once = rq->http.stale && !rq->reused_once;

    if (v->tries_max && rq->limited_tries++ >= v->tries_max) {
        request_refused(rq, v);
        return;
    }
    delay_ns = s3_backoff_ns(pace, rq->tries, arc4random(), retry_after_ms(&rq->http));
    if (at_once) {
        rq->reused_once = rq->fresh_next = true;
        delay_ns = 0;
    }
    /* Without budget the endpoint gets its rest, but a file is not given up for others' retries. */
    if (!at_once && !s3_budget_take(&rq->store->budget, pace, &rq->fee)) {
        rq->fee = 0;
        delay_ns += POOR_PAUSE_MS * NS_PER_MS;
    }
    if (now + delay_ns >= rq->give_up_ns) {
        request_refused(rq, v);
        return;
    }
    if (!at_once)
        rq->tries++;
    c->retries++;
    if (pace == S3_RETRY_THROTTLE) {
        rq->req->throttled = true;
        c->throttled++;
    }
    log_debug("s3", "%s %s: %s; again in %llu ms", rq->op->name, log_esc(rq->req->key ?: ""),
              rq->req->error_text, (unsigned long long)(delay_ns / NS_PER_MS));
    rq->waiting = true;
    loop_timer_set_ms(rq->retry_timer, delay_ns / NS_PER_MS);
}

static bool request_reroute(struct s3_request *rq)
{
    const char *region = http_header(&rq->http, "x-amz-bucket-region");
    struct s3_routes *routes = &rq->store->routes;

    if (!region || !*region)
        region = rq->reply.error.region;
    if (rq->rerouted || !region[0])
        return false;
    if (s3_route_current(routes) == rq->route) {
        if (s3_route_change(routes, rq->route, region) < 0)
            return false;
        log_warn("s3", "bucket %s is in region %s, not %s; using that (set it to save the detour)",
                 log_esc(routes->bucket), log_esc(region), rq->route->region);
    }
    rq->rerouted = true; /* or another request has found out meanwhile */
    return true;
}

static bool server_time(const struct s3_request *rq, int64_t *ret_ns)
{
    const char *date = http_header(&rq->http, "Date");

    return date && date_parse_http(date, ret_ns) >= 0;
}

static bool clock_is_off(const struct s3_request *rq)
{
    int64_t server_ns;

    return server_time(rq, &server_ns) &&
           llabs(server_ns - clock_real_ns() - rq->store->clock_offset_ns) > SKEW_MIN_NS;
}

static bool request_set_clock(struct s3_request *rq)
{
    int64_t server_ns, offset_ns;

    if (rq->clock_set || !server_time(rq, &server_ns))
        return false;
    rq->clock_set = true;
    offset_ns = server_ns - clock_real_ns();
    rq->store->clock_offset_ns = offset_ns;
    log_warn("s3", "this machine's clock is %lld s %s that of %s; signing with the server's time",
             llabs((long long)(offset_ns / (int64_t)NS_PER_S)),
             offset_ns < 0 ? "ahead of" : "behind", log_esc(rq->route->host));
    return true;
}

static void request_verdict(struct s3_request *rq, struct s3_verdict v)
{
    if (v.unknown)
        log_warn("s3", "%s %s: unexpected answer: %s, host id %s", rq->op->name,
                 log_esc(rq->req->key ?: ""), rq->req->error_text,
                 log_esc(http_header(&rq->http, "x-amz-id-2") ?: "-"));
    if ((rq->late || rq->req->cancelled) && v.retry != S3_RETRY_NEVER) {
        v.error = rq->late ? -ETIMEDOUT : -ECANCELED;
        v.retry = S3_RETRY_NEVER;
    }
    rq->uncertain = rq->uncertain || v.maybe_applied;
    switch (v.retry) {
    case S3_RETRY_NEVER:
    case S3_RETRY_CREDENTIALS: /* none newer than these: sources that refresh come later */
        request_refused(rq, &v);
        break;
    case S3_RETRY_TRANSIENT:
    case S3_RETRY_THROTTLE:
        request_later(rq, &v, v.retry);
        break;
    case S3_RETRY_REROUTE:
    case S3_RETRY_CLOCK:
        if (v.retry == S3_RETRY_CLOCK ? request_set_clock(rq) : request_reroute(rq))
            s3_request_attempt(rq);
        else
            request_refused(rq, &v);
        break;
    case S3_RETRY_QUERY:
        if (v.maybe_applied) { /* this very attempt: it is no answer either */
            s3_probe_start(rq, &v);
            request_later(rq, &v, S3_RETRY_TRANSIENT);
        } else if (rq->uncertain) {
            s3_probe_start(rq, &v);
            s3_request_attempt(rq);
        } else {
            request_refused(rq, &v);
        }
        break;
    }
}

static const enum s3_broken broken_of[] = {
    [HTTP_FAIL_RESOLVE] = S3_BROKEN_RESOLVE, [HTTP_FAIL_CONNECT] = S3_BROKEN_CONNECT,
    [HTTP_FAIL_PROXY] = S3_BROKEN_PROXY,     [HTTP_FAIL_TLS] = S3_BROKEN_TLS,
    [HTTP_FAIL_CERT] = S3_BROKEN_TRUST,      [HTTP_FAIL_STALL] = S3_BROKEN_STALL,
    [HTTP_FAIL_SEND] = S3_BROKEN_SEND,       [HTTP_FAIL_RECEIVE] = S3_BROKEN_RECEIVE,
    [HTTP_FAIL_SHORT] = S3_BROKEN_SHORT,     [HTTP_FAIL_REPLY] = S3_BROKEN_GARBAGE,
    [HTTP_FAIL_SINK] = S3_BROKEN_LOCAL,      [HTTP_FAIL_SOURCE] = S3_BROKEN_LOCAL,
    [HTTP_FAIL_MEMORY] = S3_BROKEN_NOMEM,    [HTTP_FAIL_CANCELLED] = S3_BROKEN_CANCELLED,
};

static void request_broken(struct s3_request *rq, enum s3_broken how, int local_error)
{
    struct s3_verdict v = s3_error_broken(how, s3_request_ctx(rq));
    const char *text = s3_error_broken_text(how);

    if ((s3_request_ctx(rq) & S3_CTX_ATTACH) && how <= S3_BROKEN_TLS)
        v.tries_max = CHECK_TRIES;
    if (local_error) {
        v.error = local_error;
        s3_reply_text(rq, "%s: %s", text, strerror(-local_error));
    } else if (rq->http.failure != HTTP_FAIL_NONE && rq->http.text[0] && how != S3_BROKEN_CANCELLED)
        s3_reply_text(rq, "%s: %s", text, rq->http.text);
    else
        s3_reply_text(rq, "%s", text);
    request_verdict(rq, v);
}

enum s3_broken s3_judge_xml(int error)
{
    return error == -EMSGSIZE ? S3_BROKEN_TOO_LARGE
           : error == -ENOMEM ? S3_BROKEN_NOMEM
                              : S3_BROKEN_GARBAGE;
}

static void request_success(struct s3_request *rq)
{
    int r = 0;

    if (rq->call.xml) {
        r = rq->xml ? xml_finish(rq->xml, &rq->reply) : -ENODATA;
        if (r < 0) {
            request_broken(rq, s3_judge_xml(r), 0);
            return;
        }
        if (rq->reply.is_error) {
            s3_reply_explain(rq, "an error behind a success");
            request_verdict(rq, s3_error_classify(200, rq->reply.error.code, s3_request_ctx(rq)));
            return;
        }
    }
    rq->broken = S3_BROKEN_COUNT;
    r = rq->op->on_reply(rq);
    if (r == S3_STEP_AGAIN)
        s3_request_attempt(rq);
    else if (r == S3_STEP_BROKEN)
        request_broken(rq, rq->broken, 0);
    else
        s3_request_end(rq, r);
}

static void request_failure(struct s3_request *rq)
{
    const char *code = NULL;
    struct s3_verdict v;

    if (rq->xml && xml_finish(rq->xml, &rq->reply) >= 0 && rq->reply.is_error)
        code = rq->reply.error.code;
    else if (rq->http.method == HTTP_HEAD) /* MinIO's way to tell what no body can */
        code = http_header(&rq->http, "x-minio-error-code");
    s3_reply_explain(rq, code);
    v = s3_error_classify((unsigned)rq->http.status, code, s3_request_ctx(rq));
    if (rq->http.method == HTTP_HEAD && rq->http.status == 403 && clock_is_off(rq))
        v.retry = S3_RETRY_CLOCK;
    request_verdict(rq, v);
}

void s3_judge_exchange(struct s3_request *rq)
{
    struct http *x = &rq->http;
    struct s3_counters *c = &rq->store->count;

    c->bytes_in += x->bytes_in;
    c->bytes_out += x->bytes_out;
    if (rq->sink.full && x->status >= 200 && x->status <= 299)
        x->failure = HTTP_FAIL_NONE; /* all that was wanted is there, however it ended */
    if (x->failure == HTTP_FAIL_CANCELLED && rq->late)
        request_broken(rq, S3_BROKEN_DEADLINE, 0);
    else if (x->failure == HTTP_FAIL_SINK && rq->broken != S3_BROKEN_COUNT)
        request_broken(rq, rq->broken, 0);
    else if (x->failure == HTTP_FAIL_SINK && x->error == -ESTALE)
        request_refused(rq, &(struct s3_verdict){.error = x->error}); /* the sink told why */
    else if (x->failure != HTTP_FAIL_NONE)
        request_broken(rq, x->stale ? S3_BROKEN_REUSED : broken_of[x->failure], x->error);
    else if (x->status >= 200 && x->status <= 299)
        request_success(rq);
    else
        request_failure(rq);
}
