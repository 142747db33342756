/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Inside hafizctl: finding a backend and asking it (hafizctl.c), what it answers as text
 * (hafizctl-status.c, hafizctl-text.c), which mount a path is in (hafizctl-refresh.c), fetching ahead
 * (hafizctl-warm.c, hafizctl-progress.c). Everything a backend
 * sends may be missing, huge or hostile to a terminal. One thread. */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/str.h"

/* Exit codes; as with mount(8), 1 is also wrong usage. 130 as a shell has it for Ctrl-C. */
enum { CTL_OK = 0, CTL_FAILED = 1, CTL_INTERRUPTED = 130 };

/* Where a backend may listen, in the order they are tried. */
#define CTL_PLACES_MAX 6u
struct ctl_places {
    struct ctl_place {
        char *path;
        bool trusted; /* whoever owns the socket; else it must be ours */
    } list[CTL_PLACES_MAX];
    unsigned n;
    bool named; /* by the user: the only place */
    /* The first place where something listens that could not be used. */
    const char *bad_path;
    int bad;
};
struct ctl {
    struct ctl_places places;
    bool json;
    unsigned jobs; /* 0: not given */
    char **args; /* words after the command */
    int nargs;
};

/* "hafizctl: …" on standard error, one line. Returns CTL_FAILED. */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Connects to the first place that answers, from *index on, which is moved behind it. 0 | -ENOENT */
int ctl_next(struct ctl_places *places, unsigned *index, int *ret_fd);
int ctl_fail_nobody(const struct ctl_places *places); /* after ctl_next() found none */
/* The backend's STATUS document. 0 | -EPROTO (no JSON object) | -errno */
int ctl_ask_status(int fd, json_object **ret_doc);

int ctl_status(struct ctl *ctl);
int ctl_refresh(struct ctl *ctl);
int ctl_warm(struct ctl *ctl);

/* The mount that a path lies in, its backend, and the path below the mount's root. */
#define CTL_INSTANCE_BYTES 16u
struct ctl_found {
    int fd;
    uint8_t instance[CTL_INSTANCE_BYTES];
    char *path;
};
int ctl_find_mount(struct ctl *ctl, const char *word, struct ctl_found *ret); /* CTL_*; it has said why */
void ctl_found_fini(struct ctl_found *found);
/* A reply's payload as a JSON object. 0 | -EPROTO | -ENOMEM */
struct client_answer;
int ctl_answer_json(const struct client_answer *answer, json_object **ret_doc);

/* How far a warming is, for people (hafizctl-progress.c). */
struct ctl_progress {
    uint64_t bytes, total_bytes, objects, total_objects, present_bytes, elapsed_ms;
    bool total_known;
    double rate; /* bytes a second */
};
/* One line of at most `width` columns, without a line end; bar: with one. 0 | -ENOMEM */
int ctl_progress_line(const struct ctl_progress *p, unsigned width, bool bar, bool utf8,
                      struct str *out);

/* The document in words, for an 80 column terminal. 0 | -ENOMEM */
int ctl_status_text(json_object *doc, struct str *out);

/* Text pieces. Values that came from outside become harmless here: controls, direction marks and broken
 * UTF-8 as \xNN, at most CTL_TEXT_MAX_BYTES of them. All: 0 | -ENOMEM */
#define CTL_TEXT_MAX_BYTES 1024u
int ctl_add_clean(struct str *out, const char *s, size_t len);
int ctl_add_bytes(struct str *out, uint64_t bytes);     /* 1.5 GiB */
int ctl_add_count(struct str *out, uint64_t n);         /* 1,234,567 */
int ctl_add_duration(struct str *out, uint64_t seconds); /* 3 h 12 min */

/* Members of an object; any may be missing or of another type. */
json_object *ctl_member(json_object *o, const char *name, json_type type); /* or NULL */
bool ctl_u64(json_object *o, const char *name, uint64_t *ret);
uint64_t ctl_u64_or_0(json_object *o, const char *name);
bool ctl_bool(json_object *o, const char *name);
int ctl_add_str(struct str *out, json_object *o, const char *name); /* clean; "-" when missing */

/* A table of cells. When its lines do not fit CTL_WIDTH columns each row becomes a few lines, so that
 * nothing is cut: a path is there to be copied. */
#define CTL_COLUMNS_MAX 8u
#define CTL_WIDTH 80u
struct ctl_column {
    const char *title;
    enum { CTL_LEFT, CTL_RIGHT } align;
    bool alone; /* gets a line of its own then */
};
struct ctl_grid {
    const struct ctl_column *columns;
    unsigned ncolumns;
    struct str *cells; /* ncolumns per row */
    size_t nrows;
    int error;         /* sticky: ctl_grid_print() returns it */
};
struct str *ctl_grid_row(struct ctl_grid *g); /* ncolumns cells to append to; NULL: no memory */
int ctl_grid_print(struct ctl_grid *g, struct str *out);
void ctl_grid_fini(struct ctl_grid *g);

/* Mount table entry of the mount that a path lies in. Strings are owned. */
struct ctl_mount {
    char *root, *mountpoint, *fstype;
    unsigned major, minor;
};
void ctl_mount_fini(struct ctl_mount *m);
/* One line of /proc/self/mountinfo; the line is changed. 0 | -EINVAL | -ENOMEM */
int ctl_mount_parse(char *line, struct ctl_mount *ret);
bool ctl_path_below(const char *path, const char *dir); /* is it dir or something in it */
