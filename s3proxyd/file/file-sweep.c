/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Temporary files and uploads of a backend that was killed would stay for ever. Age tells them
 * from what other backends are busy with: every temporary file is renamed within one request,
 * and an upload that nobody touched for a week is a lost one. Run once, before the first change. */
#include "s3proxyd/file/file-sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "s3proxyd/file/file-path.h"
#include "s3proxyd/file/file-upload.h"

#define TEMP_AGE_S (24 * 3600)
#define UPLOAD_AGE_S (7 * 24 * 3600)

typedef void remove_fn(int dir, const char *name);

static void remove_file(int dir, const char *name)
{
    (void)unlinkat(dir, name, 0);
}

/* An upload's directory changes with every part that arrives. */
static void sweep_dir(struct file_store *fs, const char *path, time_t age_s, remove_fn *remove)
{
    time_t now = time(NULL);
    int fd = file_path_open(fs, path, O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    struct stat st;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.' || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (st.st_mtim.tv_sec < now - age_s && st.st_ctim.tv_sec < now - age_s)
            remove(fd, e->d_name);
    }
    closedir(d);
}

void file_sweep(struct file_store *fs)
{
    sweep_dir(fs, FILE_PRIVATE_DIR "/tmp", TEMP_AGE_S, remove_file);
    sweep_dir(fs, FILE_PRIVATE_DIR "/uploads", UPLOAD_AGE_S, file_upload_remove);
}
