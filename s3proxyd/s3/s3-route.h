/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Where a bucket is: scheme, host and addressing style, and the region that is signed for. The
 * region may be found wrong while requests run on several threads, so a route is immutable and a
 * better one is put in front of it; all live as long as the store. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/aws/uri.h"
#include "s3proxyd/s3/s3.h"

#define S3_REGION_SIZE 64u

struct s3_route {
    char region[S3_REGION_SIZE];
    char *origin; /* https://bucket.s3.eu-west-1.amazonaws.com */
    char *host;   /* the Host header */
    struct s3_route *older;
};

struct s3_routes {
    struct uri_endpoint endpoint; /* unless regional */
    bool regional;                /* an AWS host made from the region */
    bool tls, loopback;
    bool virtual_host;
    char *bucket;
    _Atomic(struct s3_route *) all; /* newest first, grows only */
    _Atomic(struct s3_route *) current;
    _Atomic unsigned count;
};

/* 0 | -EINVAL (*ret_why: static text for the user) | -ENOMEM; s3_routes_fini() in any case. */
int s3_routes_init(struct s3_routes *rs, const struct s3_config *config, const char **ret_why);
void s3_routes_fini(struct s3_routes *rs);
const struct s3_route *s3_route_current(struct s3_routes *rs);
/* The bucket is in that region, the server says. 0: it is now current | -EINVAL (not a region's
 * name, or too many already) | -EALREADY (that was what we used) | -ENOMEM. Any thread. */
int s3_route_change(struct s3_routes *rs, const struct s3_route *used, const char *region);
/* The encoded path of a key, or of the bucket when key is NULL. Appended. */
int s3_route_path(const struct s3_routes *rs, const char *key, struct str *out);
