/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The start of a conversation: find out who listens, say hello, ask one thing at a time. What follows on
 * the same descriptor is never read by accident. */
#include "proto/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/client-priv.h"

#define ASK_ID 1u

static bool uid_trusted(uid_t uid, uid_t expect_uid)
{
    return uid == 0 || uid == expect_uid || uid == geteuid();
}

static int set_send_timeout(int fd, unsigned ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};

    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

int client_connect(const char *path, uid_t expect_uid, unsigned timeout_ms, int *ret_fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct ucred cred;
    socklen_t len = sizeof(cred);
    _cleanup_(closep) int fd = -1;
    struct stat st;
    int r;

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path));
    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    if (!uid_trusted(st.st_uid, expect_uid))
        return -EPERM;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    r = set_send_timeout(fd, MAX(timeout_ms, 1u)); /* connect(2) waits so long for a full backlog */
    if (r < 0)
        return r;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    if (!uid_trusted(cred.uid, expect_uid)) /* the path may have changed hands since stat() */
        return -EPERM;
    r = set_send_timeout(fd, 0);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd p = {.fd = fd, .events = events};
    uint64_t now = clock_mono_ns();
    int ms, n;

    if (now >= deadline_ns)
        return -ETIMEDOUT;
    ms = (int)MIN((deadline_ns - now) / NS_PER_MS + 1, (uint64_t)INT32_MAX);
    n = poll(&p, 1, ms);
    if (n < 0 && errno != EINTR)
        return -errno;
    return 0;
}

static int send_all(int fd, const struct str *bytes, uint64_t deadline_ns)
{
    size_t at = 0;

    while (at < bytes->len) {
        ssize_t n = send(fd, bytes->s + at, bytes->len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            at += (size_t)n;
        } else if (errno == EAGAIN) {
            int r = wait_for(fd, POLLOUT, deadline_ns);
            if (r < 0)
                return r;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* One frame and not a byte more: first the prefix alone, then what it announces. */
static int recv_frame(int fd, struct rx *rx, uint64_t deadline_ns, struct frame *ret_frame,
                      int ret_fds[PROTO_FDS_MAX])
{
    uint8_t prefix[FRAME_PREFIX_BYTES];
    int r = 0;

    while (r == 0) {
        void *at;
        size_t room = frame_parser_room(&rx->parser, &at);
        ssize_t n = rx_recv(rx, fd, prefix, room > 0 ? 0 : sizeof(prefix) - rx->parser.prefix_got);
        if (n == 0)
            return -ECONNRESET;
        if (n == -EAGAIN)
            r = wait_for(fd, POLLIN, deadline_ns);
        else
            r = n < 0 ? (int)n : rx_next(rx, ret_frame, ret_fds);
    }
    return r < 0 ? r : 0;
}

int client_pack(struct str *out, uint32_t id, enum msg_method method, uint64_t seq,
                const struct str *fields, const void *payload, size_t payload_len)
{
    int r = str_reserve(out, FRAME_PREFIX_BYTES + 32 + fields->len + payload_len);
    size_t at = r < 0 ? SIZE_MAX : frame_begin(out);

    if (at == SIZE_MAX || msg_request_pack(out, id, method, fields, seq) < 0)
        return -ENOMEM;
    frame_end_head(out, at);
    if (str_addn(out, payload, payload_len) < 0)
        return -ENOMEM;
    return frame_end(out, at, 0);
}

static int judge_answer(struct client_answer *a, enum msg_method method)
{
    const struct msg_info *info = msg_info(method);
    int r = msg_head_unpack(a->frame.data, a->frame.head_len, &a->head);

    if (r < 0)
        return r;
    if (a->head.kind == MSG_KIND_REQUEST || a->head.id != ASK_ID || a->head.method != method)
        return -EPROTO;
    if (a->frame.payload_len > 0 &&
        (a->head.kind == MSG_KIND_ERROR || !info || info->payload != MSG_PAYLOAD_REP))
        return -EPROTO;
    if (a->head.kind == MSG_KIND_ERROR)
        return msg_error_unpack(a->head.fields, a->head.fields_len, &a->error, &a->text);
    return 0;
}

void client_answer_fini(struct client_answer *a)
{
    rx_close_fds(a->fds, a->nfds);
    frame_fini(&a->frame);
    *a = (struct client_answer){0};
}

int client_ask(int fd, enum msg_method method, const struct str *fields, const void *payload,
               size_t payload_len, unsigned timeout_ms, struct client_answer *ret)
{
    uint64_t deadline_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
    _cleanup_(str_wipe) struct str bytes = STR_NULL; /* ATTACH carries keys */
    struct client_answer a = {0};
    struct rx rx = {0};
    int r = client_pack(&bytes, ASK_ID, method, 0, fields, payload, payload_len);

    if (r == 0)
        r = send_all(fd, &bytes, deadline_ns);
    if (r == 0)
        r = recv_frame(fd, &rx, deadline_ns, &a.frame, a.fds);
    if (r == 0) {
        a.nfds = a.frame.nfds;
        r = judge_answer(&a, method);
    }
    rx_fini(&rx);
    if (r < 0) {
        client_answer_fini(&a);
        return r == -EPIPE ? -ECONNRESET : r;
    }
    *ret = a;
    return 0;
}

int client_hello(int fd, const char *program, unsigned timeout_ms, struct msg_hello_rep *ret_rep)
{
    const struct msg_hello_req req = {.version_min = PROTO_VERSION_MIN,
                                      .version_max = PROTO_VERSION_MAX,
                                      .program = msg_str_of(program)};
    _cleanup_(str_fini) struct str fields = STR_NULL;
    _cleanup_(client_answer_fini) struct client_answer answer = {0};
    struct msg_hello_rep rep;
    int r = msg_pack_hello_req(&fields, &req);

    if (r == 0)
        r = client_ask(fd, MSG_HELLO, &fields, NULL, 0, timeout_ms, &answer);
    if (r < 0)
        return r;
    if (answer.error < 0) /* a well-formed refusal: it is a backend, only not of our version */
        return answer.error == -EPROTO ? -EPROTONOSUPPORT : answer.error;
    r = msg_unpack_hello_rep(answer.head.fields, answer.head.fields_len, &rep);
    if (r < 0)
        return r;
    if (rep.version < PROTO_VERSION_MIN || rep.version > PROTO_VERSION_MAX)
        return -EPROTONOSUPPORT;
    rep.program = (struct msg_str){NULL, 0};
    *ret_rep = rep;
    return 0;
}
