/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* See pattern.h. */
#include "tests/bench/pattern.h"

#include <string.h>

#include "proto/base/must.h"

#define PAGES 61u /* of noise: small enough to stay in the processor's cache */

static uint64_t noise[PAGES][PATTERN_PAGE / 8];

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void pattern_start(void)
{
    uint64_t n = 0;
    for (size_t i = 0; i < PAGES; i++)
        for (size_t j = 0; j < PATTERN_PAGE / 8; j++)
            noise[i][j] = mix(n++);
}

struct part { /* what of one page is meant: [from, to), of which the first bytes name the page */
    uint64_t name[2];
    const unsigned char *rest;
    size_t from, to, name_to;
};

static struct part part_of(uint64_t seed, uint64_t offset, size_t len)
{
    uint64_t page = offset / PATTERN_PAGE;
    struct part p = {.name = {seed, page}, .from = offset % PATTERN_PAGE};
    p.to = MIN(p.from + len, (size_t)PATTERN_PAGE);
    p.name_to = MAX(p.from, sizeof(p.name));
    p.name_to = MIN(p.name_to, p.to);
    p.rest = (const unsigned char *)noise[mix(seed ^ mix(page)) % PAGES];
    return p;
}

void pattern_fill(uint64_t seed, uint64_t offset, void *into, size_t len)
{
    unsigned char *out = into;
    while (len) {
        struct part p = part_of(seed, offset, len);
        if (p.from < p.name_to)
            memcpy(out, (const char *)p.name + p.from, p.name_to - p.from);
        memcpy(out + (p.name_to - p.from), p.rest + p.name_to, p.to - p.name_to);
        out += p.to - p.from;
        offset += p.to - p.from;
        len -= p.to - p.from;
    }
}

int64_t pattern_check(uint64_t seed, uint64_t offset, const void *data, size_t len)
{
    const unsigned char *in = data;
    while (len) {
        struct part p = part_of(seed, offset, len);
        if ((p.from < p.name_to && memcmp(in, (const char *)p.name + p.from, p.name_to - p.from)) ||
            memcmp(in + (p.name_to - p.from), p.rest + p.name_to, p.to - p.name_to))
            return in - (const unsigned char *)data;
        in += p.to - p.from;
        offset += p.to - p.from;
        len -= p.to - p.from;
    }
    return -1;
}
