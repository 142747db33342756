/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The engine: carries a request from its start through as many exchanges as it takes; s3-judge.c
 * decides after each how to go on. The only caller of http_start(). */
#include "s3proxyd/s3/s3-request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

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
        if (error != -ENOENT) /* "not there" is an answer */
            c->errors++;
        if (!rq->req->error_text[0])
            s3_reply_text(rq, "%s", strerror(-error));
    }
    net_thread_release(rq->thread);
    mailbox_post(net_home(rq->store->net), &rq->req->mail);
}

static void exchange_done(struct http *x)
{
    struct s3_request *rq = container_of(x, struct s3_request, http);

    rq->busy = false;
    s3_judge_exchange(rq);
}

static int exchange_data(struct http *x, const void *data, size_t len)
{
    struct s3_request *rq = container_of(x, struct s3_request, http);
    bool ok = x->status >= 200 && x->status <= 299;
    int r = 0;

    if (ok && rq->op->on_data)
        return rq->op->on_data(rq, data, len);
    if (x->bytes_in > XML_TOTAL_MAX_BYTES) { /* of what nobody asked for, without end */
        rq->broken = S3_BROKEN_TOO_LARGE;
        return -EMSGSIZE;
    }
    if (ok && !rq->call.xml)
        return 0;
    if (!rq->xml)
        r = xml_new(ok ? rq->call.want : XML_ERROR, &rq->xml);
    if (r >= 0)
        r = xml_feed(rq->xml, data, len);
    if (r >= 0 || !ok) /* an error page that is no XML leaves us the status */
        return 0;
    rq->broken = s3_judge_xml(r);
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
        s3_reply_text(rq, "cannot make the request");
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
        s3_reply_text(rq, "cannot read the data to send");
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
    if (rq->req->cancelled || rq->late) {
        s3_request_end(rq, rq->late ? -ETIMEDOUT : -ECANCELED);
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

static void retry_now(void *arg)
{
    struct s3_request *rq = arg;

    rq->waiting = false;
    s3_request_attempt(rq);
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
    rq->give_up_ns = req->deadline_ns ? req->deadline_ns : now + s3_patience_ns(rq->store, req->op);
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
    /* Two threads writing to one file take turns at its lock, and spin meanwhile. */
    unsigned near = rq->req->op == STORE_GET ? (unsigned)rq->req->sink.fd + 1 : 0;
    rq->posted_to = net_post(rq->store->net, &rq->req->mail, near);
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
