/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Who closes a file: the process that opened it, or one that only inherited the descriptor. */
#include "fused/foreign.h"

#include <errno.h>
#include <signal.h>

static bool belongs(pid_t process, pid_t thread)
{
    return tgkill(process, thread, 0) == 0 || errno != ESRCH;
}

pid_t foreign_opener(pid_t pid)
{
    return pid > 0 && belongs(pid, pid) ? pid : 0;
}

bool foreign_flush(pid_t opener, pid_t pid)
{
    return opener > 0 && pid > 0 && pid != opener && !belongs(opener, pid);
}
