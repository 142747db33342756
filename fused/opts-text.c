/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* --help, and what the environment says: the parts of the command line that are not arguments. */
#include "fused/opts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"

/* The first that is set and not empty counts. */
static int from_env(char **field, const char *const *names, size_t count)
{
    for (size_t i = 0; !*field && i < count; i++) {
        const char *value = getenv(names[i]);
        if (!value || !*value)
            continue;
        *field = strdup(value);
        if (!*field)
            return -ENOMEM;
    }
    return 0;
}

int opts_env(struct opts *o, char **why)
{
    static const char *const endpoint[] = {"HAFIZ_ENDPOINT", "AWS_ENDPOINT_URL_S3",
                                           "AWS_ENDPOINT_URL"};
    static const char *const region[] = {"HAFIZ_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"};
    static const char *const socket[] = {"HAFIZ_SOCKET"};
    int r = from_env(&o->endpoint, endpoint, ARRAY_SIZE(endpoint));
    if (r == 0)
        r = from_env(&o->region, region, ARRAY_SIZE(region));
    if (r == 0)
        r = from_env(&o->socket, socket, ARRAY_SIZE(socket));
    if (r == 0 && o->endpoint && !opts_is_endpoint(o->endpoint)) {
        *why = str_dup_printf("the environment's endpoint is no URL like http://host:9000");
        r = *why ? -EINVAL : -ENOMEM;
    }
    return r;
}

/* Runs for every row; a function so that the table's NULLs are no constant conditions. */
static void print_row(const char *name, bool is_long, const char *arg, const char *help)
{
    char left[64];

    if (!help)
        return;
    int n = snprintf(left, sizeof(left), "  %s%s%s%s", is_long ? "--" : "-o ", name,
                     arg ? (is_long ? " " : "=") : "", arg ? arg : "");
    if (n > 27)
        printf("%s\n%28s%s\n", left, "", help);
    else
        printf("%-27s %s\n", left, help);
}

void opts_print_help(void)
{
    puts("Usage: hafiz-mount SOURCE MOUNTPOINT [options]\n"
         "Shows the bucket SOURCE as the directory MOUNTPOINT.\n"
         "\n"
         "SOURCE is one of\n"
         "  s3://bucket[/prefix]     gs://bucket[/prefix]     file:///directory\n"
         "  bucket[:/prefix]         the name of a volume of the system's s3proxyd\n"
         "\n"
         "Every --option is also a word of -o, without the dashes (-o rw,attr_ttl=5);\n"
         "only keys are not.");
#define LONG true
#define BOTH true
#define WORD false
#define GROUP(title) printf("\n%s\n", title);
#define OPT(name, forms, kind, field, value, arg, help) print_row(name, forms, arg, help);
#include "fused/options.tbl"
    puts("\n"
         "Environment: HAFIZ_ENDPOINT HAFIZ_ACCESS_KEY HAFIZ_SECRET_KEY\n"
         "  HAFIZ_SESSION_TOKEN HAFIZ_REGION HAFIZ_SOCKET, and AWS_* as usual.\n"
         "Unmount with umount or fusermount3 -u. More: man hafiz-mount");
}
