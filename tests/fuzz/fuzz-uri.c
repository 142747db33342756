/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Encoding and back is the identity, decoding stays in its bounds, and whatever is taken for an
 * endpoint can be written down and read again. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "s3proxyd/aws/date.h"
#include "s3proxyd/aws/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_coding(const char *s, size_t len, size_t max)
{
    struct str key = STR_NULL, value = STR_NULL;
    char *back = NULL;
    size_t got;

    must(uri_encode_key(&key, s, len) == 0 && uri_encode(&value, s, len) == 0);
    must(!memchr(s, '\0', len) ||
         uri_decode(value.s, value.len, true, len, &back, &got) == -EILSEQ);
    if (len > 0 && !memchr(s, '\0', len)) {
        must(uri_decode(value.s, value.len, true, len, &back, &got) == 0);
        must(got == len && memcmp(back, s, len) == 0);
        free(back);
        must(uri_decode(key.s, key.len, false, len, &back, &got) == 0);
        must(got == len && memcmp(back, s, len) == 0);
        free(back);
        must(uri_decode(value.s, value.len, false, len - 1, &back, &got) == -E2BIG);
    }
    str_fini(&key);
    str_fini(&value);
    for (int plus = 0; plus < 2; plus++)
        if (uri_decode(s, len, plus, max, &back, &got) == 0) {
            must(got <= max && got <= len && strlen(back) == got);
            free(back);
        }
}

static void check_endpoint(const char *url)
{
    struct uri_endpoint e, again;
    const char *why = NULL;
    struct str out = STR_NULL;
    bool dotted;

    uri_bucket_is_dns(url, &dotted);
    uri_host_is_loopback(url);
    if (uri_endpoint_parse(url, &e, &why) < 0) {
        must(why);
        return;
    }
    must(e.port > 0 && e.port <= 65535 && strlen(e.host) > 0);
    must(str_add(&out, e.tls ? "https://" : "http://") == 0);
    must(uri_endpoint_authority(&e, NULL, &out) == 0);
    must(uri_endpoint_parse(out.s, &again, &why) == 0);
    must(strcmp(e.host, again.host) == 0 && e.port == again.port && e.tls == again.tls);
    str_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t ns;

    if (size < 1 || size > 4096)
        return 0;
    char *s = strndup((const char *)data + 1, size - 1);
    if (!s)
        return 0;
    check_coding((const char *)data + 1, size - 1, data[0]);
    check_endpoint(s);
    date_parse_iso(s, &ns);
    date_parse_http(s, &ns);
    free(s);
    return 0;
}
