/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* How fast the bytes of a row can come to this machine's disk at all: one libcurl multi handle in
 * one thread fetches ranges of the objects, so many at a time, and writes what comes into files,
 * nothing else. On standard input a line "SIZE FILE URL" for each object; the URL needs no
 * signature (presigned). */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/base/str.h"

#define OBJECTS_MAX 64u
#define PARALLEL_MAX 256u
#define GATHER (256u * 1024) /* libcurl hands out 16 KiB at a time: too little for a write */

struct object {
    uint64_t size, next;
    int fd;
    char *url;
};

struct transfer {
    CURL *easy;
    const struct object *object;
    uint64_t at, end;
    size_t len;
    char data[GATHER];
};

static struct limit {
    struct object objects[OBJECTS_MAX];
    size_t nobjects, current;
    uint64_t range, parallel, bytes;
    CURLM *multi;
    struct transfer *transfers;
} limit;

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
    fprintf(stderr, "curl-limit: %s: %s\n", what, why);
    exit(1);
}

static void write_out(struct transfer *t)
{
    int r = fd_pwrite_full(t->object->fd, t->data, t->len, t->at);
    if (r < 0)
        die("writing", strerror(-r));
    t->at += t->len;
    limit.bytes += t->len;
    t->len = 0;
}

static size_t arrived(char *data, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    (void)one;
    if (t->at + t->len + n > t->end)
        return 0; /* more than was asked for: an error */
    for (size_t done = 0; done < n;) {
        size_t part = MIN(n - done, GATHER - t->len);
        memcpy(t->data + t->len, data + done, part);
        t->len += part;
        done += part;
        if (t->len == GATHER)
            write_out(t);
    }
    return n;
}

/* False: nothing is left to be begun. */
static bool begin(struct transfer *t)
{
    char range[64];
    while (limit.current < limit.nobjects &&
           limit.objects[limit.current].next >= limit.objects[limit.current].size)
        limit.current++;
    if (limit.current == limit.nobjects)
        return false;
    struct object *o = &limit.objects[limit.current];
    t->object = o;
    t->at = o->next;
    t->end = o->next = MIN(o->next + limit.range, o->size);
    snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)t->at,
             (unsigned long long)t->end - 1);
    curl_easy_setopt(t->easy, CURLOPT_URL, o->url);
    curl_easy_setopt(t->easy, CURLOPT_RANGE, range);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, arrived);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(t->easy, CURLOPT_BUFFERSIZE, 512L * 1024);
    if (curl_multi_add_handle(limit.multi, t->easy) != CURLM_OK)
        die("libcurl", "cannot add a transfer");
    return true;
}

/* True: another one was begun in its place. */
static bool finish(CURLMsg *msg)
{
    struct transfer *t = NULL;
    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
    if (msg->data.result != CURLE_OK)
        die(t->object->url, curl_easy_strerror(msg->data.result));
    write_out(t);
    if (t->at != t->end)
        die(t->object->url, "a short answer");
    curl_multi_remove_handle(limit.multi, t->easy);
    return begin(t);
}

static void read_list(void)
{
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        char *save = NULL, *size = strtok_r(line, " ", &save), *path = strtok_r(NULL, " ", &save);
        char *url = strtok_r(NULL, "\n", &save);
        if (!url || limit.nobjects == OBJECTS_MAX)
            die("the list of objects", strerror(EINVAL));
        struct object *o = &limit.objects[limit.nobjects++];
        if (str_to_u64(size, 10, &o->size) < 0)
            die("not a size", size);
        o->url = strdup(url);
        o->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (o->fd < 0 || !o->url)
            die(path, strerror(errno));
    }
    free(line);
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"parallel", 1, NULL, 'p'}, {"range", 1, NULL, 'r'}, {NULL, 0, NULL, 0}};
    uint64_t n[256] = {['p'] = 16, ['r'] = 8 << 20};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (c == '?' || str_to_size(optarg, &n[c]) < 0 || !n[c])
            die("usage", "curl-limit [--parallel N] [--range SIZE] <LIST");
    limit.parallel = MIN(n['p'], (uint64_t)PARALLEL_MAX);
    limit.range = n['r'];
}

int main(int argc, char **argv)
{
    int running = 1, left;
    bool more;
    CURLMsg *msg;
    struct timespec cpu;
    parse(argc, argv);
    read_list();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    limit.multi = curl_multi_init();
    limit.transfers = calloc(limit.parallel, sizeof(*limit.transfers));
    if (!limit.multi || !limit.transfers)
        die("starting", strerror(ENOMEM));
    uint64_t begin_ns = clock_mono_ns();
    for (size_t i = 0; i < limit.parallel; i++) {
        limit.transfers[i].easy = curl_easy_init();
        if (!limit.transfers[i].easy)
            die("starting", strerror(ENOMEM));
        if (!begin(&limit.transfers[i]))
            break;
    }
    do {
        more = false;
        if (curl_multi_perform(limit.multi, &running) != CURLM_OK)
            die("libcurl", "failed");
        while ((msg = curl_multi_info_read(limit.multi, &left)))
            if (msg->msg == CURLMSG_DONE)
                more = finish(msg) || more;
        if (running && !more)
            curl_multi_poll(limit.multi, NULL, 0, 1000, NULL);
    } while (running || more);
    double seconds = (double)(clock_mono_ns() - begin_ns) / 1e9;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"bytes\": %llu}\n", seconds,
           (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9, (unsigned long long)limit.bytes);
    return 0;
}
