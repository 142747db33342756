/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the daemon may still do once everything it needs is open: read and write its descriptors. */
#pragma once

/* While there is one thread: no new privileges, no capabilities, not root, no files (Landlock), no
 * core dumps, as many descriptors as allowed. 0 | -errno */
int sandbox_enter(void);
/* Once all threads exist: the list of system calls, for all of them. 0 | -errno */
int sandbox_lock(void);
