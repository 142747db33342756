/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reads files as one row of the benchmark does, with threads, and checks every byte. The list of
 * files is on standard input, a line "SEED SIZE PATH" each; the figures go to standard output as
 * JSON. The time is from the first thread's start to the last one's end; what the program needs
 * besides is not in it.
 *
 *   make    writes the files
 *   seq     every thread takes the next file and reads it from its beginning to its end
 *   rand    --ops reads of --block bytes each, at places of the first file that are multiples of
 * --block, all different, dealt out to the threads first   stat, then the time of open and of
 * reading the first --block bytes, one file after the other */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "tests/bench/pattern.h"

#define THREADS_MAX 256u

struct file {
    uint64_t seed, size;
    char *path;
};

struct job {
    struct file *files;
    size_t nfiles, block, ops, threads;
    uint64_t *places;
    uint64_t seed;
    atomic_size_t next;
    atomic_uint_least64_t bytes;
    atomic_bool failed;
    pthread_barrier_t start;
    void (*run)(struct job *job, char *buf);
};

__attribute__((format(printf, 3, 4))) static void fail(struct job *job, const char *path,
                                                       const char *what, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, what);
    vsnprintf(text, sizeof(text), what, ap);
    va_end(ap);
    if (!atomic_exchange(&job->failed, true)) /* the first is enough */
        fprintf(stderr, "%s: %s\n", path, text);
}

static bool right(struct job *job, const struct file *f, uint64_t offset, const char *buf,
                  size_t len)
{
    int64_t at = pattern_check(f->seed, offset, buf, len);
    if (at >= 0)
        fail(job, f->path, "wrong data at %llu",
             (unsigned long long)offset + (unsigned long long)at);
    atomic_fetch_add(&job->bytes, len);
    return at < 0;
}

/* ---- what the threads do */

static void make_one(struct job *job, const struct file *f, char *buf)
{
    int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int r = fd < 0 ? -errno : 0;
    for (uint64_t at = 0; r == 0 && at < f->size; at += job->block) {
        size_t len = (size_t)MIN((uint64_t)job->block, f->size - at);
        pattern_fill(f->seed, at, buf, len);
        r = fd_pwrite_full(fd, buf, len, at);
    }
    if (fd >= 0 && close(fd) < 0 && r == 0)
        r = -errno;
    if (r < 0)
        fail(job, f->path, "%s", strerror(-r));
}

static void read_one(struct job *job, const struct file *f, char *buf)
{
    _cleanup_(closep) int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    uint64_t at = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0) {
        n = read(fd, buf, job->block);
        if (n > 0 && !right(job, f, at, buf, (size_t)n))
            return;
        at += n > 0 ? (uint64_t)n : 0;
    }
    if (n < 0)
        fail(job, f->path, "%s", strerror(errno));
    else if (at != f->size)
        fail(job, f->path, "%llu bytes instead of %llu", (unsigned long long)at,
             (unsigned long long)f->size);
}

static void run_files(struct job *job, char *buf,
                      void (*one)(struct job *, const struct file *, char *))
{
    size_t i;
    while (!atomic_load(&job->failed) && (i = atomic_fetch_add(&job->next, 1)) < job->nfiles)
        one(job, &job->files[i], buf);
}

static void run_make(struct job *job, char *buf)
{
    run_files(job, buf, make_one);
}

static void run_seq(struct job *job, char *buf)
{
    run_files(job, buf, read_one);
}

static void run_rand(struct job *job, char *buf)
{
    const struct file *f = &job->files[0];
    _cleanup_(closep) int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    size_t i, got;
    int r = fd < 0 ? -errno : 0;
    while (r == 0 && !atomic_load(&job->failed) &&
           (i = atomic_fetch_add(&job->next, 1)) < job->ops) {
        r = fd_pread_full(fd, buf, job->block, job->places[i], &got);
        if (r == 0 && got != job->block)
            fail(job, f->path, "a short read at %llu", (unsigned long long)job->places[i]);
        else if (r == 0)
            right(job, f, job->places[i], buf, got);
    }
    if (r < 0)
        fail(job, f->path, "%s", strerror(-r));
}

static void run_first(struct job *job, char *buf)
{
    printf("\"latency_ms\": [");
    for (size_t i = 0; i < job->nfiles && !atomic_load(&job->failed); i++) {
        const struct file *f = &job->files[i];
        struct stat st;
        size_t want = (size_t)MIN((uint64_t)job->block, f->size), got = 0;
        int r = stat(f->path, &st) < 0 ? -errno : 0;
        uint64_t begin = clock_mono_ns();
        _cleanup_(closep) int fd = open(f->path, O_RDONLY | O_CLOEXEC);
        if (r == 0)
            r = fd < 0 ? -errno : fd_pread_full(fd, buf, want, 0, &got);
        printf("%s%.3f", i ? ", " : "", (double)(clock_mono_ns() - begin) / 1e6);
        if (r < 0 || got != want)
            fail(job, f->path, "%s", r < 0 ? strerror(-r) : "a short read");
        else
            right(job, f, 0, buf, got);
    }
    printf("], ");
}

/* ---- preparing */

static int read_list(struct job *job)
{
    _cleanup_(freep) char *line = NULL;
    size_t cap = 0, room = 0;
    while (getline(&line, &cap, stdin) > 0) {
        char *save = NULL, *seed = strtok_r(line, " ", &save), *size = strtok_r(NULL, " ", &save);
        char *path = strtok_r(NULL, "\n", &save);
        if (job->nfiles == room) {
            room = room ? room * 2 : 64;
            void *more = realloc(job->files, room * sizeof(*job->files));
            if (!more)
                return -ENOMEM;
            job->files = more;
        }
        struct file *f = &job->files[job->nfiles];
        if (!path || str_to_u64(seed, 10, &f->seed) < 0 || str_to_u64(size, 10, &f->size) < 0)
            return -EINVAL;
        f->path = strdup(path);
        if (!f->path)
            return -ENOMEM;
        job->nfiles++;
    }
    return job->nfiles ? 0 : -EINVAL;
}

/* The first `ops` of all places, shuffled; the same for the same seed. */
static int choose_places(struct job *job)
{
    size_t n = (size_t)(job->files[0].size / job->block);
    uint64_t state = job->seed * 2 + 1;
    if (job->ops > n)
        return -EINVAL;
    job->places = calloc(n, sizeof(*job->places));
    if (!job->places)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        job->places[i] = i * job->block;
    for (size_t i = 0; i < job->ops; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t j = i + (size_t)((state >> 33) % (n - i));
        uint64_t place = job->places[j];
        job->places[j] = job->places[i];
        job->places[i] = place;
    }
    return 0;
}

static void job_fini(struct job *job)
{
    for (size_t i = 0; i < job->nfiles; i++)
        free(job->files[i].path);
    free(job->files);
    free(job->places);
}

static void *thread(void *arg)
{
    struct job *job = arg;
    void *buf = NULL;
    if (posix_memalign(&buf, PATTERN_PAGE, job->block))
        fail(job, "bench-read", "out of memory");
    else
        memset(buf, 0, job->block); /* page faults now, not in the figures */
    pthread_barrier_wait(&job->start);
    if (buf)
        job->run(job, buf);
    free(buf);
    return NULL;
}

static int run(struct job *job)
{
    pthread_t ids[THREADS_MAX];
    struct timespec cpu;
    pthread_barrier_init(&job->start, NULL, (unsigned)job->threads + 1);
    for (size_t i = 0; i < job->threads; i++)
        if (pthread_create(&ids[i], NULL, thread, job)) {
            perror("bench-read: thread");
            exit(1);
        }
    printf("{");
    uint64_t begin = clock_mono_ns();
    pthread_barrier_wait(&job->start);
    for (size_t i = 0; i < job->threads; i++)
        pthread_join(ids[i], NULL);
    double seconds = (double)(clock_mono_ns() - begin) / 1e9;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"bytes\": %llu, \"files\": %zu}\n", seconds,
           (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9,
           (unsigned long long)atomic_load(&job->bytes), job->nfiles);
    return atomic_load(&job->failed) ? 1 : 0;
}

static const struct mode {
    const char *name;
    void (*run)(struct job *job, char *buf);
    bool places, alone;
} modes[] = {{"make", run_make, false, false},
             {"seq", run_seq, false, false},
             {"rand", run_rand, true, false},
             {"first", run_first, false, true}};

static int usage(void)
{
    fputs("usage: bench-read make|seq|rand|first [--threads N] [--block SIZE] [--ops N] [--seed N] "
          "<LIST\n",
          stderr);
    return 1;
}

static int parse(struct job *job, int argc, char **argv)
{
    static const struct option longs[] = {{"threads", 1, NULL, 't'},
                                          {"block", 1, NULL, 'b'},
                                          {"ops", 1, NULL, 'o'},
                                          {"seed", 1, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    uint64_t n[256] = {['t'] = 1, ['b'] = 1 << 20, ['o'] = 1, ['s'] = 1};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (c == '?' || str_to_size(optarg, &n[c]) < 0 || !n[c])
            return usage();
    job->threads = (size_t)MIN(n['t'], (uint64_t)THREADS_MAX);
    job->block = (size_t)MIN(n['b'], (uint64_t)1 << 30);
    job->ops = (size_t)n['o'];
    job->seed = n['s'];
    return optind == argc - 1 ? 0 : usage();
}

int main(int argc, char **argv)
{
    struct job job = {0};
    const struct mode *mode = NULL;
    if (parse(&job, argc, argv))
        return 1;
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        if (!strcmp(modes[i].name, argv[optind]))
            mode = &modes[i];
    if (!mode || (mode->alone && job.threads != 1))
        return usage();
    job.run = mode->run;
    pattern_start();
    int r = read_list(&job);
    if (r == 0 && mode->places)
        r = choose_places(&job);
    if (r < 0)
        fprintf(stderr, "bench-read: the list of files: %s\n", strerror(-r));
    int code = r < 0 ? 1 : run(&job);
    job_fini(&job);
    return code;
}
