/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The bytes of the benchmark's files: any part of any file can be made and checked without the
 * file, at the speed of memcmp. Every page begins with the file's number and its own; the rest is
 * noise chosen by both, so that a page of another file, of another place, or of zeros is wrong at
 * once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_PAGE 4096u

void pattern_start(void); /* once, before anything else */
/* [offset, offset + len) of the file `seed`. */
void pattern_fill(uint64_t seed, uint64_t offset, void *into, size_t len);
/* -1: all as it should be; else where in data the first wrong page begins. */
int64_t pattern_check(uint64_t seed, uint64_t offset, const void *data, size_t len);
