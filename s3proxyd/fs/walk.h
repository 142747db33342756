/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Whoever goes through a tree (find, rsync, a loader that opens files by path) lists one directory after
 * another, and each costs a round trip. When that is seen, the tree is listed flat, without a delimiter: one
 * page brings many directories, and the next page is fetched while the walker is busy with them.
 *
 * A walk belongs to one directory, its root, and goes through what lies below in the order of keys. A
 * directory whose keys were all seen one after another is complete and becomes a listing like any other
 * (dir_give()). Nothing else is concluded. It stops where a page completes nothing: large directories
 * are better listed by themselves; and it stays one page ahead of its walker at the most. */
#pragma once

#include "s3proxyd/fs/dir-load.h"

/* A load is about to ask the store for its directory. true: a walk will bring it, or let it go on by
 * dir_load_resume(). Notices walkers: may start a walk behind that directory. */
bool walk_brings(struct dir_load *load);
void walk_used(struct inode *dir); /* one that a walk brought in advance is looked at */
void walk_sweep(struct fs *fs);    /* ends those nobody follows any more */
void walk_end_all(struct fs *fs);
