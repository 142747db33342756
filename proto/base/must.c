/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A broken invariant is logged and aborts: going on with a state that cannot be would risk the data. */
#include "proto/base/must.h"

#include <stdlib.h>

#include "proto/base/log.h"

void must_failed(const char *expr, const char *file, int line, const char *func)
{
    log_error("must", "%s:%d: %s: broken invariant: %s", file, line, func, expr);
    abort();
}
