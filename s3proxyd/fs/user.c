/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What each uid uses of the backend, counted from its first connection on. Later limits look here. */
#include "s3proxyd/fs/fs.h"

#include <stdlib.h>

static bool uid_eq(const struct table_node *node, const void *key)
{
    return container_of(node, struct user, node)->uid == *(const uid_t *)key;
}

struct user *user_get(struct fs *fs, uid_t uid)
{
    uint64_t hash = table_hash_u64(uid);
    struct table_node *n = table_find(&fs->users, hash, uid_eq, &uid);
    if (n)
        return container_of(n, struct user, node);
    struct user *u = calloc(1, sizeof(*u));
    if (!u || table_add(&fs->users, &u->node, hash) < 0) {
        free(u);
        return NULL;
    }
    u->uid = uid;
    return u;
}

void users_free(struct fs *fs)
{
    struct table_node *n;
    while ((n = table_next(&fs->users, NULL))) {
        table_del(&fs->users, n);
        free(container_of(n, struct user, node));
    }
    table_fini(&fs->users);
}
