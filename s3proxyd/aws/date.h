/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The three spellings of time S3 uses, independent of locale and time zone. ns are since 1970, UTC.
 */
#pragma once

#include <stdint.h>

#define DATE_AMZ_SIZE 17u  /* 20130524T000000Z and NUL */
#define DATE_HTTP_SIZE 30u /* Fri, 24 May 2013 00:00:00 GMT and NUL */

/* 2013-05-24T01:02:03[.fraction](Z|±hh:mm): LastModified in XML. 0 | -EINVAL */
int date_parse_iso(const char *s, int64_t *ret_ns);
/* Fri, 24 May 2013 00:00:00 GMT (and the two obsolete forms of RFC 9110): Date, Last-Modified.
 * 0 | -EINVAL */
int date_parse_http(const char *s, int64_t *ret_ns);
/* Times before 1970 are shown as 1970. */
void date_format_amz(int64_t ns, char out[DATE_AMZ_SIZE]);
void date_format_http(int64_t ns, char out[DATE_HTTP_SIZE]);
