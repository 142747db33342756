/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The S3 store by hand: a debugging tool, and what the tests drive against real servers. Not
 * installed. Keys on its command line are test keys. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "proto/limits.h"
#include "s3proxyd/aws/digest.h"
#include "tests/unit/s3/s3-bench.h"

#define PART_BYTES (5ull * 1024 * 1024)
#define PARTS_AT_ONCE 4u

struct cli {
    struct s3_bench bench;
    const char *if_match, *content_type;
    bool if_none_match, recursive;
    struct store_pair user[16];
    size_t nuser;
    uint64_t part_bytes;
    char **args;
    int nargs;
};

static int report(const struct store_req *req)
{
    if (req->error < 0)
        fprintf(stderr, "%s: %s\n", strerror(-req->error), req->error_text);
    return req->error;
}

static void print_meta(const struct store_meta *m)
{
    printf("etag %s size %" PRIu64 " mtime %" PRId64 " date %" PRId64 "\n", m->etag ? m->etag : "-",
           m->size, m->mtime_ns, m->date_ns);
    if (m->content_type)
        printf("content-type %s\n", m->content_type);
    if (m->version_id)
        printf("version %s\n", m->version_id);
    for (size_t i = 0; i < m->nuser; i++)
        printf("meta %s=%s\n", m->user[i].name, m->user[i].value);
}

static struct store_req request(struct cli *c, enum store_op op, const char *key)
{
    return (struct store_req){
        .op = op,
        .key = key,
        .if_match = c->if_match,
        .if_none_match = c->if_none_match,
        .body.fd = -1,
        .sink.fd = -1,
        .user = c->nuser ? c->user : NULL,
        .nuser = c->nuser,
        .content_type = c->content_type,
        .list.recursive = c->recursive,
    };
}

/* For a request whose result is what is known of the object. */
static int ask(struct cli *c, struct store_req *req)
{
    s3_bench_run(&c->bench, req);
    int r = report(req);
    if (r >= 0)
        print_meta(&req->meta);
    store_req_fini(req);
    return r;
}

static int simple(struct cli *c, enum store_op op, const char *key)
{
    struct store_req req = request(c, op, key);

    return ask(c, &req);
}

static int cmd_check(struct cli *c)
{
    return simple(c, STORE_CHECK, c->nargs ? c->args[0] : "");
}

static int cmd_head(struct cli *c)
{
    return simple(c, STORE_HEAD, c->args[0]);
}

static int cmd_put(struct cli *c)
{
    struct store_req req = request(c, STORE_PUT, c->args[0]);
    struct stat st;
    int r;

    req.body.fd = open(c->args[1], O_RDONLY | O_CLOEXEC);
    if (req.body.fd < 0 || fstat(req.body.fd, &st) < 0)
        return -errno;
    req.length = (uint64_t)st.st_size;
    s3_bench_run(&c->bench, &req);
    close(req.body.fd);
    r = report(&req);
    if (r >= 0)
        print_meta(&req.meta);
    store_req_fini(&req);
    return r;
}

static void progress(struct store_req *req, uint64_t got)
{
    (void)req;
    log_debug("cli", "%" PRIu64 " bytes", got);
}

/* The blocks' checksums must be those of the file as written. */
static int check_crcs(const struct store_req *req)
{
    static char block[BLOCK_BYTES];
    uint64_t end = MIN(req->offset + req->length, req->sink.object_size);
    uint64_t first = req->offset / BLOCK_BYTES;

    for (uint64_t b = first; b * BLOCK_BYTES < end; b++) {
        uint64_t from = b * BLOCK_BYTES;
        uint64_t to = MIN(from + BLOCK_BYTES, req->sink.object_size);
        size_t got;

        if (from < req->offset || to > end)
            continue;
        if (fd_pread_full(req->sink.fd, block, (size_t)(to - from),
                          req->sink.fd_offset + from - req->offset, &got) < 0 ||
            got != to - from || digest_crc32c(0, block, got) != req->sink.block_crcs[b - first]) {
            fprintf(stderr, "block %" PRIu64 ": wrong checksum\n", b);
            return -EBADMSG;
        }
    }
    return 0;
}

static int get_range(struct cli *c, struct store_req *req)
{
    int r;

    req->sink.progress = progress;
    req->sink.block_crcs = calloc(req->length / BLOCK_BYTES + 2, sizeof(uint32_t));
    if (!req->sink.block_crcs)
        return -ENOMEM;
    s3_bench_run(&c->bench, req);
    r = report(req);
    if (r >= 0)
        r = check_crcs(req);
    free(req->sink.block_crcs);
    return r;
}

static int get(struct cli *c, const char *key, uint64_t offset, uint64_t length, const char *path)
{
    struct store_req head = request(c, STORE_HEAD, key), req = request(c, STORE_GET, key);
    int r;

    s3_bench_run(&c->bench, &head);
    r = report(&head);
    if (r < 0)
        return r;
    req.if_match = head.meta.etag;
    req.offset = offset;
    req.length = MIN(length, head.meta.size);
    req.sink.object_size = head.meta.size;
    req.sink.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (req.sink.fd < 0)
        return -errno;
    r = get_range(c, &req);
    close(req.sink.fd);
    if (r >= 0)
        printf("got %" PRIu64 "\n", req.got);
    store_req_fini(&req);
    store_req_fini(&head);
    return r;
}

static int cmd_get(struct cli *c)
{
    return get(c, c->args[0], 0, INT64_MAX, c->args[1]);
}

static int cmd_range(struct cli *c)
{
    uint64_t offset, length;

    if (str_to_u64(c->args[1], 10, &offset) < 0 || str_to_u64(c->args[2], 10, &length) < 0)
        return -EINVAL;
    return get(c, c->args[0], offset, length, c->args[3]);
}

static int cmd_list(struct cli *c)
{
    _cleanup_(freep) char *token = NULL;
    int r;

    do {
        struct store_req req = request(c, STORE_LIST, c->nargs ? c->args[0] : "");

        req.list.token = token;
        s3_bench_run(&c->bench, &req);
        r = report(&req);
        for (size_t i = 0; i < req.nentries; i++)
            printf("%s %" PRIu64 " %s\n", req.entries[i].etag ? req.entries[i].etag : "-",
                   req.entries[i].size, log_esc(req.entries[i].key));
        free(token);
        token = req.next_token;
        req.next_token = NULL;
        store_req_fini(&req);
    } while (r >= 0 && token);
    return r;
}

static int cmd_copy(struct cli *c)
{
    struct store_req req = request(c, STORE_COPY, c->args[1]);

    req.src_key = c->args[0];
    return ask(c, &req);
}

static int cmd_rm(struct cli *c)
{
    struct store_req req = request(c, c->nargs > 1 ? STORE_DELETE_MANY : STORE_DELETE, c->args[0]);
    int r;

    req.keys = (const char *const *)c->args;
    req.nkeys = (size_t)c->nargs;
    s3_bench_run(&c->bench, &req);
    r = report(&req);
    for (size_t i = 0; req.key_errors && i < req.nkeys; i++) {
        if (req.key_errors[i] < 0) {
            fprintf(stderr, "%s: %s\n", c->args[i], strerror(-req.key_errors[i]));
            r = r ? r : req.key_errors[i];
        }
    }
    store_req_fini(&req);
    return r;
}

/* Parts in groups of PARTS_AT_ONCE. etags: of all parts, to be freed by the caller. */
static int upload_parts(struct cli *c, const char *key, const char *id, int fd, uint64_t size,
                        char **etags)
{
    struct store_req reqs[PARTS_AT_ONCE];
    uint64_t parts = (size + c->part_bytes - 1) / c->part_bytes;
    int r = 0;

    for (uint64_t part = 0; r >= 0 && part < parts; part += PARTS_AT_ONCE) {
        unsigned n = (unsigned)MIN((uint64_t)PARTS_AT_ONCE, parts - part);

        for (unsigned i = 0; i < n; i++) {
            uint64_t offset = (part + i) * c->part_bytes;

            reqs[i] = request(c, STORE_MPU_PART, key);
            reqs[i].if_match = NULL;
            reqs[i].if_none_match = false;
            reqs[i].upload_id = id;
            reqs[i].part_number = (unsigned)(part + i + 1);
            reqs[i].body.fd = fd;
            reqs[i].body.offset = offset;
            reqs[i].length = MIN(c->part_bytes, size - offset);
            s3_bench_submit(&c->bench, &reqs[i]);
        }
        s3_bench_wait(&c->bench);
        for (unsigned i = 0; i < n; i++) {
            r = r < 0 ? r : report(&reqs[i]);
            etags[part + i] = take(reqs[i].meta.etag);
            store_req_fini(&reqs[i]);
        }
    }
    return r;
}

static int complete(struct cli *c, const char *key, const char *id, uint64_t size, char **etags,
                    size_t nparts)
{
    struct store_req req = request(c, STORE_MPU_COMPLETE, key);
    int r;

    req.upload_id = id;
    req.part_etags = (const char *const *)etags;
    req.nparts = nparts;
    req.length = size;
    s3_bench_run(&c->bench, &req);
    r = report(&req);
    if (r >= 0)
        print_meta(&req.meta);
    store_req_fini(&req);
    return r;
}

static int cmd_mpu(struct cli *c)
{
    struct store_req create = request(c, STORE_MPU_CREATE, c->args[0]);
    struct store_req drop = request(c, STORE_MPU_ABORT, c->args[0]);
    _cleanup_(closep) int fd = open(c->args[1], O_RDONLY | O_CLOEXEC);
    char **etags;
    struct stat st;
    size_t nparts;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    nparts = ((uint64_t)st.st_size + c->part_bytes - 1) / c->part_bytes;
    etags = calloc(nparts + 1, sizeof(*etags));
    if (!etags)
        return -ENOMEM;
    s3_bench_run(&c->bench, &create);
    r = report(&create);
    if (r >= 0)
        r = upload_parts(c, c->args[0], create.ret_upload_id, fd, (uint64_t)st.st_size, etags);
    if (r >= 0)
        r = complete(c, c->args[0], create.ret_upload_id, (uint64_t)st.st_size, etags, nparts);
    if (r < 0 && create.ret_upload_id) {
        drop.upload_id = create.ret_upload_id;
        s3_bench_run(&c->bench, &drop);
        report(&drop);
    }
    for (size_t i = 0; i < nparts; i++)
        free(etags[i]);
    free(etags);
    store_req_fini(&create);
    store_req_fini(&drop);
    return r;
}

static const struct command {
    const char *name;
    int min_args, max_args;
    int (*run)(struct cli *c);
    const char *help;
} commands[] = {
    {"check", 0, 1, cmd_check, "[PREFIX]"},
    {"head", 1, 1, cmd_head, "KEY"},
    {"put", 2, 2, cmd_put, "KEY FILE"},
    {"get", 2, 2, cmd_get, "KEY FILE"},
    {"range", 4, 4, cmd_range, "KEY OFFSET LENGTH FILE"},
    {"list", 0, 1, cmd_list, "[PREFIX]"},
    {"copy", 2, 2, cmd_copy, "SOURCE TARGET"},
    {"rm", 1, 1000, cmd_rm, "KEY..."},
    {"mpu", 2, 2, cmd_mpu, "KEY FILE"},
};

static struct cli cli = {.part_bytes = PART_BYTES};
static struct s3_bench_config config = {.s3.retry_deadline_ms = 10000};
static uint64_t stall_ms;
static bool virtual_host, path_style;

static const struct knob {
    const char *name;
    const char **text;
    bool *flag;
    uint64_t *number; /* none of the three: --meta */
} knobs[] = {
    {"bucket", &config.s3.bucket, NULL, NULL},
    {"endpoint", &config.s3.endpoint, NULL, NULL},
    {"region", &config.s3.region, NULL, NULL},
    {"access-key", &config.access_key, NULL, NULL},
    {"secret-key", &config.secret_key, NULL, NULL},
    {"ca-bundle", &config.net.ca_bundle, NULL, NULL},
    {"if-match", &cli.if_match, NULL, NULL},
    {"content-type", &cli.content_type, NULL, NULL},
    {"virtual-host", NULL, &virtual_host, NULL},
    {"path-style", NULL, &path_style, NULL},
    {"insecure-http", NULL, &config.s3.insecure_http, NULL},
    {"if-none-match", NULL, &cli.if_none_match, NULL},
    {"recursive", NULL, &cli.recursive, NULL},
    {"deadline-ms", NULL, NULL, &config.s3.retry_deadline_ms},
    {"stall-ms", NULL, NULL, &stall_ms},
    {"part-bytes", NULL, NULL, &cli.part_bytes},
    {"meta", NULL, NULL, NULL},
};

static int usage(void)
{
    fprintf(stderr, "usage: s3-cli OPTION... COMMAND ARGUMENT...\n");
    for (size_t i = 0; i < ARRAY_SIZE(knobs); i++)
        fprintf(stderr, "    --%s%s\n", knobs[i].name, knobs[i].flag ? "" : " VALUE");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(stderr, "    %s %s\n", commands[i].name, commands[i].help);
    return 2;
}

static int add_meta(char *pair)
{
    char *eq = strchr(pair, '=');

    if (!eq || cli.nuser == ARRAY_SIZE(cli.user))
        return -EINVAL;
    *eq = '\0';
    cli.user[cli.nuser++] = (struct store_pair){pair, eq + 1};
    return 0;
}

static int turn(const struct knob *k, char *value)
{
    if (k->text)
        *k->text = value;
    else if (k->flag)
        *k->flag = true;
    else
        return k->number ? str_to_u64(value, 10, k->number) : add_meta(value);
    return 0;
}

/* Index of the command's word, or -EINVAL. */
static int parse(int argc, char **argv)
{
    struct option options[ARRAY_SIZE(knobs) + 1] = {0};
    int i, opt;

    for (size_t k = 0; k < ARRAY_SIZE(knobs); k++)
        options[k] = (struct option){knobs[k].name, !knobs[k].flag, NULL, 256};
    while ((opt = getopt_long(argc, argv, "+", options, &i)) >= 0) {
        if (opt != 256 || turn(&knobs[i], optarg) < 0)
            return -EINVAL;
    }
    config.net.stall_timeout_ms = (unsigned)stall_ms;
    config.s3.addressing = virtual_host ? S3_ADDR_VIRTUAL
                           : path_style ? S3_ADDR_PATH
                                        : S3_ADDR_AUTO;
    return optind < argc && config.s3.bucket && cli.part_bytes ? optind : -EINVAL;
}

static int run(const struct command *cmd)
{
    int r = s3_bench_init(&cli.bench, &config);

    if (r >= 0)
        r = cmd->run(&cli);
    if (r < 0)
        fprintf(stderr, "s3-cli: %s: %s\n", cmd->name, strerror(-r));
    s3_bench_fini(&cli.bench);
    return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    int word;

    log_open("s3-cli", false);
    log_set_debug(NULL);
    word = parse(argc, argv);
    if (word < 0)
        return usage();
    cli.args = argv + word + 1;
    cli.nargs = argc - word - 1;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(commands[i].name, argv[word]) && cli.nargs >= commands[i].min_args &&
            cli.nargs <= commands[i].max_args)
            return run(&commands[i]);
    }
    return usage();
}
