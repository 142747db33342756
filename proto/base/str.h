/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Strings: an owned growable buffer (struct str), UTF-8 check, sizes like "64M", and a fd helper or two.
 * All functions that allocate return -ENOMEM and leave their target unchanged on failure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    char *s; /* NUL-terminated once anything was appended; NULL before */
    size_t len, cap;
};
#define STR_NULL ((struct str){0})

void str_fini(struct str *b);
void str_wipe(struct str *b); /* overwrites the memory first: for what held a secret */
int str_reserve(struct str *b, size_t more); /* room for `more` bytes: no realloc leaves a copy behind */
int str_add(struct str *b, const char *s);
int str_addn(struct str *b, const void *s, size_t n);
int str_addf(struct str *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_clear(struct str *b); /* keeps the memory */

bool str_utf8_ok(const char *s, size_t len); /* no surrogates, no overlong forms, NUL not allowed */
size_t str_utf8_len(const char *s, size_t len); /* of the sequence at s; 0: not one */
bool str_eq(const char *a, const char *b);   /* NULL equals NULL only */
bool str_starts(const char *s, const char *prefix);
/* "123", "64K", "64M", "1G", "2T" (powers of 1024, optional "iB"/"B"). 0 | -EINVAL | -ERANGE */
int str_to_size(const char *s, uint64_t *ret_bytes);
int str_to_u64(const char *s, int base, uint64_t *ret); /* whole string, 0 | -EINVAL | -ERANGE */
int str_hex_digit(char c); /* its value, -1: not one */
int str_hex(const void *data, size_t len, char *out, size_t out_size); /* lower case, NUL; 0 | -ERANGE */
char *str_dup_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* or NULL */

int fd_read_full(int fd, void *buf, size_t len, size_t *ret_got);  /* until EOF or len */
int fd_pread_full(int fd, void *buf, size_t len, uint64_t off, size_t *ret_got);
int fd_write_full(int fd, const void *buf, size_t len);
int fd_pwrite_full(int fd, const void *buf, size_t len, uint64_t off);
int fd_mkdir_p(const char *path, unsigned mode); /* 0 also when it exists as a directory */
