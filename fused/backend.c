/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A private s3proxyd is shared by all mounts of its user and ends by itself. Whoever finds it
 * missing starts it, one at a time: the start lock lies beside the socket, and the connect is tried
 * once more under it. The environment it gets holds no keys: those travel in ATTACH and belong to
 * one mount. */
#include "fused/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fused/place.h"
#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "proto/client.h"
#include "proto/limits.h"

#define START_TIMEOUT_MS 10000u /* a cold disk and a sanitizer build together */
#define START_POLL_MS 20u

extern char **environ;

struct start { /* what exec needs, all of it made before the fork */
    char *program, *cache, *state, *log;
    char **env;
};

static void start_fini(struct start *s)
{
    free(s->program);
    free(s->cache);
    free(s->state);
    free(s->log);
    free(s->env);
}

int backend_named(struct backend *b, const char *socket)
{
    *b = (struct backend){.socket = strdup(socket)};
    return b->socket ? 0 : -ENOMEM;
}

int backend_private(struct backend *b, const char *cache_wanted, const char *keep, char **why)
{
    _cleanup_(freep) char *dir = NULL, *state = NULL, *other = NULL;
    int r = place_socket_dir(&dir, why), fd;
    if (r == 0)
        r = place_state_dir(&state, why);
    if (r < 0)
        return r;
    /* One that was started before this user had a run-time directory owns the cache: it is shared. */
    other = str_dup_printf("%s/s3proxyd.sock", state);
    if (!other)
        return -ENOMEM;
    if (!str_eq(dir, state) && client_connect(other, geteuid(), HELLO_TIMEOUT_MS, &fd) == 0) {
        close(fd);
        free(dir);
        dir = take(state);
    }
    *b = (struct backend){.socket = str_dup_printf("%s/s3proxyd.sock", dir),
                          .mine = true,
                          .cache_wanted = cache_wanted,
                          .keep = keep};
    return b->socket ? 0 : -ENOMEM;
}

void backend_fini(struct backend *b)
{
    free(b->socket);
    b->socket = NULL;
}

/* Beside us, whether installed (bin and sbin) or in the build directory, else where systems have
 * it. */
static char *find_program(void)
{
    static const char *const places[] = {"/../sbin/s3proxyd", "/s3proxyd", "/../s3proxyd/s3proxyd"};
    static const char *const dirs[] = {"/usr/local/sbin/s3proxyd", "/usr/sbin/s3proxyd",
                                       "/sbin/s3proxyd"};
    const char *named = getenv("HAFIZ_S3PROXYD");
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (named && *named)
        return strdup(named);
    self[MAX(n, 0)] = '\0';
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < ARRAY_SIZE(places); i++) {
        struct stat st;
        char *path = str_dup_printf("%.*s%s", (int)(slash - self), self, places[i]);
        if (!path)
            return NULL;
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
            return path;
        free(path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        if (access(dirs[i], X_OK) == 0)
            return strdup(dirs[i]);
    return NULL;
}

/* Everything but AWS_* and our own words; the backend asks nobody's environment for credentials. */
static char **clean_env(void)
{
    size_t n = 0, kept = 0;
    while (environ && environ[n])
        n++;
    char **env = calloc(n + 1, sizeof(*env));
    for (size_t i = 0; env && i < n; i++)
        if (!str_starts(environ[i], "AWS_") &&
            (!str_starts(environ[i], "HAFIZ_") || str_starts(environ[i], "HAFIZ_DEBUG=")))
            env[kept++] = environ[i];
    return env;
}

static bool in_memory(const struct backend *b)
{
    return b->keep && str_eq(b->keep, "memory");
}

static int start_prepare(struct backend *b, struct start *s, char **why)
{
    int r = place_state_dir(&s->state, why);
    if (r == 0)
        r = in_memory(b) ? 0 : place_cache_dir(b->cache_wanted, &s->cache, why);
    if (r < 0)
        return r;
    s->program = find_program();
    if (!s->program) {
        *why = str_dup_printf("s3proxyd is not installed beside hafiz-mount nor in /usr/sbin");
        return -ENOEXEC;
    }
    s->log = str_dup_printf("%s/s3proxyd.log", s->state);
    s->env = clean_env();
    return s->log && s->env ? 0 : -ENOMEM;
}

_Noreturn static void start_child(const struct backend *b, const struct start *s)
{
    char idle[16];
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    umask(077);
    if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
        chdir("/") < 0)
        _exit(126);
    close_range(3, ~0U, 0);
    snprintf(idle, sizeof(idle), "%u", IDLE_EXIT_DEFAULT_S);
    char *const argv[] = {(char *)"s3proxyd",
                          (char *)"--socket",
                          b->socket,
                          (char *)(s->cache ? "--cache-dir" : "--cache"),
                          s->cache ? s->cache : (char *)"memory",
                          (char *)"--state-dir",
                          s->state,
                          (char *)"--idle-exit",
                          idle,
                          NULL};
    execve(s->program, argv, s->env);
    _exit(127);
}

/* The last line of the log: why it did not come up. */
static char *last_words(const char *path)
{
    char text[1024];
    size_t got = 0;
    struct stat st;
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || fstat(fd, &st) < 0)
        return strdup("");
    uint64_t size = (uint64_t)st.st_size, from = size > sizeof(text) ? size - sizeof(text) : 0;
    if (fd_pread_full(fd, text, sizeof(text), from, &got) < 0)
        got = 0;
    while (got > 0 && text[got - 1] == '\n')
        got--;
    const char *nl = got ? memrchr(text, '\n', got) : NULL;
    const char *line = nl ? nl + 1 : text;
    return strndup(line, got - (size_t)(line - text));
}

static int try_connect(const struct backend *b, int *ret_fd)
{
    struct stat st;
    /* A socket named by its user, or by root's directory, is trusted whoever owns it; the private
     * one must be ours. */
    uid_t owner = !b->mine && stat(b->socket, &st) == 0 ? st.st_uid : geteuid();
    return client_connect(b->socket, owner, HELLO_TIMEOUT_MS, ret_fd);
}

static int wait_listening(const struct backend *b, pid_t pid, const struct start *s, int *ret_fd,
                          char **why)
{
    uint64_t deadline = clock_mono_ns() + START_TIMEOUT_MS * NS_PER_MS;
    int status = 0, r;

    for (;;) {
        r = try_connect(b, ret_fd);
        if (r != -ENOENT && r != -ECONNREFUSED)
            return r;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            _cleanup_(freep) char *words = last_words(s->log);
            *why = str_dup_printf("the backend %s ended at once; its log %s says: %s", s->program,
                                  s->log, words ? words : "");
            return -ECONNABORTED;
        }
        if (clock_mono_ns() > deadline)
            break;
        usleep(START_POLL_MS * 1000);
    }
    *why = str_dup_printf("the backend %s does not listen after %u s; see %s", s->program,
                          START_TIMEOUT_MS / 1000, s->log);
    return -ETIMEDOUT;
}

static int start_locked(struct backend *b, int *ret_fd, char **why)
{
    _cleanup_(start_fini) struct start s = {0};
    int r = try_connect(b, ret_fd); /* somebody may have been faster */
    if (r != -ENOENT && r != -ECONNREFUSED)
        return r;
    r = start_prepare(b, &s, why);
    if (r < 0)
        return r;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        start_child(b, &s);
    b->started = true;
    return wait_listening(b, pid, &s, ret_fd, why);
}

static int start(struct backend *b, int *ret_fd, char **why)
{
    _cleanup_(freep) char *path =
        str_dup_printf("%.*s/start.lock", (int)(strrchr(b->socket, '/') - b->socket), b->socket);
    if (!path)
        return -ENOMEM;
    _cleanup_(closep) int lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0) {
        int r = -errno;
        *why = str_dup_printf("the start lock %s cannot be taken: %s", path, strerror(-r));
        return r;
    }
    return start_locked(b, ret_fd, why);
}

static int connect_once(struct backend *b, int *ret_fd, char **why)
{
    struct msg_hello_rep rep;
    _cleanup_(closep) int fd = -1;
    int r = try_connect(b, &fd);

    if (b->mine && (r == -ENOENT || r == -ECONNREFUSED))
        r = start(b, &fd, why);
    if (r == 0)
        r = client_hello(fd, "hafiz-mount", HELLO_TIMEOUT_MS, &rep);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

int backend_connect(struct backend *b, int *ret_fd, char **why)
{
    *why = NULL;
    int r = connect_once(b, ret_fd, why);
    /* An idle private backend may have gone between our connect and our hello. */
    if (b->mine && (r == -ECONNRESET || r == -EPIPE || r == -EIO) && !*why)
        r = connect_once(b, ret_fd, why);
    if (r == 0 || r == -ENOENT || r == -ECONNREFUSED || *why)
        return r;
    if (r == -EPROTO)
        *why = str_dup_printf("%s is a socket, but no hafiz backend answers there", b->socket);
    else if (r == -EPROTONOSUPPORT)
        *why = str_dup_printf("the backend at %s speaks another version of the protocol than this "
                              "hafiz-mount: install the same version of both",
                              b->socket);
    else if (r == -ENAMETOOLONG || r == -ENOTSOCK)
        *why = str_dup_printf("%s cannot be a backend's socket: %s", b->socket, strerror(-r));
    else if (r == -EPERM)
        *why =
            str_dup_printf("the backend at %s runs as somebody who is not trusted here", b->socket);
    else
        *why = str_dup_printf("the backend at %s does not answer: %s", b->socket, strerror(-r));
    return r;
}
