/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Secrets: counted strings in locked, non-dumpable memory, wiped when released. A distinct type
 * so that no log call, JSON writer or printf can take one by accident. After fork() both
 * processes own a copy of every secret (the child's is locked again); each wipes its own. */
#pragma once

#include <stddef.h>

struct secret; /* immutable, reference counted (atomically: any thread) */

#define SECRET_MAX_BYTES (1024u * 1024)

int secret_new(const void *data, size_t len, struct secret **ret_secret); /* copies; 0 | -ENOMEM */
struct secret *secret_ref(struct secret *s);
void secret_unref(struct secret *s); /* NULL is fine; the last one wipes */
const char *secret_bytes(const struct secret *s, size_t *ret_len); /* NUL-terminated */
void secret_wipe(void *data, size_t len); /* explicit_bzero for other memory */
