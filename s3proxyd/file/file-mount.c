/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Who mounts file:///data on /data itself has a working mount, for the directory was open before. A
 * backend that starts again and opens the path would wait for its own answer, so it asks here
 * first. */
#include "s3proxyd/file/file-mount.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"

#define OUR_TYPE "fuse.hafiz"
#define MOUNT_POINT_FIELD 4 /* from 0: id, parent, major:minor, root, mount point */

/* The length of the octal escape at s (blank, tab, newline, backslash), or 0. */
static size_t escape(const char *s, char *ret)
{
    if (s[0] != '\\' || s[1] < '0' || s[1] > '3' || s[2] < '0' || s[2] > '7' || s[3] < '0' ||
        s[3] > '7')
        return 0;
    *ret = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
    return 4;
}

/* Is the escaped mount point, which ends at a blank, `path` or a directory above it? */
static bool leads_to(const char *point, const char *path)
{
    bool root = point[0] == '/' && point[1] == ' ';

    while (*point && *point != ' ') {
        char c = *point;
        size_t n = escape(point, &c);

        if (*path++ != c)
            return false;
        point += n ? n : 1;
    }
    return root || *path == '\0' || *path == '/';
}

bool file_mount_line(const char *line, const char *path)
{
    const char *point = line, *type = strstr(line, " - ");

    if (!type || strncmp(type + 3, OUR_TYPE " ", sizeof(OUR_TYPE)) != 0)
        return false;
    for (int field = 0; field < MOUNT_POINT_FIELD; field++) {
        point = strchr(point, ' ');
        if (!point)
            return false;
        point++;
    }
    return leads_to(point, path);
}

bool file_mount_is_ours(const char *path)
{
    _cleanup_(freep) char *line = NULL;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    size_t size = 0;
    bool ours = false;

    if (!f)
        return false;
    while (!ours && getline(&line, &size, f) > 0)
        ours = file_mount_line(line, path);
    (void)fclose(f);
    return ours;
}
