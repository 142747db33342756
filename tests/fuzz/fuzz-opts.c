/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A command line, arguments separated by newlines: parsing it always ends with a result or a line,
 * keys never stay in it, and what is taken for a source has a bucket and a sane prefix. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fused/opts.h"
#include "fused/source.h"
#include "proto/base/must.h"

#define ARGS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_source(const char *text)
{
    struct source s;
    char *why = NULL;

    if (source_parse(text, &s, &why) == 0) {
        size_t len = strlen(s.prefix);
        must(strlen(s.bucket) > 0);
        must(len == 0 || s.prefix[len - 1] == '/');
        must(s.prefix[0] != '/' && !strstr(s.prefix, "//"));
        must((s.kind == SOURCE_FILE) == (s.bucket[0] == '/'));
        must(!why);
    } else {
        must(why);
    }
    source_fini(&s);
    free(why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[ARGS_MAX], *save = NULL, *why = NULL;
    struct opts o;
    int argc = 0;

    if (size > 4096)
        return 0;
    char *text = strndup((const char *)data, size);
    if (!text)
        return 0;
    for (char *w = strtok_r(text, "\n", &save); w && argc < ARGS_MAX;
         w = strtok_r(NULL, "\n", &save))
        argv[argc++] = w;
    int r = opts_parse(argc, argv, &o, &why);
    must((r == 0) == !why);
    if (r == 0 && !o.help && !o.version) {
        must(o.source && o.mountpoint && o.mountpoint[0]);
        must(o.rw <= 1);
        must(!o.access_key || o.secret_key || o.secret_key_file);
        check_source(o.source);
    }
    opts_fini(&o);
    free(why);
    free(text);
    return 0;
}
