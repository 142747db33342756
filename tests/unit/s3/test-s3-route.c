/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Where requests go: addressing style and host for endpoints, buckets and regions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>

#include <errno.h>

#include "s3proxyd/s3/s3-route.h"

static const struct row {
    const char *endpoint, *bucket, *region;
    int addressing;
    const char *origin, *path, *signed_region; /* origin NULL: refused */
} rows[] = {
    {NULL, "my-bucket", NULL, S3_ADDR_AUTO, "https://my-bucket.s3.us-east-1.amazonaws.com", "/k",
     "us-east-1"},
    {NULL, "my-bucket", "eu-west-3", S3_ADDR_AUTO, "https://my-bucket.s3.eu-west-3.amazonaws.com",
     "/k", "eu-west-3"},
    {NULL, "my.bucket", "eu-west-3", S3_ADDR_AUTO, "https://s3.eu-west-3.amazonaws.com",
     "/my.bucket/k", "eu-west-3"},
    {NULL, "My_Bucket", NULL, S3_ADDR_AUTO, "https://s3.us-east-1.amazonaws.com", "/My_Bucket/k",
     "us-east-1"},
    {NULL, "soap", NULL, S3_ADDR_AUTO, "https://s3.us-east-1.amazonaws.com", "/soap/k",
     "us-east-1"},
    {NULL, "my-bucket", "cn-north-1", S3_ADDR_PATH, "https://s3.cn-north-1.amazonaws.com.cn",
     "/my-bucket/k", "cn-north-1"},
    {"https://s3.eu-north-1.amazonaws.com", "my-bucket", NULL, S3_ADDR_AUTO,
     "https://my-bucket.s3.eu-north-1.amazonaws.com", "/k", "eu-north-1"},
    {"https://s3.dualstack.eu-north-1.amazonaws.com", "my-bucket", "eu-north-1", S3_ADDR_AUTO,
     "https://my-bucket.s3.dualstack.eu-north-1.amazonaws.com", "/k", "eu-north-1"},
    {"http://127.0.0.1:9000", "my-bucket", NULL, S3_ADDR_AUTO, "http://127.0.0.1:9000",
     "/my-bucket/k", "us-east-1"},
    {"https://minio.example:443/", "my-bucket", "x", S3_ADDR_AUTO, "https://minio.example",
     "/my-bucket/k", "x"},
    {"https://minio.example:8443", "my-bucket", NULL, S3_ADDR_VIRTUAL,
     "https://my-bucket.minio.example:8443", "/k", "us-east-1"},
    {"http://127.0.0.1:9000", "my-bucket", NULL, S3_ADDR_VIRTUAL, NULL, NULL, NULL},
    {NULL, "My_Bucket", NULL, S3_ADDR_VIRTUAL, NULL, NULL, NULL},
    {NULL, "a/b", NULL, S3_ADDR_AUTO, NULL, NULL, NULL},
    {NULL, "", NULL, S3_ADDR_AUTO, NULL, NULL, NULL},
    {NULL, "my-bucket", "eu/../x", S3_ADDR_AUTO, NULL, NULL, NULL},
    {"ftp://x", "my-bucket", NULL, S3_ADDR_AUTO, NULL, NULL, NULL},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct s3_config config = {
            .endpoint = row->endpoint, .bucket = row->bucket, .region = row->region};
        struct s3_routes rs = {0};
        struct str path = STR_NULL;
        const char *why = NULL;

        config.addressing = (unsigned)row->addressing;
        if (!row->origin) {
            assert_int_equal(s3_routes_init(&rs, &config, &why), -EINVAL);
            assert_non_null(why);
        } else {
            assert_int_equal(s3_routes_init(&rs, &config, &why), 0);
            assert_string_equal(s3_route_current(&rs)->origin, row->origin);
            assert_string_equal(s3_route_current(&rs)->region, row->signed_region);
            assert_int_equal(s3_route_path(&rs, "k", &path), 0);
            assert_string_equal(path.s, row->path);
        }
        str_fini(&path);
        s3_routes_fini(&rs);
    }
}

static void test_region_changes_host(void **state)
{
    struct s3_config config = {.bucket = "my-bucket"};
    const struct s3_route *first, *second;
    struct s3_routes rs = {0};
    const char *why;
    char name[] = "r-a";

    (void)state;
    assert_int_equal(s3_routes_init(&rs, &config, &why), 0);
    first = s3_route_current(&rs);
    assert_int_equal(s3_route_change(&rs, first, "us-east-1"), -EALREADY);
    assert_int_equal(s3_route_change(&rs, first, "evil.example/"), -EINVAL);
    assert_int_equal(s3_route_change(&rs, first, "eu-west-1"), 0);
    second = s3_route_current(&rs);
    assert_string_equal(second->host, "my-bucket.s3.eu-west-1.amazonaws.com");
    assert_int_equal(s3_route_change(&rs, second, "us-east-1"), 0);
    assert_ptr_equal(s3_route_current(&rs), first); /* found again, not made anew */
    for (int i = 0; i < 14; i++) {
        name[2] = (char)('a' + i);
        assert_int_equal(s3_route_change(&rs, first, name), 0);
    }
    assert_int_equal(s3_route_change(&rs, first, "one-more"), -EINVAL);
    s3_routes_fini(&rs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_region_changes_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
