/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Where to cut a directory's keys into pieces that are listed side by side. Pure: a guess here
 * costs or saves requests; what a directory holds is what the pages said (fs/pages.h). */
#pragma once

#include <stddef.h>

/* A key that lies about `ahead` names behind `from`, going by n names that were seen from first to
 * last (first < last <= from, bytewise). It is a number in the digits or letters that changed
 * between first and last, counted on at the same pace: file-00000 … file-00999 leads to file-01899
 * for ahead = 900 from file-00999. out: malloc'd. 0: *ret > from | -ERANGE: nothing can be told, or
 * counting on leaves the pattern (behind file-99999) | -ENOMEM */
struct split_model {
    const char *first, *last;
    size_t n;
};
int split_guess(const struct split_model *model, const char *from, size_t ahead, char **ret);
