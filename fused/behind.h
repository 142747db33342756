/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What a reader has streamed through is dropped from the kernel's cache behind him, the first time:
 * the same bytes are in memory once more, as pages of the cache file, which every mount, user and
 * passthrough shares; twice, a large model takes twice its size. A file of which dropped bytes are
 * wanted again keeps its pages from then on, and is read at the speed of memory the third time. */
#pragma once

#include <stdint.h>

#include "fused/handle.h"

/* The kernel is about to be given [offset, end) of the file, out of its cache file: before, since the
 * reader may be far away afterwards. Any thread. */
void behind_read(struct handle *h, uint64_t offset, uint64_t end);
