/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Any text is a configuration or an error with a text; what was taken keeps its promises. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "s3proxyd/conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_volume(const struct conf *conf, const struct conf_volume *v)
{
    size_t len = strlen(v->prefix);

    must(conf_volume_find(conf, v->name, strlen(v->name)) == v);
    must(v->bucket[0] && v->cred);
    must(len == 0 || (v->prefix[0] != '/' && v->prefix[len - 1] == '/'));
    must(!v->cred->access_key == !v->cred->secret_key);
    must(conf_volume_allows(v, 0, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *conf = NULL;
    char *error = NULL, *text;

    if (size > 16384 || !(text = malloc(size + 1)))
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (conf_parse("fuzz", text, size, &conf, &error) < 0) {
        must(error && !conf);
    } else {
        must(conf->net_threads > 0 && conf->disk_threads > 0 && conf->cache_size_bytes > 0);
        for (size_t i = 0; i < conf->nvolumes; i++)
            check_volume(conf, &conf->volumes[i]);
        conf_free(conf);
    }
    free(error);
    free(text);
    return 0;
}
