/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Reads of present blocks are made without the backend, which therefore does not see how far the
 * reader has come. With a READ's reply it says where it wants to be told (AHEAD), so that it can
 * read on in time. */
#pragma once

#include "fused/daemon.h"
#include "fused/handle.h"

/* The reader has come to `end`. Any thread; never blocks. */
void ahead_come(struct daemon *d, struct handle *h, uint64_t end);
