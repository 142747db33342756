/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* INI lines, for s3proxyd's configuration and for the profile files of AWS. Not inih, which as
 * packaged cuts lines at 200 bytes and section names at 50 without a word (a session token is
 * longer), has no line numbers and does not report empty sections. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct ini_line {
    unsigned number;     /* from 1 */
    const char *section; /* "" before the first */
    const char *name;    /* NULL: this line opens the section */
    const char *value;   /* "" is possible */
    bool indented;       /* AWS: belongs to the option above */
};

/* Returns 0 to go on; anything else ends the parse with it. */
typedef int ini_fn(void *arg, const struct ini_line *line);

/* text[len] is a NUL; changed in place. Comments: lines that begin with # or ;, and the rest of
 * a line from a blank followed by # or ;. 0 | fn's value | -EINVAL with *ret_line and *ret_why
 * (static) */
int ini_parse(char *text, size_t len, ini_fn *fn, void *arg, unsigned *ret_line,
              const char **ret_why);
