/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Names of large directories are counters, dates, digests: numbers, written in some alphabet at a
 * fixed place. A window of such a number is read from the two names as an integer, moved on, and
 * written back. */
#include "s3proxyd/fs/split.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"

/* Bytewise order, as the keys'. The first that has all characters of the window is taken: the
 * smaller the alphabet, the fewer keys are guessed that nobody uses. */
static const char *const alphabets[] = {
    "0123456789",
    "0123456789abcdef",
    "0123456789ABCDEF",
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
};

#define ALNUM 6u
#define SPACE_MAX (1ULL << 60) /* of numbers in a window */
#define FINE 4u /* characters behind the first one that changed: one page is a fine step */

struct window {
    const char *alphabet;
    uint64_t base, space;
    size_t at, len;
};

static bool is_in(const char *alphabet, char c)
{
    return c && strchr(alphabet, c);
}

static bool all_in(const char *alphabet, const char *s, size_t at, size_t end)
{
    for (; at < end && s[at]; at++)
        if (!is_in(alphabet, s[at]))
            return false;
    return true;
}

/* The alphabet of what changes; NULL: not one of ours (another script, say). */
static const char *alphabet_of(const char *first, const char *last, size_t at, size_t end)
{
    for (size_t i = 0; i < ARRAY_SIZE(alphabets); i++)
        if (all_in(alphabets[i], first, at, end) && all_in(alphabets[i], last, at, end))
            return alphabets[i];
    return NULL;
}

/* From where in the common part a carry may come, to the characters that make a fine step. */
static bool find_window(const char *first, const char *last, struct window *ret)
{
    size_t same = 0;
    while (first[same] && first[same] == last[same])
        same++;
    size_t end = same;
    while (end < same + FINE && last[end] && last[end] != '/' &&
           (end == same || is_in(alphabets[ALNUM], last[end]))) /* not into an extension */
        end++;
    struct window w = {.alphabet = alphabet_of(first, last, same, end), .at = same, .space = 1};
    if (end == same || !w.alphabet)
        return false;
    w.base = strlen(w.alphabet);
    bool digits = w.base == 10;
    while (w.at > 0 && same - w.at < 16 &&
           (digits ? is_in(alphabets[0], last[w.at - 1]) : is_in(w.alphabet, last[w.at - 1])))
        w.at--;
    for (w.len = end - w.at; w.len > 0;
         w.len--, w.at++) { /* what does not fit is left off at the front */
        bool fits = true;
        w.space = 1;
        for (size_t i = 0; i < w.len && fits; i++) {
            fits = w.space <= SPACE_MAX / w.base;
            w.space *= w.base;
        }
        if (fits)
            break;
    }
    *ret = w;
    return w.len > 0 && w.at <= same;
}

/* A text that ends early is continued with the smallest. */
static uint64_t number_at(const struct window *w, const char *s)
{
    size_t len = strlen(s);
    uint64_t v = 0;
    for (size_t i = w->at; i < w->at + w->len; i++) {
        const char *c = i < len ? strchr(w->alphabet, s[i]) : NULL;
        v = v * w->base + (c ? (uint64_t)(c - w->alphabet) : 0);
    }
    return v;
}

int split_guess(const struct split_model *model, const char *from, size_t ahead, char **ret)
{
    struct window w;
    if (model->n < 2 || strcmp(model->first, model->last) >= 0 ||
        !find_window(model->first, model->last, &w) || strlen(from) < w.at ||
        memcmp(from, model->last, w.at) != 0)
        return -ERANGE;
    uint64_t first = number_at(&w, model->first), last = number_at(&w, model->last);
    uint64_t at = number_at(&w, from);
    if (first >= last)
        return -ERANGE;
    double step = (double)(last - first) * (double)ahead / (double)(model->n - 1);
    if (step < 1 || step >= (double)(w.space - at))
        return -ERANGE;
    char *out = malloc(w.at + w.len + 1);
    if (!out)
        return -ENOMEM;
    uint64_t v = at + (uint64_t)step;
    memcpy(out, from, w.at);
    out[w.at + w.len] = '\0';
    for (size_t i = w.len; i-- > 0; v /= w.base)
        out[w.at + i] = w.alphabet[v % w.base];
    if (strcmp(out, from) <= 0) {
        free(out);
        return -ERANGE;
    }
    *ret = out;
    return 0;
}
