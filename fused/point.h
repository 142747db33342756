/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The mount point: is it fit, what is mounted there, and how it is unmounted. Outside the sandbox
 * only. */
#pragma once

#include <stdbool.h>

#define POINT_DEV_BYTES 32

/* *ret_path: absolute, without links. 0 | -EINVAL (*ret_why) | -ENOMEM */
int point_check(const char *name, char **ret_path, char **ret_why);
/* "major:minor" of what is mounted on top at this path. false: nothing */
bool point_dev(const char *path, char ret_dev[POINT_DEV_BYTES]);
/* Unmounts, if dev is still what is on top there: somebody else may have mounted since. lazy: also
 * when it is in use; what is open stays usable. 0 (also when gone already) | -EBUSY | -errno */
int point_unmount(const char *path, const char *dev, bool lazy);
/* mount(8)'s remount: the kernel's flags only. 0 | -errno */
int point_remount(const char *path, bool rw);
/* How far the kernel reads ahead of a program, and so the size of its reads: 128 KiB unless root says
 * otherwise, each of which is a wake-up and two copies. 0 | -EACCES: not root | -errno */
int point_readahead(const char *dev, unsigned kib);
/* May users say allow_other? */
bool point_conf_allows_other(void);
