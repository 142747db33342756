/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The engine: carries a request through as many exchanges as it takes, and decides after each, by
 * the verdict of s3-error.tbl alone, whether that was the end. The only caller of http_start(). */
#include "s3proxyd/s3/s3-request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/aws/date.h"

#define AFTER_MAX_MS 3600000u /* a larger Retry-After is nonsense */

void s3_request_end(struct s3_request *rq, int error)
{
    struct s3_counters *c = &rq->store->count;

    must(!rq->busy && !rq->ended);
    rq->ended = true;
    if (rq->main_op->fini)
        rq->main_op->fini(rq);
    if (rq->retry_timer)
        loop_timer_free(rq->retry_timer);
    if (rq->deadline_timer)
        loop_timer_free(rq->deadline_timer);
    s3_payload_fini(rq);
    s3_call_fini(&rq->call);
    http_fini(&rq->http);
    xml_free(rq->xml);
    xml_reply_fini(&rq->reply);
    rq->xml = NULL;
    rq->req->error = error;
    if (error == 0) {
        rq->req->error_text[0] = '\0';
        s3_budget_refund(&rq->store->budget, rq->fee);
    } else {
        c->errors++;
        if (!rq->req->error_text[0])
            snprintf(rq->req->error_text, sizeof(rq->req->error_text), "%s", strerror(-error));
    }
    net_thread_release(rq->thread);
    mailbox_post(net_home(rq->store->net), &rq->req->mail);
}

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

static void retry_now(void *arg)
{
    struct s3_request *rq = arg;

    rq->waiting = false;
    s3_request_attempt(rq);
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
    if (now + delay_ns >= rq->give_up_ns ||
        (!at_once && !s3_budget_take(&rq->store->budget, pace, &rq->fee))) {
        request_refused(rq, v);
        return;
    }
    if (!at_once)
        rq->tries++;
    c->retries++;
    if (pace == S3_RETRY_THROTTLE)
        c->throttled++;
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

static bool request_set_clock(struct s3_request *rq)
{
    const char *date = http_header(&rq->http, "Date");
    int64_t server_ns, offset_ns;

    if (rq->clock_set || !date || date_parse_http(date, &server_ns) < 0)
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

    if (local_error)
        v.error = local_error;
    if (rq->http.failure != HTTP_FAIL_NONE && rq->http.text[0] && how != S3_BROKEN_CANCELLED)
        snprintf(rq->req->error_text, sizeof(rq->req->error_text), "%s: %s", text,
                 log_esc(rq->http.text));
    else
        snprintf(rq->req->error_text, sizeof(rq->req->error_text), "%s", text);
    request_verdict(rq, v);
}

static void request_success(struct s3_request *rq)
{
    int r = 0;

    if (rq->call.xml) {
        r = rq->xml ? xml_finish(rq->xml, &rq->reply) : -ENODATA;
        if (r < 0) {
            request_broken(rq,
                           r == -EMSGSIZE ? S3_BROKEN_TOO_LARGE
                           : r == -ENOMEM ? S3_BROKEN_NOMEM
                                          : S3_BROKEN_GARBAGE,
                           0);
            return;
        }
        if (rq->reply.is_error) {
            s3_request_text(rq, "an error behind a success");
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

    if (rq->xml && xml_finish(rq->xml, &rq->reply) >= 0 && rq->reply.is_error)
        code = rq->reply.error.code;
    else if (rq->http.method ==
             HTTP_HEAD) /* MinIO tells in a header what a HEAD's reply cannot carry */
        code = http_header(&rq->http, "x-minio-error-code");
    s3_request_text(rq, code);
    request_verdict(rq, s3_error_classify((unsigned)rq->http.status, code, s3_request_ctx(rq)));
}

static void exchange_done(struct http *x)
{
    struct s3_request *rq = container_of(x, struct s3_request, http);
    struct s3_counters *c = &rq->store->count;

    rq->busy = false;
    c->bytes_in += x->bytes_in;
    c->bytes_out += x->bytes_out;
    if (x->failure == HTTP_FAIL_SINK && rq->sink.full)
        x->failure = HTTP_FAIL_NONE; /* we hung up: all that was wanted is there */
    if (x->failure == HTTP_FAIL_CANCELLED && rq->late)
        request_broken(rq, S3_BROKEN_DEADLINE, 0);
    else if (x->failure == HTTP_FAIL_SINK && rq->broken != S3_BROKEN_COUNT)
        request_broken(rq, rq->broken, 0);
    else if (x->failure != HTTP_FAIL_NONE)
        request_broken(rq, x->stale ? S3_BROKEN_REUSED : broken_of[x->failure], x->error);
    else if (x->status >= 200 && x->status <= 299)
        request_success(rq);
    else
        request_failure(rq);
}

static int exchange_data(struct http *x, const void *data, size_t len)
{
    struct s3_request *rq = container_of(x, struct s3_request, http);
    bool ok = x->status >= 200 && x->status <= 299;
    int r = 0;

    if (ok && rq->op->on_data)
        return rq->op->on_data(rq, data, len);
    if (ok && !rq->call.xml)
        return 0;
    if (!rq->xml)
        r = xml_new(ok ? rq->call.want : XML_ERROR, &rq->xml);
    if (r >= 0)
        r = xml_feed(rq->xml, data, len);
    if (r >= 0 || !ok) /* an error page that is no XML leaves us the status */
        return 0;
    rq->broken = r == -EMSGSIZE ? S3_BROKEN_TOO_LARGE
                 : r == -ENOMEM ? S3_BROKEN_NOMEM
                                : S3_BROKEN_GARBAGE;
    return r;
}

static void request_send(struct s3_request *rq)
{
    struct http *x = &rq->http;
    bool mutation = s3_request_ctx(rq) & S3_CTX_MUTATION;
    int r;

    rq->route = s3_route_current(&rq->store->routes);
    r = s3_call_sign(&rq->call, rq->store, rq->route, rq->payload_hex[0] ? rq->payload_hex : NULL);
    if (r >= 0) {
        x->method = rq->call.method;
        x->origin = rq->route->origin;
        x->target = rq->call.target.s;
        x->headers = (const char *const *)rq->call.lines;
        x->nheaders = rq->call.nlines;
        x->body = rq->call.body;
        x->bulk = rq->call.bulk;
        /* libcurl would silently send a mutation without body again (see http.c) */
        x->fresh = rq->call.fresh || rq->fresh_next || (mutation && !x->body.length);
        x->stall_timeout_ms = rq->call.stall_timeout_ms;
        x->on_data = exchange_data;
        x->done = exchange_done;
        r = http_start(net_thread_http(rq->thread), x);
    }
    if (r < 0) {
        snprintf(rq->req->error_text, sizeof(rq->req->error_text), "cannot make the request");
        s3_request_end(rq, r);
        return;
    }
    rq->fresh_next = false;
    rq->busy = true;
    rq->store->count.requests[rq->req->op]++;
}

static void payload_ready(struct s3_request *rq, int error)
{
    if (error < 0) {
        snprintf(rq->req->error_text, sizeof(rq->req->error_text), "cannot read the data to send");
        s3_request_end(rq, rq->req->cancelled ? -ECANCELED : error);
        return;
    }
    s3_request_attempt(rq);
}

void s3_request_attempt(struct s3_request *rq)
{
    s3_call_fini(&rq->call);
    xml_free(rq->xml);
    rq->xml = NULL;
    xml_reply_fini(&rq->reply);
    rq->reply = XML_REPLY_NULL;
    rq->broken = S3_BROKEN_COUNT;
    if (rq->req->cancelled) {
        s3_request_end(rq, -ECANCELED);
        return;
    }
    rq->op->build(rq);
    if (rq->store->sign_payload && rq->call.body.length && rq->store->cred->access_key &&
        !rq->payload_hex[0]) {
        s3_payload_start(rq, DIGEST_SHA256, payload_ready);
    } else if (rq->call.needs_md5 && !rq->has_md5) {
        s3_payload_start(rq, DIGEST_MD5, payload_ready);
    } else {
        request_send(rq);
    }
}

static void deadline_passed(void *arg)
{
    struct s3_request *rq = arg;

    rq->late = true;
    if (rq->busy)
        http_cancel(&rq->http);
    else if (rq->waiting)
        s3_request_end(rq, -ETIMEDOUT);
    /* else the body is being digested: s3-payload.c looks */
}

static void request_start(struct mail *mail)
{
    struct store_req *req = container_of(mail, struct store_req, mail);
    struct s3_request *rq = req->impl;
    struct loop *loop;
    uint64_t now = clock_mono_ns();
    int r;

    rq->thread = net_thread_self();
    loop = net_thread_loop(rq->thread);
    req->mail.run = rq->home;
    rq->give_up_ns = req->deadline_ns ? req->deadline_ns : now + rq->store->retry_deadline_ns;
    r = loop_timer_new(loop, retry_now, rq, &rq->retry_timer);
    if (r >= 0 && req->deadline_ns)
        r = loop_timer_new(loop, deadline_passed, rq, &rq->deadline_timer);
    if (r < 0) {
        s3_request_end(rq, -ENOMEM);
        return;
    }
    if (req->deadline_ns)
        loop_timer_set_ms(rq->deadline_timer,
                          req->deadline_ns > now ? (req->deadline_ns - now) / NS_PER_MS : 0);
    s3_request_attempt(rq);
}

void s3_request_submit(struct s3_request *rq, void (*home)(struct mail *mail))
{
    rq->home = home;
    rq->req->mail.run = request_start;
    rq->posted_to = net_post(rq->store->net, &rq->req->mail);
}

/* A write whose bytes have all been sent may take effect at any moment, so its answer is waited
 * for. */
static bool past_recall(const struct s3_request *rq)
{
    const struct http *x = &rq->http;

    return x->sent && x->method != HTTP_GET && x->method != HTTP_HEAD &&
           x->body_done == x->body.length;
}

static void request_recall(struct mail *mail)
{
    struct s3_request *rq = container_of(mail, struct s3_request, cancel_mail);

    if (!rq->ended && rq->busy && !past_recall(rq))
        http_cancel(&rq->http);
    else if (!rq->ended && rq->waiting)
        s3_request_end(rq, -ECANCELED);
    rq->cancel_mail.run = rq->cancel_home;
    mailbox_post(net_home(rq->store->net), &rq->cancel_mail);
}

void s3_request_cancel(struct s3_request *rq, void (*home)(struct mail *mail))
{
    if (rq->cancel_out || rq->req->cancelled)
        return;
    rq->req->cancelled = rq->cancel_out = true;
    rq->cancel_home = home;
    rq->cancel_mail.run = request_recall;
    net_thread_post(rq->posted_to, &rq->cancel_mail);
}
