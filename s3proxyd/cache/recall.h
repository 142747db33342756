/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What the cache knows of its own content when it starts: an index file written at a clean exit (hash and
 * charge, least recently used first), else a walk through the tree on the pool. Until the walk has
 * ended, the bound counts only what was opened since. */
#pragma once

#include "s3proxyd/cache/obj.h"

#define RECALL_ROWS_MAX 16000000u

int recall_load(struct cache *cache); /* 0 | -ENOENT: walk | -EBADMSG: walk | -errno. Removes the file */
int recall_save(struct cache *cache); /* 0 | -errno */

int walk_start(struct cache *cache); /* sets cache->walk until it is over. 0 | -ENOMEM | -errno */
void walk_stop(struct cache *cache); /* it ends soon and touches the cache no more */
