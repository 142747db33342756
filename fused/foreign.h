/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Who closes: the process that opened, or a child that merely inherited the descriptor? A child's
 * exit must not publish a half-written file. FUSE tells the thread only; the sandbox has no /proc,
 * but tgkill with signal 0 says whether a thread belongs to a process (a lack of permission is a
 * yes). */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* pid of an OPEN or CREATE. The process to remember; 0 when it cannot be known: the thread is not
 * its process' first, or lives where we cannot see it. */
pid_t foreign_opener(pid_t pid);
/* Does the FLUSH of thread pid come from another process than opener? Unknown is no. */
bool foreign_flush(pid_t opener, pid_t pid);
