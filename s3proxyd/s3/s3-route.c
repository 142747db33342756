/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Decides the addressing style once, and makes origin and Host for a region. */
#include "s3proxyd/s3/s3-route.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"

#define REGION_DEFAULT "us-east-1"
#define ROUTES_MAX 16u /* a server that names ever new regions is not believed for ever */

static void route_free(struct s3_route *r)
{
    free(r->origin);
    free(r->host);
    free(r);
}
DEFINE_CLEANUP(struct s3_route *, route_free)

static bool region_ok(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return n > 0 && n < S3_REGION_SIZE && s[n] == '\0';
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

static bool is_aws(const char *host)
{
    return ends_with(host, ".amazonaws.com") || ends_with(host, ".amazonaws.com.cn");
}

/* s3.amazonaws.com, s3.REGION.amazonaws.com[.cn]: the plain hosts, whose others we can make. */
static bool plain_aws_host(const char *host, char region[S3_REGION_SIZE])
{
    const char *dot;

    region[0] = '\0';
    if (!is_aws(host) || strncmp(host, "s3.", 3))
        return false;
    if (!strcmp(host, "s3.amazonaws.com"))
        return true;
    dot = strchr(host + 3, '.');
    if (!dot || strncmp(dot, ".amazonaws.com", 14) || dot - (host + 3) >= (int)S3_REGION_SIZE)
        return false;
    memcpy(region, host + 3, (size_t)(dot - (host + 3)));
    region[dot - (host + 3)] = '\0';
    return region_ok(region);
}

static int route_new(const struct s3_routes *rs, const char *region, struct s3_route **ret)
{
    _cleanup_(route_freep) struct s3_route *r = calloc(1, sizeof(*r));
    _cleanup_(str_fini) struct str host = STR_NULL;
    struct uri_endpoint e = rs->endpoint;

    if (!r)
        return -ENOMEM;
    if (rs->regional) {
        int n = snprintf(e.host, sizeof(e.host), "s3.%s.amazonaws.com%s", region,
                         str_starts(region, "cn-") ? ".cn" : "");

        must(n > 0 && (size_t)n < sizeof(e.host));
    }
    if (uri_endpoint_authority(&e, rs->virtual_host ? rs->bucket : NULL, &host) < 0)
        return -ENOMEM;
    snprintf(r->region, sizeof(r->region), "%s", region);
    r->origin = str_dup_printf("%s://%s", e.tls ? "https" : "http", host.s);
    r->host = strdup(host.s);
    if (!r->origin || !r->host)
        return -ENOMEM;
    *ret = take(r);
    return 0;
}

static int choose_style(struct s3_routes *rs, const struct s3_config *config, const char **ret_why)
{
    bool dotted = false, dns = uri_bucket_is_dns(rs->bucket, &dotted);
    bool aws = rs->regional || is_aws(rs->endpoint.host);

    if (config->addressing == S3_ADDR_VIRTUAL) {
        if (!dns || uri_host_is_address(rs->endpoint.host)) {
            *ret_why = "virtual-host style needs a bucket name and an endpoint that DNS can carry";
            return -EINVAL;
        }
        rs->virtual_host = true;
    } else if (config->addressing == S3_ADDR_AUTO) {
        /* the bucket "soap" is not served by its name */
        rs->virtual_host = aws && dns && rs->tls && !dotted && strcmp(rs->bucket, "soap");
    }
    return 0;
}

int s3_routes_init(struct s3_routes *rs, const struct s3_config *config, const char **ret_why)
{
    char named[S3_REGION_SIZE] = "";
    const char *region = config->region && *config->region ? config->region : NULL;
    struct s3_route *first;
    int r;

    if (!config->bucket || !*config->bucket || strlen(config->bucket) > 255 ||
        strpbrk(config->bucket, "/?#")) {
        *ret_why = "not a bucket name";
        return -EINVAL;
    }
    if (region && !region_ok(region)) {
        *ret_why = "not a region name";
        return -EINVAL;
    }
    rs->bucket = strdup(config->bucket);
    if (!rs->bucket)
        return -ENOMEM;
    r = uri_endpoint_parse(config->endpoint ?: "https://s3.amazonaws.com", &rs->endpoint, ret_why);
    if (r < 0)
        return r;
    rs->tls = rs->endpoint.tls;
    rs->loopback = uri_host_is_loopback(rs->endpoint.host);
    rs->regional = plain_aws_host(rs->endpoint.host, named);
    r = choose_style(rs, config, ret_why);
    if (r < 0)
        return r;
    r = route_new(rs, region ?: named[0] ? named : REGION_DEFAULT, &first);
    if (r < 0)
        return r;
    rs->all = rs->current = first;
    rs->count = 1;
    return 0;
}

void s3_routes_fini(struct s3_routes *rs)
{
    struct s3_route *r = rs->all, *older;

    for (; r; r = older) {
        older = r->older;
        route_free(r);
    }
    free(rs->bucket);
    rs->all = rs->current = NULL;
    rs->bucket = NULL;
}

const struct s3_route *s3_route_current(struct s3_routes *rs)
{
    return rs->current;
}

/* Two threads may add the same region; one route too many does no harm. */
int s3_route_change(struct s3_routes *rs, const struct s3_route *used, const char *region)
{
    struct s3_route *r;
    int err;

    if (!region_ok(region))
        return -EINVAL;
    if (!strcmp(used->region, region))
        return -EALREADY;
    for (r = rs->all; r; r = r->older) {
        if (!strcmp(r->region, region)) {
            rs->current = r;
            return 0;
        }
    }
    if (rs->count++ >= ROUTES_MAX) {
        rs->count--;
        return -EINVAL;
    }
    err = route_new(rs, region, &r);
    if (err < 0)
        return err;
    r->older = rs->all;
    while (!atomic_compare_exchange_weak(&rs->all, &r->older, r))
        ;
    rs->current = r;
    return 0;
}

int s3_route_path(const struct s3_routes *rs, const char *key, struct str *out)
{
    return uri_path(out, rs->virtual_host ? NULL : rs->bucket, key);
}
