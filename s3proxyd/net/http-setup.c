/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What an exchange asks, told to libcurl: method, length and exactly the headers that were signed. */
#include "s3proxyd/net/http-curl.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "proto/base/cleanup.h"

CURLcode http_setup_method(struct http *x)
{
    CURLcode r = CURLE_OK;

    if (x->method == HTTP_HEAD) {
        SET(CURLOPT_NOBODY, 1l);
    } else if (x->method == HTTP_PUT) {
        SET(CURLOPT_UPLOAD, 1l);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->body.length);
    } else if (x->method == HTTP_POST) {
        SET(CURLOPT_POST, 1l);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.length);
    } else if (x->method == HTTP_DELETE) {
        SET(CURLOPT_CUSTOMREQUEST, "DELETE");
    }
    return r;
}

int http_setup_headers(struct http *x)
{
    bool asks = x->body.length > HTTP_EXPECT_ABOVE_BYTES;
    const char *expect = asks ? "Expect: 100-continue" : "Expect:";
    struct curl_slist *list = curl_slist_append(NULL, expect), *more = list;
    bool typed = x->method != HTTP_POST; /* libcurl would call a POST a web form */

    for (size_t i = 0; more && i < x->nheaders; i++) {
        typed = typed || !strncasecmp(x->headers[i], "Content-Type:", 13);
        more = curl_slist_append(list, x->headers[i]);
    }
    if (more && !typed)
        more = curl_slist_append(list, "Content-Type:");
    x->header_list = list;
    return more && !curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, list) ? 0 : -ENOMEM;
}
