/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* JSON documents for hafizctl: what STATUS and WARM_STATUS share. */
#pragma once

#include <json-c/json.h>

#include "s3proxyd/op/ops.h"

static inline void put_int(struct json_object *o, const char *name, uint64_t v)
{
    json_object_object_add(o, name, json_object_new_int64((int64_t)MIN(v, (uint64_t)INT64_MAX)));
}

static inline void put_str(struct json_object *o, const char *name, const char *v)
{
    json_object_object_add(o, name, json_object_new_string(v ? v : ""));
}

static inline void put_bool(struct json_object *o, const char *name, bool v)
{
    json_object_object_add(o, name, json_object_new_boolean(v));
}

/* Users see their own, root and the backend's own uid all. */
static inline bool op_may_see(const struct op *op, uid_t owner)
{
    uid_t uid = op->conn && op->conn->chan ? chan_peer(op->conn->chan)->uid : (uid_t)-1;
    return uid == 0 || uid == op->fs->own_uid || uid == owner;
}

struct json_object *op_warming_json(const struct op *op); /* the jobs that run, a list */
/* Replies to a message without fields with the document, which is let go. */
int op_reply_json(struct op *op, struct json_object *o);
