/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Runs a harness without a fuzzer: each file of the given directories as it is, then a few hundred damaged
 * versions of it, the same ones every time. FUZZ_ROUNDS sets how many; FUZZ_TRACE=1 names each input, so
 * that the one that crashed is the last named. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX 65536u
#define ROUNDS_DEFAULT 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long inputs;

/* In memory of exactly its size, so that a sanitizer sees the first byte read too far. */
static void run_one(const uint8_t *data, size_t size, const char *name, long round)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (!copy)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    if (getenv("FUZZ_TRACE"))
        fprintf(stderr, "%s round %ld, %zu bytes\n", name, round, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    inputs++;
}

/* One to four small damages: flip, overwrite, cut, double. */
static size_t damage(uint8_t *data, size_t size, unsigned *seed)
{
    static const uint8_t odd[] = {0x00, 0x01, 0x7f, 0x80, 0xc1, 0xd9,
                                  0xdd, 0xdf, 0xff, '<', '"', '\n'};

    for (int n = 1 + rand_r(seed) % 4; n > 0 && size > 0; n--) {
        size_t at = (size_t)rand_r(seed) % size, len = 1 + (size_t)rand_r(seed) % 8;

        if (len > size - at)
            len = size - at;
        switch (rand_r(seed) % 5) {
        case 0:
            data[at] ^= (uint8_t)(1 << rand_r(seed) % 8);
            break;
        case 1:
            data[at] = odd[(size_t)rand_r(seed) % sizeof(odd)];
            break;
        case 2:
            memset(data + at, odd[(size_t)rand_r(seed) % sizeof(odd)], len);
            break;
        case 3:
            memmove(data + at, data + at + len, size - at - len);
            size -= len;
            break;
        default:
            if (size + len > INPUT_MAX)
                break;
            memmove(data + at + len, data + at, size - at);
            size += len;
        }
    }
    return size;
}

static int run_file(const char *path, long rounds)
{
    static uint8_t data[INPUT_MAX], copy[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    unsigned seed = 1;
    size_t size;

    if (!f) {
        perror(path);
        return -1;
    }
    size = fread(data, 1, sizeof(data), f);
    fclose(f);
    run_one(data, size, path, -1);
    for (long round = 0; round < rounds; round++) {
        memcpy(copy, data, size);
        run_one(copy, damage(copy, size, &seed), path, round);
    }
    return 0;
}

static int run_dir(const char *path, long rounds)
{
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort), r = n < 0 ? -1 : 0;

    if (n < 0)
        perror(path);
    for (int i = 0; i < n; i++) {
        char file[4096];
        if (names[i]->d_name[0] != '.' &&
            snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name) < (int)sizeof(file) &&
            run_file(file, rounds) < 0)
            r = -1;
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return r;
}

int main(int argc, char **argv)
{
    const char *given = getenv("FUZZ_ROUNDS");
    long rounds = given ? strtol(given, NULL, 10) : ROUNDS_DEFAULT;
    int r = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) < 0) {
            perror(argv[i]);
            return 1;
        }
        if ((S_ISDIR(st.st_mode) ? run_dir : run_file)(argv[i], rounds) < 0)
            r = 1;
    }
    printf("%lu inputs\n", inputs);
    return r != 0 || inputs == 0;
}
