/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Setting a scene, and looking at what the server saw. */
#include "tests/unit/s3/scene.h"

#include <stdlib.h>

void scene_open(struct scene *s, const struct fake_step *steps, size_t nsteps, unsigned deadline_ms,
                unsigned stall_ms)
{
    char endpoint[64];
    struct s3_bench_config config = {
        .net = {.threads = 1, .stall_timeout_ms = stall_ms ? stall_ms : 5000},
        .s3 = {.endpoint = endpoint,
               .bucket = "bkt",
               .region = "here-1",
               .retry_deadline_ms = deadline_ms ? deadline_ms : 5000},
        .access_key = "AK",
        .secret_key = "SK",
    };

    s->server = fake_http_start(steps, nsteps);
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", fake_http_port(s->server));
    assert_int_equal(s3_bench_init(&s->bench, &config), 0);
}

void scene_close(struct scene *s, size_t requests)
{
    s3_bench_fini(&s->bench);
    if (requests != SCENE_ANY)
        assert_int_equal(fake_http_count(s->server), requests);
    fake_http_stop(s->server);
}

void scene_saw(struct scene *s, size_t n, const char *line)
{
    const char *head = fake_http_head(s->server, n);

    if (strncmp(head, line, strlen(line)))
        fail_msg("request %zu is not %s but %s", n, line, head);
}

void scene_had(struct scene *s, size_t n, const char *text)
{
    const char *head = fake_http_head(s->server, n);

    if (!strcasestr(head, text))
        fail_msg("request %zu has no \"%s\" in %s", n, text, head);
}

void scene_had_not(struct scene *s, size_t n, const char *text)
{
    const char *head = fake_http_head(s->server, n);

    if (strcasestr(head, text))
        fail_msg("request %zu has \"%s\" in %s", n, text, head);
}

struct store_req scene_put(const char *key)
{
    return (struct store_req){
        .op = STORE_PUT,
        .key = key,
        .if_none_match = true,
        .length = strlen(HELLO),
        .body = {.fd = -1, .memory = HELLO},
    };
}
