/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* libcurl's codes in our words: the one place that knows what each of them means for a retry. */
#include "s3proxyd/net/http-curl.h"

enum http_failure http_failure_of(const struct http *x, CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return x->status ? HTTP_FAIL_NONE : HTTP_FAIL_REPLY;
    case CURLE_OUT_OF_MEMORY:
        return HTTP_FAIL_MEMORY;
    case CURLE_COULDNT_RESOLVE_HOST:
        return HTTP_FAIL_RESOLVE;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
        return HTTP_FAIL_PROXY;
    case CURLE_SSL_CONNECT_ERROR:
        return HTTP_FAIL_TLS;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return HTTP_FAIL_CERT;
    case CURLE_WRITE_ERROR:
        return x->error ? HTTP_FAIL_SINK : HTTP_FAIL_REPLY;
    case CURLE_ABORTED_BY_CALLBACK:
        return HTTP_FAIL_SOURCE;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* no status line at all */
        return HTTP_FAIL_REPLY;
    case CURLE_PARTIAL_FILE:
        return HTTP_FAIL_SHORT;
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
        return HTTP_FAIL_SEND;
    default:
        return x->sent ? HTTP_FAIL_RECEIVE : HTTP_FAIL_CONNECT;
    }
}
