/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A store must not stand on a mount of hafiz: opening its directory would ask this very loop. */
#pragma once

#include <stdbool.h>

/* Does this path lead into a mount of hafiz? Decided by the table of mounts, without touching it.
 */
bool file_mount_is_ours(const char *path);
/* One line of /proc/self/mountinfo: a mount of hafiz at `path` or above? */
bool file_mount_line(const char *line, const char *path);
