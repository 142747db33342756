/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Signs what standard input describes, for the comparison with botocore
 * (tests/rpc/test_sigv4_botocore.py). One word, a tab, its value; values are hex where marked:
 *   endpoint URL | label L | bucket B(hex) | key K(hex) | query NAME(hex) tab VALUE(hex)
 *   header NAME tab VALUE(hex) | method M | payload HASH | time SECONDS | region R
 *   access A | secret S(hex) | token T(hex)
 *   sign    answers "TARGET tab HOST tab DATE tab AUTHORIZATION", or "error N"; then all starts
 * anew */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/must.h"
#include "proto/base/str.h"
#include "s3proxyd/aws/sigv4.h"
#include "s3proxyd/aws/uri.h"

struct job {
    char *endpoint, *label, *bucket, *key, *method, *payload, *time, *region, *access, *secret,
        *token;
    struct uri_query query;
    struct sigv4_header headers[64];
    size_t nheaders;
};

static char *unhex(const char *s)
{
    size_t len = strlen(s) / 2;
    char *out = calloc(1, len + 1);

    must(out);
    for (size_t i = 0; i < len; i++) {
        unsigned v;
        must(sscanf(s + 2 * i, "%2x", &v) == 1);
        out[i] = (char)v;
    }
    return out;
}

static void job_clear(struct job *j)
{
    char **texts[] = {&j->endpoint, &j->label,  &j->bucket, &j->key,    &j->method, &j->payload,
                      &j->time,     &j->region, &j->access, &j->secret, &j->token};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(*texts[i]);
    for (size_t i = 0; i < j->nheaders; i++) {
        free((char *)j->headers[i].name);
        free((char *)j->headers[i].value);
    }
    uri_query_fini(&j->query);
    memset(j, 0, sizeof(*j));
}

static int job_sign(struct job *j)
{
    struct sigv4_result result = SIGV4_RESULT_NULL;
    struct str host = STR_NULL, path = STR_NULL, query = STR_NULL;
    struct uri_endpoint endpoint;
    const char *why;
    int r;

    if ((r = uri_endpoint_parse(j->endpoint, &endpoint, &why)) < 0 ||
        (r = uri_endpoint_authority(&endpoint, j->label, &host)) < 0 ||
        (r = uri_path(&path, j->bucket, j->key)) < 0 ||
        (r = uri_query_build(&j->query, &query)) < 0)
        return r;
    struct sigv4_request req = {
        .method = j->method,
        .host = host.s,
        .path = path.s,
        .query = query.s,
        .headers = j->headers,
        .nheaders = j->nheaders,
        .payload_hash = j->payload,
        .time_ns = (int64_t)strtoll(j->time, NULL, 10) * 1000000000,
        .region = j->region,
        .access_key = j->access,
        .secret = j->secret,
        .secret_len = strlen(j->secret),
        .session_token = j->token,
    };
    r = sigv4_sign(&req, false, &result);
    if (r == 0)
        printf("%s%s%s\t%s\t%s\t%s\n", path.s, query.s ? "?" : "", query.s ? query.s : "", host.s,
               result.amz_date, result.authorization);
    sigv4_result_fini(&result);
    str_fini(&host);
    str_fini(&path);
    str_fini(&query);
    return r;
}

static void job_line(struct job *j, char *line)
{
    char *word = strsep(&line, "\t"), *value = strsep(&line, "\t"), *second = line;
    const struct {
        const char *word;
        char **field;
        bool hex;
    } fields[] = {
        {"endpoint", &j->endpoint, false}, {"label", &j->label, false},
        {"bucket", &j->bucket, true},      {"key", &j->key, true},
        {"method", &j->method, false},     {"payload", &j->payload, false},
        {"time", &j->time, false},         {"region", &j->region, false},
        {"access", &j->access, false},     {"secret", &j->secret, true},
        {"token", &j->token, true},
    };

    must(value);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (strcmp(word, fields[i].word) == 0) {
            must(!*fields[i].field);
            *fields[i].field = fields[i].hex ? unhex(value) : strdup(value);
            return;
        }
    must(second);
    if (strcmp(word, "header") == 0) {
        must(j->nheaders < ARRAY_SIZE(j->headers));
        j->headers[j->nheaders++] = (struct sigv4_header){strdup(value), unhex(second)};
        return;
    }
    must(strcmp(word, "query") == 0);
    char *name = unhex(value), *text = unhex(second);
    must(uri_query_add(&j->query, name, text) == 0);
    free(name);
    free(text);
}

int main(void)
{
    struct job job = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    while ((len = getline(&line, &cap, stdin)) > 0) {
        if (line[len - 1] == '\n')
            line[len - 1] = '\0';
        if (strcmp(line, "sign") != 0) {
            job_line(&job, line);
            continue;
        }
        int r = job_sign(&job);
        if (r < 0)
            printf("error %d\n", -r);
        fflush(stdout);
        job_clear(&job);
    }
    job_clear(&job);
    free(line);
    return 0;
}
