/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* libcurl's multi interface on our loop; the only file that includes <curl/curl.h>.
 *
 * libcurl calls us back for sockets, its timer, headers, bodies; none of those callbacks decides
 * anything or calls libcurl. Exchanges end in engine_reap(), after curl_multi_socket_action() has
 * returned, or in http_cancel() and the stall timer, which libcurl knows nothing of.
 *
 * libcurl re-sends a request by itself when a re-used connection closes without a reply. For a
 * request with a body that is refused by a failing SEEKFUNCTION (a Complete must not be sent twice,
 * one's own conditional PUT would come back as 412); for one without, the caller sets `fresh` where
 * it matters. */
#include "s3proxyd/net/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "s3proxyd/net/http-curl.h"

#define CONNECTIONS_DEFAULT 32u
#define CONNECT_TIMEOUT_DEFAULT_MS 5000u
#define STALL_TIMEOUT_DEFAULT_MS 20000u
#define BULK_BUFFER_BYTES (512l * 1024) /* one recv; larger showed no gain */
#define SMALL_BUFFER_BYTES (32l * 1024)
#define EXPECT_TIMEOUT_MS 1000l             /* what a server that never says 100 costs */
#define IDLE_CONNECTIONS 64l
#define STARTED_PER_CONNECTION 2u /* handles are large: beyond it exchanges wait without one */

struct http_engine {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer *timer;
    unsigned connect_timeout_ms, stall_timeout_ms, started, running, running_max;
    struct list waiting; /* started, but without a handle so far */
    struct loop_task next;
    char *ca_bundle, *proxy;
};

_Static_assert(HTTP_TEXT_BYTES >= CURL_ERROR_SIZE, "libcurl writes its error text into http.text");

struct sock { /* a socket libcurl wants watched */
    struct http_engine *engine;
    curl_socket_t fd;
    struct loop_io *io;
};

int http_global_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) ? -ENOMEM : 0;
}

void http_global_fini(void)
{
    curl_global_cleanup();
}

static void exchange_detach(struct http *x)
{
    struct http_engine *e = x->engine;

    if (x->easy) {
        e->running--;
        loop_task_add(e->loop, &e->next);
        curl_multi_remove_handle(e->multi, x->easy);
        curl_easy_cleanup(x->easy);
        x->easy = NULL;
    }
    curl_slist_free_all(x->header_list);
    x->header_list = NULL;
    if (x->stall_timer)
        loop_timer_free(x->stall_timer);
    x->stall_timer = NULL;
}

static void exchange_done(void *arg)
{
    struct http *x = arg;

    loop_task_cancel(&x->end);
    exchange_detach(x);
    x->engine->started--;
    log_debug("http", "%s: status %d, failure %d, %llu bytes in%s%s", log_esc(x->target), x->status,
              (int)x->failure, (unsigned long long)x->bytes_in, x->text[0] ? ", " : "",
              log_esc(x->text));
    x->done(x);
}

static void exchange_fail(struct http *x, enum http_failure failure, const char *text)
{
    x->failure = failure;
    snprintf(x->text, sizeof(x->text), "%s", text);
}

/* The handle has finished; its message was taken from the multi. */
static void exchange_result(struct http *x, CURLcode code)
{
    long connects = 0;

    if (x->failure == HTTP_FAIL_NONE) /* else we found a reason first */
        x->failure = http_failure_of(x, code);
    if (code && !x->text[0])
        snprintf(x->text, sizeof(x->text), "%s", curl_easy_strerror(code));
    if ((x->failure == HTTP_FAIL_SEND || x->failure == HTTP_FAIL_RECEIVE) && !x->status) {
        curl_easy_getinfo(x->easy, CURLINFO_NUM_CONNECTS, &connects);
        x->stale = connects == 0 || code == CURLE_SEND_FAIL_REWIND; /* its own second try */
    }
    exchange_done(x);
}

static void engine_reap(struct http_engine *e)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(e->multi, &left))) {
        CURLcode code = msg->data.result;
        struct http *x = NULL;

        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &x);
        exchange_result(x, code);
    }
}

static void engine_timeout(void *arg)
{
    struct http_engine *e = arg;
    int running;

    curl_multi_socket_action(e->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    engine_reap(e);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_engine *e = arg;

    (void)multi;
    if (timeout_ms < 0)
        loop_timer_clear(e->timer);
    else
        loop_timer_set_ms(e->timer, (uint64_t)timeout_ms);
    return 0;
}

static void sock_ready(void *arg, unsigned events)
{
    struct sock *s = arg; /* may be freed by the call below */
    struct http_engine *e = s->engine;
    int running, mask = 0;

    if (events & LOOP_READ)
        mask |= CURL_CSELECT_IN;
    if (events & LOOP_WRITE)
        mask |= CURL_CSELECT_OUT;
    curl_multi_socket_action(e->multi, s->fd, mask, &running);
    engine_reap(e);
}

static struct sock *sock_new(struct http_engine *e, curl_socket_t fd)
{
    struct sock *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->engine = e;
    s->fd = fd;
    if (loop_io_new(e->loop, fd, sock_ready, s, &s->io) < 0) {
        free(s);
        return NULL;
    }
    curl_multi_assign(e->multi, fd, s);
    return s;
}

/* A socket that cannot be watched fails the one exchange that uses it; returning -1 would kill the
 * multi. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock)
{
    struct http_engine *e = arg;
    struct sock *s = sock;
    struct http *x = NULL;
    unsigned want = 0;

    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &x);
    if (x && what != CURL_POLL_REMOVE)
        x->fd = fd;
    else if (x && x->fd == fd) /* it may be told of connections of others that end */
        x->fd = -1;
    if (what == CURL_POLL_REMOVE) {
        if (s) {
            loop_io_free(s->io);
            free(s);
            curl_multi_assign(e->multi, fd, NULL);
        }
        return 0;
    }
    if (what & CURL_POLL_IN)
        want |= LOOP_READ;
    if (what & CURL_POLL_OUT)
        want |= LOOP_WRITE;
    if (!s)
        s = sock_new(e, fd);
    if (s && loop_io_want(s->io, want) >= 0)
        return 0;
    if (x && x->failure == HTTP_FAIL_NONE) {
        exchange_fail(x, HTTP_FAIL_MEMORY, "out of memory");
        loop_task_add(e->loop, &x->end);
    }
    return 0;
}

static void engine_next(void *arg);

int http_engine_new(struct loop *loop, const struct net_config *config, struct http_engine **ret)
{
    unsigned conns = config->connections_per_host;
    struct http_engine *e = calloc(1, sizeof(*e));

    if (!e)
        return -ENOMEM;
    e->loop = loop;
    list_init(&e->waiting);
    loop_task_init(&e->next, engine_next, e);
    e->connect_timeout_ms = config->connect_timeout_ms ?: CONNECT_TIMEOUT_DEFAULT_MS;
    e->stall_timeout_ms = config->stall_timeout_ms ?: STALL_TIMEOUT_DEFAULT_MS;
    e->ca_bundle = config->ca_bundle ? strdup(config->ca_bundle) : NULL;
    e->proxy = strdup(config->proxy ? config->proxy : "");
    e->multi = curl_multi_init();
    if (!e->proxy || (config->ca_bundle && !e->ca_bundle) || !e->multi ||
        loop_timer_new(loop, engine_timeout, e, &e->timer) < 0) {
        http_engine_free(e);
        return -ENOMEM;
    }
    curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
    curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
    conns = conns ? conns : CONNECTIONS_DEFAULT;
    e->running_max = conns * STARTED_PER_CONNECTION;
    curl_multi_setopt(e->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)conns);
    curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
    *ret = e;
    return 0;
}

void http_engine_free(struct http_engine *e)
{
    if (!e)
        return;
    must(e->started == 0);
    loop_task_cancel(&e->next);
    if (e->multi)
        curl_multi_cleanup(e->multi);
    if (e->timer)
        loop_timer_free(e->timer);
    free(e->ca_bundle);
    free(e->proxy);
    free(e);
}

/* Connected, the request is about to be written: from here on the stall timer counts. */
static int on_connected(void *arg, char *to, char *from, int to_port, int from_port)
{
    struct http *x = arg;

    (void)to, (void)from, (void)to_port, (void)from_port;
    x->sent = true;
    x->active_ns = clock_mono_ns();
    return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct http *x = arg;
    size_t len = size * n;
    int r = 0;

    x->active_ns = clock_mono_ns();
    if (len > 9 && !strncasecmp(line, "HTTP/", 5)) { /* 100 and the like are followed by another */
        const char *sp = memchr(line, ' ', len - 3);

        x->status = 0;
        for (int i = 1; sp && i <= 3 && sp[i] >= '0' && sp[i] <= '9'; i++)
            x->status = x->status * 10 + (sp[i] - '0');
        str_clear(&x->head);
    } else if (x->bytes_in == 0) { /* trailers come after the body and are of no use */
        r = http_head_add(x, line, len);
    }
    if (r < 0) {
        exchange_fail(x, r == -ENOMEM ? HTTP_FAIL_MEMORY : HTTP_FAIL_REPLY,
                      "the reply's headers are too large");
        return 0;
    }
    return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct http *x = arg;
    size_t len = size * n;
    int r;

    x->active_ns = clock_mono_ns();
    x->bytes_in += len;
    r = x->on_data ? x->on_data(x, data, len) : 0;
    if (r < 0) {
        x->error = r;
        return CURL_WRITEFUNC_ERROR;
    }
    return len;
}

static size_t on_read(char *into, size_t size, size_t n, void *arg)
{
    struct http *x = arg;
    size_t got;

    x->active_ns = clock_mono_ns();
    x->error = http_body_read(x, into, size * n, &got);
    return x->error < 0 ? CURL_READFUNC_ABORT : got;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct http *x = arg;

    return origin == SEEK_SET && offset == 0 && x->body_done == 0 ? CURL_SEEKFUNC_OK
                                                                  : CURL_SEEKFUNC_FAIL;
}

static uint64_t stall_limit_ms(const struct http *x)
{
    return x->stall_timeout_ms ? x->stall_timeout_ms : x->engine->stall_timeout_ms;
}

/* A body that leaves has to be asked whether it does. */
static void stall_watch(struct http *x, uint64_t left_ms)
{
    uint64_t look_ms = x->body.length ? stall_limit_ms(x) / 4 : left_ms;

    loop_timer_set_ms(x->stall_timer, MIN(left_ms, look_ms) + 1);
}

static void stall_check(void *arg)
{
    struct http *x = arg;
    uint64_t limit_ms = stall_limit_ms(x), now = clock_mono_ns();

    if (http_body_moved(x) && x->active_ns)
        x->active_ns = now;
    uint64_t idle_ms = x->active_ns ? (now - x->active_ns) / NS_PER_MS : 0;
    if (idle_ms < limit_ms) {
        stall_watch(x, limit_ms - idle_ms);
        return;
    }
    exchange_fail(x, HTTP_FAIL_STALL, "the server went silent");
    exchange_done(x);
}

static CURLcode setup_manners(struct http *x)
{
    const struct http_engine *e = x->engine;
    CURLcode r = CURLE_OK;

    SET(CURLOPT_NOSIGNAL, 1l);
    SET(CURLOPT_QUICK_EXIT, 1l); /* the end of an exchange does not wait for its name server */
    SET(CURLOPT_HTTP_VERSION,
        (long)CURL_HTTP_VERSION_1_1); /* h2 puts all ranges on one connection */
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_PATH_AS_IS, 1l);
    SET(CURLOPT_HTTP_CONTENT_DECODING, 0l);
    SET(CURLOPT_PROXY, e->proxy);
    SET(CURLOPT_NOPROXY, "localhost,127.0.0.0/8,169.254.0.0/16,::1");
    SET(CURLOPT_SSL_VERIFYPEER, 1l);
    SET(CURLOPT_SSL_VERIFYHOST, 2l);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (e->ca_bundle)
        SET(CURLOPT_CAINFO, e->ca_bundle);
    SET(CURLOPT_TCP_KEEPALIVE, 1l);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)e->connect_timeout_ms);
    SET(CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_TIMEOUT_MS);
    SET(CURLOPT_BUFFERSIZE, x->bulk ? BULK_BUFFER_BYTES : SMALL_BUFFER_BYTES);
    SET(CURLOPT_UPLOAD_BUFFERSIZE,
        x->body.length > HTTP_EXPECT_ABOVE_BYTES ? BULK_BUFFER_BYTES : SMALL_BUFFER_BYTES);
    SET(CURLOPT_FRESH_CONNECT, (long)x->fresh);
    return r;
}

static CURLcode setup_callbacks(struct http *x)
{
    CURLcode r = CURLE_OK;

    SET(CURLOPT_PRIVATE, x);
    SET(CURLOPT_ERRORBUFFER, x->text);
    SET(CURLOPT_PREREQFUNCTION, on_connected);
    SET(CURLOPT_PREREQDATA, x);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_READFUNCTION, on_read);
    SET(CURLOPT_READDATA, x);
    SET(CURLOPT_SEEKFUNCTION, on_seek);
    SET(CURLOPT_SEEKDATA, x);
    return r;
}

static int exchange_setup(struct http *x)
{
    _cleanup_(freep) char *url = str_dup_printf("%s%s", x->origin, x->target);

    x->easy = curl_easy_init();
    if (!url || !x->easy || setup_manners(x) || setup_callbacks(x) || http_setup_method(x) ||
        curl_easy_setopt(x->easy, CURLOPT_URL, url) || http_setup_headers(x) < 0)
        return -ENOMEM;
    return loop_timer_new(x->engine->loop, stall_check, x, &x->stall_timer);
}

/* Gives the exchange its handle. 0 | -ENOMEM */
static int exchange_begin(struct http *x)
{
    struct http_engine *e = x->engine;
    int r = exchange_setup(x);

    e->running += x->easy != NULL; /* exchange_detach() takes it back */
    if (r >= 0 && curl_multi_add_handle(e->multi, x->easy) != CURLM_OK)
        r = -ENOMEM;
    if (r < 0) {
        exchange_detach(x);
        return r;
    }
    stall_watch(x, stall_limit_ms(x));
    return 0;
}

/* Handles have become free: the longest waiting exchanges get them. */
static void engine_next(void *arg)
{
    struct http_engine *e = arg;
    struct http *x;

    while (e->running < e->running_max && (x = list_first(&e->waiting, struct http, link))) {
        list_del(&x->link);
        if (exchange_begin(x) < 0) {
            exchange_fail(x, HTTP_FAIL_MEMORY, "out of memory");
            loop_task_add(e->loop, &x->end);
        }
    }
}

int http_start(struct http_engine *engine, struct http *x)
{
    str_clear(&x->head);
    x->engine = engine;
    x->failure = HTTP_FAIL_NONE;
    x->error = x->status = 0;
    x->sent = x->stale = false;
    x->bytes_in = x->bytes_out = x->body_done = x->body_left = x->active_ns = 0;
    x->fd = -1;
    x->text[0] = '\0';
    list_init(&x->link);
    loop_task_init(&x->end, exchange_done, x);
    if (engine->running >= engine->running_max) {
        list_add_tail(&engine->waiting, &x->link);
    } else {
        int r = exchange_begin(x);
        if (r < 0)
            return r;
    }
    engine->started++;
    return 0;
}

void http_cancel(struct http *x)
{
    bool waiting = x->engine && x->link.next && !list_empty(&x->link);

    if (!x->easy && !waiting)
        return;
    list_del(&x->link);
    if (x->failure == HTTP_FAIL_NONE)
        exchange_fail(x, HTTP_FAIL_CANCELLED, "cancelled");
    exchange_detach(x);
    loop_task_add(x->engine->loop, &x->end);
}
