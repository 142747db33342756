/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Numbers, foreign strings and tables for people: what is printed fits the terminal and cannot drive it. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "s3proxyd/hafizctl.h"

#define CUT_MARK "..."
#define INDENT 2u
#define GAP 2u

/* Bytes of the UTF-8 character at s, 0: not one. */
static unsigned utf8_len(const char *s, size_t len)
{
    unsigned char c = (unsigned char)*s;
    unsigned n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
    return n && n <= len && str_utf8_ok(s, n) ? n : 0;
}

static uint32_t utf8_code(const char *s, unsigned n)
{
    static const unsigned char lead[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (unsigned char)s[0] & lead[n];
    for (unsigned i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)s[i] & 0x3f);
    return code;
}

/* Controls, and the marks that make a line read in another order than it is written. */
static bool code_harmless(uint32_t c)
{
    return c >= 0x20 && !(c >= 0x7f && c <= 0x9f) && !(c >= 0x200e && c <= 0x200f) &&
           !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069) && c != 0xfeff;
}

/* East Asian and emoji blocks take two columns; near enough for a table. */
static unsigned code_width(uint32_t c)
{
    static const uint32_t wide[][2] = {{0x1100, 0x115f},   {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
                                       {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                       {0xffe0, 0xffe6},   {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};
    for (size_t i = 0; i < ARRAY_SIZE(wide); i++)
        if (c >= wide[i][0] && c <= wide[i][1])
            return 2;
    return 1;
}

int ctl_add_clean(struct str *out, const char *s, size_t len)
{
    int r = 0;
    size_t end = MIN(len, (size_t)CTL_TEXT_MAX_BYTES);
    for (size_t i = 0; r == 0 && i < end;) {
        unsigned n = utf8_len(s + i, len - i);
        if (n && code_harmless(utf8_code(s + i, n))) {
            r = str_addn(out, s + i, n);
            i += n;
            continue;
        }
        for (unsigned k = 0; r == 0 && k < MAX(n, 1u); k++)
            r = str_addf(out, "\\x%02x", (unsigned char)s[i + k]);
        i += MAX(n, 1u);
    }
    return r == 0 && end < len ? str_add(out, CUT_MARK) : r;
}

int ctl_add_bytes(struct str *out, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024)
        return str_addf(out, "%u B", (unsigned)bytes);
    double v = (double)bytes / 1024;
    size_t unit = 0;
    while (v >= 1023.95 && unit + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        unit++;
    }
    return str_addf(out, "%.1f %s", v, units[unit]);
}

int ctl_add_count(struct str *out, uint64_t n)
{
    if (n < 1000)
        return str_addf(out, "%u", (unsigned)n);
    int r = ctl_add_count(out, n / 1000);
    return r < 0 ? r : str_addf(out, ",%03u", (unsigned)(n % 1000));
}

int ctl_add_duration(struct str *out, uint64_t s)
{
    unsigned long long t = s;
    if (s < 60)
        return str_addf(out, "%llu s", t);
    if (s < 3600)
        return str_addf(out, "%llu min", t / 60);
    if (s < 86400)
        return str_addf(out, "%llu h %llu min", t / 3600, t / 60 % 60);
    return str_addf(out, "%llu d %llu h", t / 86400, t / 3600 % 24);
}

json_object *ctl_member(json_object *o, const char *name, json_type type)
{
    json_object *v = NULL;
    if (!o || !json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, name, &v))
        return NULL;
    return json_object_is_type(v, type) ? v : NULL;
}

bool ctl_u64(json_object *o, const char *name, uint64_t *ret)
{
    json_object *v = ctl_member(o, name, json_type_int);
    if (!v || json_object_get_int64(v) < 0)
        return false;
    *ret = json_object_get_uint64(v);
    return true;
}

uint64_t ctl_u64_or_0(json_object *o, const char *name)
{
    uint64_t v = 0;
    return ctl_u64(o, name, &v) ? v : 0;
}

bool ctl_bool(json_object *o, const char *name)
{
    json_object *v = ctl_member(o, name, json_type_boolean);
    return v && json_object_get_boolean(v);
}

int ctl_add_str(struct str *out, json_object *o, const char *name)
{
    json_object *v = ctl_member(o, name, json_type_string);
    int len = v ? json_object_get_string_len(v) : 0;
    if (len <= 0)
        return str_add(out, "-");
    return ctl_add_clean(out, json_object_get_string(v), (size_t)len);
}

struct str *ctl_grid_row(struct ctl_grid *g)
{
    struct str *more = reallocarray(g->cells, (g->nrows + 1) * g->ncolumns, sizeof(*more));
    if (!more) {
        g->error = -ENOMEM;
        return NULL;
    }
    g->cells = more;
    memset(&more[g->nrows * g->ncolumns], 0, g->ncolumns * sizeof(*more));
    return &more[g->nrows++ * g->ncolumns];
}

void ctl_grid_fini(struct ctl_grid *g)
{
    for (size_t i = 0; i < g->nrows * g->ncolumns; i++)
        str_fini(&g->cells[i]);
    free(g->cells);
    g->cells = NULL;
    g->nrows = 0;
}

static unsigned text_width(const char *s)
{
    size_t len = strlen(s);
    unsigned width = 0;
    while (len) {
        unsigned n = utf8_len(s, len);
        width += n ? code_width(utf8_code(s, n)) : 1;
        n = MAX(n, 1u);
        s += n;
        len -= n;
    }
    return width;
}

static const char *cell_text(const struct ctl_grid *g, size_t row, unsigned column)
{
    const struct str *cell = &g->cells[row * g->ncolumns + column];
    return cell->s ? cell->s : "";
}

/* Returns the width of a line. */
static unsigned grid_widths(const struct ctl_grid *g, unsigned widths[CTL_COLUMNS_MAX])
{
    unsigned total = INDENT;
    for (unsigned c = 0; c < g->ncolumns; c++) {
        widths[c] = text_width(g->columns[c].title);
        for (size_t r = 0; r < g->nrows; r++)
            widths[c] = MAX(widths[c], text_width(cell_text(g, r, c)));
        total += widths[c] + (c ? GAP : 0);
    }
    return total;
}

static int add_cell(struct str *out, const struct ctl_column *column, const char *text,
                    unsigned width, bool last)
{
    int pad = (int)(width - text_width(text));
    int left = column->align == CTL_RIGHT ? pad : 0;
    int right = column->align == CTL_LEFT ? pad : 0;
    if (last)
        return str_addf(out, "%*s%s\n", left, "", text);
    return str_addf(out, "%*s%s%*s", left, "", text, right + (int)GAP, "");
}

static int print_lines(const struct ctl_grid *g, const unsigned widths[CTL_COLUMNS_MAX],
                       struct str *out)
{
    int r = 0;
    for (size_t row = 0; r == 0 && row <= g->nrows; row++) {
        r = str_addf(out, "%*s", (int)INDENT, "");
        for (unsigned c = 0; r == 0 && c < g->ncolumns; c++)
            r = add_cell(out, &g->columns[c],
                         row ? cell_text(g, row - 1, c) : g->columns[c].title, widths[c],
                         c + 1 == g->ncolumns);
    }
    return r;
}

static int add_named(struct str *out, const struct ctl_grid *g, size_t row, unsigned column,
                     unsigned indent, const char *end)
{
    int r = str_addf(out, "%*s", (int)indent, "");
    for (const char *t = g->columns[column].title; r == 0 && *t; t++)
        r = str_addf(out, "%c", tolower((unsigned char)*t));
    return r < 0 ? r : str_addf(out, " %s%s", cell_text(g, row, column), end);
}

/* The first column is the heading, then what stands alone, then the rest in one line. */
static int print_record(const struct ctl_grid *g, size_t row, struct str *out)
{
    bool begun = false;
    int r = str_addf(out, "%*s%s\n", (int)INDENT, "", cell_text(g, row, 0));
    for (unsigned c = 1; r == 0 && c < g->ncolumns; c++)
        if (g->columns[c].alone)
            r = add_named(out, g, row, c, 3 * INDENT, "\n");
    for (unsigned c = 1; r == 0 && c < g->ncolumns; c++) {
        if (g->columns[c].alone)
            continue;
        if (begun)
            r = str_add(out, ",");
        if (r == 0)
            r = add_named(out, g, row, c, begun ? 1 : 3 * INDENT, "");
        begun = true;
    }
    return r == 0 && begun ? str_add(out, "\n") : r;
}

int ctl_grid_print(struct ctl_grid *g, struct str *out)
{
    unsigned widths[CTL_COLUMNS_MAX];
    must(g->ncolumns <= CTL_COLUMNS_MAX);
    if (g->error)
        return g->error;
    if (grid_widths(g, widths) <= CTL_WIDTH)
        return print_lines(g, widths, out);
    int r = 0;
    for (size_t row = 0; r == 0 && row < g->nrows; row++)
        r = print_record(g, row, out);
    return r;
}
