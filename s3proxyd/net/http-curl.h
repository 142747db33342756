/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Between the files of http: what speaks libcurl's types. */
#pragma once

#include <curl/curl.h>

#include "s3proxyd/net/http.h"

#define HTTP_EXPECT_ABOVE_BYTES (1024ull * 1024) /* smaller ones leave before an answer could come */

/* What became of an exchange that libcurl ended with `code`. Pure. */
enum http_failure http_failure_of(const struct http *x, CURLcode code);
/* More of the request's body has left since it was asked the last time. */
bool http_body_moved(struct http *x);
CURLcode http_setup_method(struct http *x);
int http_setup_headers(struct http *x); /* 0 | -ENOMEM */

/* In a function that has `x` and returns CURLcode: gives up on the first option that fails. */
#define SET(option, value) (r = r ? r : curl_easy_setopt(x->easy, option, value))
