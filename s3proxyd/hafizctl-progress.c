/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Progress in one line: a bar as wide as the terminal lets it be, how much, how fast, how long still. */
#include <errno.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "s3proxyd/hafizctl.h"

#define BAR_MIN 8u
#define BAR_MAX 40u
#define EIGHTHS 8u
#define RATE_MIN 1.0 /* bytes a second; below it there is no telling how long */

enum { BYTES = 1, COUNTS = 2, RATE = 4, LEFT = 8 };
/* What is told: as much as there is room for. */
static const unsigned levels[] = {BYTES | COUNTS | RATE | LEFT, BYTES | RATE | LEFT, BYTES | LEFT,
                                  LEFT, 0};
#define BAR_LEVELS 2u /* and beside these, a bar */

static unsigned percent(const struct ctl_progress *p)
{
    if (p->total_bytes == 0)
        return p->total_objects ? (unsigned)(p->objects * 100 / p->total_objects) : 100;
    return (unsigned)((double)MIN(p->bytes, p->total_bytes) * 100 / (double)p->total_bytes);
}

static int add_bar(const struct ctl_progress *p, unsigned width, bool utf8, struct str *out)
{
    static const char *const parts[] = {"▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    unsigned inner = utf8 ? width : width - 2;
    double share = p->total_bytes ? (double)MIN(p->bytes, p->total_bytes) / (double)p->total_bytes
                                  : percent(p) / 100.0;
    unsigned full = (unsigned)(share * inner * EIGHTHS);
    int r = utf8 ? 0 : str_add(out, "[");
    for (unsigned i = 0; r == 0 && i < inner; i++) {
        unsigned left = full > i * EIGHTHS ? full - i * EIGHTHS : 0;
        if (utf8)
            r = str_add(out, left ? parts[MIN(left, EIGHTHS) - 1] : "·");
        else
            r = str_add(out, left >= EIGHTHS ? "#" : left ? ">" : ".");
    }
    return r == 0 && !utf8 ? str_add(out, "]") : r;
}

static int add_left(const struct ctl_progress *p, struct str *out)
{
    uint64_t rest = p->total_bytes > p->bytes ? p->total_bytes - p->bytes : 0;
    if (!p->total_known || p->rate < RATE_MIN)
        return 0;
    double s = (double)rest / p->rate;
    if (s > 99.0 * 3600)
        return 0;
    unsigned t = (unsigned)(s + 0.999);
    return t < 3600 ? str_addf(out, "  %u:%02u left", t / 60, t % 60)
                    : str_addf(out, "  %u:%02u:%02u left", t / 3600, t / 60 % 60, t % 60);
}

static int add_bytes(const struct ctl_progress *p, struct str *out)
{
    int r = str_add(out, "  ");
    if (r == 0)
        r = ctl_add_bytes(out, p->bytes);
    if (r == 0)
        r = str_add(out, " of ");
    if (r == 0)
        r = ctl_add_bytes(out, p->total_bytes);
    return r == 0 && !p->total_known ? str_add(out, "+") : r;
}

static int add_counts(const struct ctl_progress *p, struct str *out)
{
    int r = str_add(out, "  ");
    if (r == 0)
        r = ctl_add_count(out, p->objects);
    if (r == 0)
        r = str_add(out, "/");
    if (r == 0)
        r = ctl_add_count(out, p->total_objects);
    return r == 0 ? str_addf(out, "%s objects", p->total_known ? "" : "+") : r;
}

/* Before anything was fetched there is none. */
static int add_rate(const struct ctl_progress *p, struct str *out)
{
    if (p->bytes <= p->present_bytes)
        return 0;
    int r = str_add(out, "  ");
    if (r == 0)
        r = ctl_add_bytes(out, (uint64_t)p->rate);
    return r == 0 ? str_add(out, "/s") : r;
}

/* All but the bar. */
static int add_numbers(const struct ctl_progress *p, unsigned what, struct str *out)
{
    int r = p->total_known ? str_addf(out, "%3u%%", percent(p)) : str_add(out, "counting");
    if (r == 0 && what & BYTES)
        r = add_bytes(p, out);
    if (r == 0 && what & COUNTS)
        r = add_counts(p, out);
    if (r == 0 && what & RATE)
        r = add_rate(p, out);
    return r == 0 && what & LEFT ? add_left(p, out) : r;
}

int ctl_progress_line(const struct ctl_progress *p, unsigned width, bool bar, bool utf8,
                      struct str *out)
{
    for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
        _cleanup_(str_fini) struct str text = STR_NULL;
        int r = add_numbers(p, levels[i], &text);
        if (r < 0)
            return r;
        bool beside = bar && p->total_known && text.len + BAR_MIN + 1 <= width;
        if (bar && (text.len > width || (!beside && p->total_known && i + 1 < BAR_LEVELS)))
            continue;
        if (beside && i < BAR_LEVELS) {
            r = add_bar(p, MIN(width - 1 - (unsigned)text.len, BAR_MAX), utf8, out);
            if (r == 0)
                r = str_add(out, " ");
        }
        return r < 0 ? r : str_add(out, text.s);
    }
    return 0; /* not even a percentage */
}
