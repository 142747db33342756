/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Listening. Everybody may connect (the socket's mode permitting); what they may do is decided per message
 * from their credentials. */
#include "s3proxyd/rpc/rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"

#define ACCEPT_AT_ONCE 16u
#define ACCEPT_PAUSE_MS 100u

struct server {
    struct fs *fs;
    struct loop_io *io;
    struct loop_timer *pause;
    struct list clients;
    char *path;
    int fd;
};

static unsigned count_clients(const struct list *clients)
{
    unsigned n = 0;
    for (const struct list *l = clients->next; l != clients; l = l->next)
        n++;
    return n;
}

static void resume(void *arg)
{
    struct server *s = arg;
    loop_io_want(s->io, LOOP_READ);
}

static void accept_ready(void *arg, unsigned events)
{
    struct server *s = arg;
    (void)events;
    for (unsigned i = 0; i < ACCEPT_AT_ONCE; i++) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                log_warn("rpc", "cannot accept: %s", strerror(errno));
                loop_io_want(s->io, 0);
                loop_timer_set_ms(s->pause, ACCEPT_PAUSE_MS);
            }
            return;
        }
        int r = rpc_client_new(s, s->fs, fd, &s->clients);
        if (r < 0)
            log_warn("rpc", "a connection was refused: %s", strerror(-r));
    }
}

/* A socket file nobody listens at is left over from a crash; one that answers belongs to somebody. */
static int remove_dead_socket(const struct sockaddr_un *addr)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    _cleanup_(closep) int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return -errno;
    if (connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
        return -EADDRINUSE;
    return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_at(const char *path, unsigned mode, int *ret_fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int r = remove_dead_socket(&addr);
    if (r < 0)
        return r;
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    mode_t old = umask(0777 & ~mode);
    r = bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
    umask(old);
    if (r == 0 && listen(fd, SOMAXCONN) < 0)
        r = -errno;
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

int server_new(struct fs *fs, const char *path, int fd, unsigned mode, struct server **ret_server)
{
    struct server *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->fs = fs;
    s->fd = fd;
    list_init(&s->clients);
    int r = fd >= 0 ? 0 : listen_at(path, mode, &s->fd);
    if (r == 0 && fd < 0) {
        s->path = strdup(path);
        r = s->path ? 0 : -ENOMEM;
    }
    if (r == 0)
        r = loop_timer_new(fs->loop, resume, s, &s->pause);
    if (r == 0)
        r = loop_io_new(fs->loop, s->fd, accept_ready, s, &s->io);
    if (r == 0)
        r = loop_io_want(s->io, LOOP_READ);
    if (r < 0) {
        server_free(s);
        return r;
    }
    *ret_server = s;
    return 0;
}

void server_free(struct server *s)
{
    struct rpc_client *c;
    while ((c = rpc_client_first(&s->clients)))
        rpc_client_free(c);
    if (s->io)
        loop_io_free(s->io);
    if (s->pause)
        loop_timer_free(s->pause);
    if (s->fd >= 0)
        close(s->fd);
    if (s->path)
        unlink(s->path);
    free(s->path);
    free(s);
}

unsigned server_clients(const struct server *s)
{
    return count_clients(&s->clients);
}
