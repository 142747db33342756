/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The process outside the sandbox, small and idle: it has the keys (locked memory), the right to
 * unmount and to start a backend, and no descriptor of the mount, so that a daemon that dies leaves
 * errors behind and never a hang. */
#pragma once

#include "fused/attach.h"

/* mount(8)'s exit codes */
#define KEEPER_OK 0
#define KEEPER_USAGE 1
#define KEEPER_SYSTEM 2
#define KEEPER_FAILED 32

/* Mounts at path (absolute) and stays until it is unmounted. report_fd: gets one byte, the exit
 * code of the waiting parent, and is closed; -1 in the foreground. Returns the exit code. */
int keeper_run(struct attach *a, const char *path, int report_fd);
