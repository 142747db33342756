/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* s3proxyd: start-up in order, each step undone by shut_down() in reverse. The only place that sees the
 * whole configuration.
 *
 *   options, configuration → directories → loop, mailbox, threads → db, cache, spool → fs → socket → ready
 *
 * Ends on SIGTERM and SIGINT, or when it has been idle for idle_exit seconds with nothing unsaved. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "s3proxyd/cache/memory.h"
#include "s3proxyd/conf/conf.h"
#include "s3proxyd/rpc/rpc.h"

#define SYSTEM_SOCKET "/run/hafiz/s3proxyd.sock"
#define SYSTEM_CACHE "/var/cache/hafiz"
#define SYSTEM_STATE "/var/lib/hafiz"
#define IDLE_TICK_MS 1000u
#define DRAIN_MS 10000u

struct daemon {
    struct conf *conf;
    struct loop *loop;
    struct mailbox *mailbox;
    struct pool *pool;
    struct net *net;
    struct db *db;
    struct memory_dir *memory; /* cache=memory */
    struct cache *cache;
    struct spool_dir *spools;
    struct fs *fs;
    struct server *server;
    struct loop_signal *term, *intr;
    struct loop_timer *idle;
    uint64_t idle_s, draining_ms;
    int listen_fd;
    bool stopping;
};

struct options {
    const char *config, *socket, *cache_dir, *state_dir, *keep;
    uint64_t cache_size, idle_exit;
    bool have_cache_size, have_idle_exit, check, options_table;
};

static void usage(FILE *out)
{
    fputs("Usage: s3proxyd [OPTION]...\n"
          "The backend of hafiz-mount: holds keys, connections and the cache for all mounts.\n\n"
          "      --config FILE      volumes and limits; see s3proxyd.conf(5)\n"
          "      --socket PATH      listen here (" SYSTEM_SOCKET ")\n"
          "      --cache-dir DIR    what was read (" SYSTEM_CACHE ")\n"
          "      --cache KIND       keep it on disk or in memory (disk)\n"
          "      --state-dir DIR    inode numbers and unsaved data (" SYSTEM_STATE ")\n"
          "      --cache-size SIZE  most bytes in the cache, e.g. 64M, 10G\n"
          "      --idle-exit SECS   end after so long without clients and unsaved data\n"
          "      --check-config     read the configuration, say what is wrong, and end\n"
          "      --print-options    the options of the configuration file\n"
          "  -f, --foreground       accepted; s3proxyd never forks\n"
          "  -h, --help             this text\n"
          "  -V, --version          the version\n\n"
          "Started by root it runs for the whole host; any user may start one of their own.\n",
          out);
}

enum {
    OPT_CONFIG = 256,
    OPT_SOCKET,
    OPT_CACHE_DIR,
    OPT_STATE_DIR,
    OPT_CACHE,
    OPT_CACHE_SIZE,
    OPT_IDLE,
    OPT_CHECK,
    OPT_TABLE
};

static int parse_number(int c, const char *arg, struct options *o)
{
    int r = c == OPT_IDLE ? str_to_u64(arg, 10, &o->idle_exit) : str_to_size(arg, &o->cache_size);
    if (r < 0) {
        const char *what = c == OPT_IDLE ? "number of seconds" : "size";
        fprintf(stderr, "s3proxyd: not a %s: %s\n", what, arg);
        return 1;
    }
    if (c == OPT_IDLE)
        o->have_idle_exit = true;
    else
        o->have_cache_size = true;
    return 0;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"config", 1, NULL, OPT_CONFIG},
                                          {"socket", 1, NULL, OPT_SOCKET},
                                          {"cache-dir", 1, NULL, OPT_CACHE_DIR},
                                          {"state-dir", 1, NULL, OPT_STATE_DIR},
                                          {"cache", 1, NULL, OPT_CACHE},
                                          {"idle-exit", 1, NULL, OPT_IDLE},
                                          {"cache-size", 1, NULL, OPT_CACHE_SIZE},
                                          {"foreground", 0, NULL, 'f'},
                                          {"check-config", 0, NULL, OPT_CHECK},
                                          {"print-options", 0, NULL, OPT_TABLE},
                                          {"help", 0, NULL, 'h'},
                                          {"version", 0, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    const char **strings[] = {&o->config, &o->socket, &o->cache_dir, &o->state_dir, &o->keep};
    int c;
    while ((c = getopt_long(argc, argv, "fhV", longs, NULL)) != -1) {
        if (c >= OPT_CONFIG && c <= OPT_CACHE) {
            *strings[c - OPT_CONFIG] = optarg;
        } else if (c == OPT_CACHE_SIZE || c == OPT_IDLE) {
            if (parse_number(c, optarg, o))
                return 1;
        } else if (c == OPT_CHECK) {
            o->check = true;
        } else if (c == OPT_TABLE) {
            conf_print_options();
            return 0;
        } else if (c == 'h') {
            usage(stdout);
            return 0;
        } else if (c == 'V') {
            puts("s3proxyd " HAFIZ_VERSION);
            return 0;
        } else if (c != 'f') {
            fputs("Try 's3proxyd --help'.\n", stderr);
            return 1;
        }
    }
    if (o->keep && !str_eq(o->keep, "disk") && !str_eq(o->keep, "memory")) {
        fprintf(stderr, "s3proxyd: --cache is disk or memory, not %s\n", o->keep);
        return 1;
    }
    if (optind < argc) {
        fprintf(stderr, "s3proxyd: unexpected word: %s\n", argv[optind]);
        return 1;
    }
    return -1;
}

static int set_path(char **target, const char *option, const char *fallback)
{
    const char *value = option ? option : *target ? NULL : fallback;
    if (!value)
        return 0;
    char *copy = value[0] == '/' ? strdup(value) : NULL;
    if (!copy) {
        char *cwd = realpath(".", NULL);
        copy = cwd ? str_dup_printf("%s/%s", cwd, value) : NULL;
        free(cwd);
    }
    free(*target);
    *target = copy;
    return copy ? 0 : -ENOMEM;
}

static int load_conf(const struct options *o, struct daemon *d)
{
    _cleanup_(freep) char *error = NULL;
    int r = conf_load(o->config, &d->conf, &error);
    if (r < 0) {
        fprintf(stderr, "s3proxyd: %s\n", error ? error : strerror(-r));
        return r;
    }
    r = set_path(&d->conf->socket_path, o->socket, SYSTEM_SOCKET);
    if (r == 0)
        r = set_path(&d->conf->cache_dir, o->cache_dir, SYSTEM_CACHE);
    if (r == 0)
        r = set_path(&d->conf->state_dir, o->state_dir, SYSTEM_STATE);
    if (r == 0 && o->keep)
        d->conf->cache_memory = str_eq(o->keep, "memory");
    if (o->have_cache_size)
        d->conf->cache_size_bytes = o->cache_size;
    if (o->have_idle_exit)
        d->conf->idle_exit_s = o->idle_exit;
    return r;
}

/* ---- ending */

static void stop_when_saved(void *arg)
{
    struct daemon *d = arg;
    d->draining_ms += IDLE_TICK_MS / 10;
    if (list_empty(&d->fs->dirty) || d->draining_ms >= DRAIN_MS)
        loop_stop(d->loop);
    else
        loop_timer_set_ms(d->idle, IDLE_TICK_MS / 10);
}

static void on_stop_signal(void *arg)
{
    struct daemon *d = arg;
    if (d->stopping) /* asked twice: now */
        loop_stop(d->loop);
    if (!d->stopping && !list_empty(&d->fs->dirty))
        log_info("main", "ending: %llu files are still to be saved",
                 (unsigned long long)fs_dirty_files(d->fs));
    d->stopping = true;
    loop_timer_free(d->idle);
    d->idle = NULL;
    if (loop_timer_new(d->loop, stop_when_saved, d, &d->idle) < 0)
        loop_stop(d->loop);
    else
        loop_timer_set_ms(d->idle, 0);
}

static void idle_tick(void *arg)
{
    struct daemon *d = arg;
    bool idle = server_clients(d->server) == 0 && fs_idle(d->fs);
    d->idle_s = idle ? d->idle_s + 1 : 0;
    if (idle && d->idle_s >= d->conf->idle_exit_s) {
        log_info("main", "idle for %llu s: ending", (unsigned long long)d->idle_s);
        loop_stop(d->loop);
        return;
    }
    loop_timer_set_ms(d->idle, IDLE_TICK_MS);
}

/* ---- starting */

static int say(int r, const char *what, const char *detail)
{
    /* Where the detail is no more than what was tried, the reason belongs to it. */
    bool reason = r == -EROFS || r == -EACCES || r == -ENOSPC || r == -EDQUOT || r == -EIO;
    if (r < 0 && detail && reason)
        fprintf(stderr, "s3proxyd: %s: %s: %s\n", what, detail, strerror(-r));
    else if (r < 0)
        fprintf(stderr, "s3proxyd: %s: %s\n", what, detail ? detail : strerror(-r));
    return r;
}

static int make_dir(const char *path)
{
    int r = fd_mkdir_p(path, 0700);
    return say(r, path, NULL);
}

static int place_in_memory(struct conf *conf, struct memory_dir **ret)
{
    const char *why;
    int r = memory_dir_new(ret, &why);
    if (r < 0)
        return say(r, "/dev/shm", why);
    free(conf->cache_dir);
    conf->cache_dir = strdup(memory_dir_path(*ret));
    conf->cache_size_bytes = memory_share(conf->cache_size_bytes);
    conf->min_free_bytes = memory_spare(conf->min_free_bytes);
    return conf->cache_dir ? 0 : -ENOMEM;
}

static int open_files(struct daemon *d)
{
    struct conf *conf = d->conf;
    const char *why = NULL;
    int r = conf->cache_memory ? place_in_memory(conf, &d->memory) : make_dir(conf->cache_dir);
    if (r < 0 || make_dir(conf->state_dir) < 0)
        return -EIO;
    struct cache_config cache = {conf->cache_dir, conf->cache_size_bytes, conf->min_free_bytes,
                                 conf->cache_memory};
    r = cache_new(d->loop, d->pool, &cache, &d->cache, &why);
    if (r < 0)
        return say(r, conf->cache_dir, why);
    r = db_new(d->mailbox, conf->state_dir, &d->db, &why);
    if (r < 0)
        return say(r, conf->state_dir, why);
    _cleanup_(freep) char *spool = str_dup_printf("%s/spool", conf->state_dir);
    if (!spool)
        return -ENOMEM;
    r = spool_dir_new(d->loop, d->pool, d->cache, spool, conf->spool_size_bytes, &d->spools);
    return say(r, spool, NULL);
}

static int start_threads(struct daemon *d)
{
    const struct conf *conf = d->conf;
    int r = loop_new(&d->loop);
    if (r == 0)
        r = mailbox_new(d->loop, &d->mailbox);
    if (r == 0)
        r = pool_new(d->mailbox, conf->disk_threads, &d->pool);
    struct net_config net = {.threads = conf->net_threads,
                             .connections_per_host = conf->connections_per_host,
                             .ca_bundle = conf->ca_bundle,
                             .proxy = conf->proxy};
    if (r == 0)
        r = net_new(d->mailbox, &net, &d->net);
    return say(r, "starting threads", NULL);
}

/* systemd's socket activation: one listening descriptor, number 3. */
static int activated_fd(void)
{
    uint64_t pid, n;
    const char *p = getenv("LISTEN_PID"), *f = getenv("LISTEN_FDS");
    bool ours = p && f && str_to_u64(p, 10, &pid) == 0 && pid == (uint64_t)getpid() &&
                str_to_u64(f, 10, &n) == 0 && n == 1;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return ours ? 3 : -1;
}

static int start_serving(struct daemon *d)
{
    struct fs_config fs = {.loop = d->loop,
                           .home = d->mailbox,
                           .pool = d->pool,
                           .net = d->net,
                           .db = d->db,
                           .cache = d->cache,
                           .spools = d->spools,
                           .conf = d->conf,
                           .private_backend = d->conf->nvolumes == 0};
    int r = fs_new(&fs, &d->fs);
    if (r == 0)
        r = loop_signal_new(d->loop, SIGTERM, on_stop_signal, d, &d->term);
    if (r == 0)
        r = loop_signal_new(d->loop, SIGINT, on_stop_signal, d, &d->intr);
    if (r == 0)
        r = loop_timer_new(d->loop, idle_tick, d, &d->idle);
    if (r < 0)
        return say(r, "starting", NULL);
    /* Volumes may be mounted by others: the policy is inside, not in the socket's mode. */
    unsigned mode = d->conf->nvolumes ? 0666 : 0600;
    r = server_new(d->fs, d->conf->socket_path, d->listen_fd, mode, &d->server);
    if (r < 0)
        return say(r, d->conf->socket_path,
                   r == -EADDRINUSE ? "another s3proxyd listens there" : NULL);
    if (d->conf->idle_exit_s)
        loop_timer_set_ms(d->idle, IDLE_TICK_MS);
    return 0;
}

static void shut_down(struct daemon *d, int code)
{
    if (d->server)
        server_free(d->server);
    if (d->idle)
        loop_timer_free(d->idle);
    if (d->term)
        loop_signal_free(d->term);
    if (d->intr)
        loop_signal_free(d->intr);
    /* Work that is still under way cannot be waited for without the loop: the process ends with it. What it
     * had not saved stays in the spool directory. */
    if (!d->fs || (list_empty(&d->fs->dirty) && fs_quiet(d->fs))) {
        if (d->fs)
            fs_free(d->fs);
        if (d->spools)
            spool_dir_free(d->spools);
        if (d->cache)
            cache_free(d->cache);
        memory_dir_free(d->memory);
        if (d->db)
            db_free(d->db);
        if (d->net)
            net_free(d->net);
        if (d->pool)
            pool_free(d->pool);
        if (d->mailbox)
            mailbox_free(d->mailbox);
        if (d->loop)
            loop_free(d->loop);
        conf_free(d->conf);
    } else {
        db_free(d->db);
        memory_dir_free(d->memory);
        _exit(code); /* threads still work: nothing they may use is taken apart under them */
    }
}

/* Keys live in this process: no core files, no ptrace by the same uid. */
static void protect(void)
{
    struct rlimit none = {0, 0}, files;
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &none);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    umask(077);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct daemon d = {.listen_fd = activated_fd()};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    log_open("s3proxyd", false);
    log_set_debug(NULL);
    protect();
    if (load_conf(&o, &d) < 0)
        return 1;
    if (o.check) {
        puts("s3proxyd: the configuration is good");
        return 0;
    }
    int r = start_threads(&d);
    if (r == 0)
        r = open_files(&d);
    if (r == 0)
        r = start_serving(&d);
    if (r == 0) {
        log_info("main", "s3proxyd " HAFIZ_VERSION " listens at %s, %zu volumes",
                 d.conf->socket_path, d.conf->nvolumes);
        r = loop_run(d.loop);
    }
    code = r < 0 ? 2 : 0;
    shut_down(&d, code);
    return code;
}
