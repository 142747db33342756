/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Allocations that fail when a test says so. The linker's --wrap (nomem_args in meson.build) sends
 * the calls of all our objects here, not those of shared libraries. Any thread. */
#pragma once

#include <stdbool.h>

/* The nth allocation from now fails (1: the next); for_good: and all after it. */
void nomem_begin(long nth, bool for_good);
/* None fails any more. Returns whether one has failed since nomem_begin(). */
bool nomem_end(void);
