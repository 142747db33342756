/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The configuration: what it says arrives, and every mistake is told with its line. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "proto/base/str.h"
#include "s3proxyd/conf/conf.h"

/* As S3_ADDR_* of a layer above. */
enum { ADDR_AUTO, ADDR_PATH, ADDR_VIRTUAL };

static int parse(const char *text, struct conf **ret, char **ret_error)
{
    char *copy = strdup(text);
    int r = conf_parse("F", copy, strlen(copy), ret, ret_error);

    free(copy);
    return r;
}

static struct conf *parse_ok(const char *text)
{
    struct conf *conf = NULL;
    char *error = NULL;

    if (parse(text, &conf, &error) < 0)
        fail_msg("%s", error);
    return conf;
}

static void expect_error(const char *text, const char *error)
{
    struct conf *conf;
    char *got = NULL;

    assert_int_equal(parse(text, &conf, &got), -EINVAL);
    assert_string_equal(got, error);
    free(got);
}

static void test_defaults(void **state)
{
    struct conf *conf;
    char *error;

    (void)state;
    assert_int_equal(conf_load(NULL, &conf, &error), 0);
    assert_null(conf->socket_path);
    assert_null(conf->cache_dir);
    assert_int_equal(conf->cache_size_bytes, 10ull << 30);
    assert_int_equal(conf->min_free_bytes, 1ull << 30);
    assert_int_equal(conf->spool_size_bytes, 50ull << 30);
    assert_int_equal(conf->net_threads, 2);
    assert_int_equal(conf->disk_threads, 4);
    assert_int_equal(conf->connections_per_host, 32);
    assert_int_equal(conf->attr_ttl_ms, 30000);
    assert_int_equal(conf->idle_exit_s, 0);
    assert_int_equal(conf->nvolumes, 0);
    conf_free(conf);
}

static void test_daemon_options(void **state)
{
    struct conf *conf = parse_ok("; comment\n[s3proxyd]\nsocket = /run/x.sock # here\n"
                                 "cache_size=64M\nidle_exit = 90\nattr_ttl = 5\r\n"
                                 "proxy = http://p:3128\nnet_threads=3\n");

    (void)state;
    assert_string_equal(conf->socket_path, "/run/x.sock");
    assert_int_equal(conf->cache_size_bytes, 64 << 20);
    assert_int_equal(conf->idle_exit_s, 90);
    assert_int_equal(conf->attr_ttl_ms, 5000);
    assert_string_equal(conf->proxy, "http://p:3128");
    assert_int_equal(conf->net_threads, 3);
    conf_free(conf);
}

static void test_volumes(void **state)
{
    struct conf *conf = parse_ok("[data]\nbucket = b1\nprefix = /team/x\nregion = eu-west-1\n"
                                 "endpoint = http://127.0.0.1:9000\naccess_key = AK\n"
                                 "secret_key = S/K+=\naddressing = path\nmode = rw\n"
                                 "insecure_http = yes\nusers = root, 12345\ngroups=root\n"
                                 "[local]\nbucket = file:///srv/data\nusers = *\n"
                                 "[open-1.x_y]\nbucket = public\nanonymous = yes\n");
    const struct conf_volume *v = conf_volume_find(conf, "data", 4);

    (void)state;
    assert_int_equal(conf->nvolumes, 3);
    assert_non_null(v);
    assert_string_equal(v->bucket, "b1");
    assert_string_equal(v->prefix, "team/x/");
    assert_string_equal(v->region, "eu-west-1");
    assert_string_equal(v->cred->access_key, "AK");
    assert_string_equal(secret_bytes(v->cred->secret_key, NULL), "S/K+=");
    assert_int_equal(v->addressing, ADDR_PATH);
    assert_true(v->rw && v->insecure_http);
    assert_int_equal(v->nusers, 2);
    assert_int_equal(v->users[1], 12345);
    assert_int_equal(v->ngroups, 1);
    v = conf_volume_find(conf, "localx", 5);
    assert_non_null(v);
    assert_true(v->any_user);
    assert_false(v->rw);
    assert_string_equal(v->prefix, "");
    assert_int_equal(v->addressing, ADDR_AUTO);
    assert_null(v->cred->access_key);
    assert_non_null(conf_volume_find(conf, "open-1.x_y", 10));
    assert_null(conf_volume_find(conf, "dat", 3));
    conf_free(conf);
    conf = parse_ok("[v]\nbucket=b\nanonymous=yes\naddressing=virtual\n");
    assert_int_equal(conf->volumes[0].addressing, ADDR_VIRTUAL);
    conf_free(conf);
}

#define KEYS "access_key = A\nsecret_key = S\n"

static void test_mistakes_are_told_with_their_line(void **state)
{
    (void)state;
    expect_error("x = 1\n", "F:1: option `x` stands before any section");
    expect_error("\n[s3proxyd]\ncash = 1\n", "F:3: unknown option `cash` in [s3proxyd]");
    expect_error("[s3proxyd]\nbucket = b\n", "F:2: unknown option `bucket` in [s3proxyd]");
    expect_error("[s3proxyd]\nnonsense\n", "F:2: neither `name = value` nor [section]");
    expect_error("[s3proxyd\n", "F:1: section without a closing bracket");
    expect_error("[]\n", "F:1: section without a name");
    expect_error("[s3proxyd]\ncache_size = many\n",
                 "F:2: cache_size: many is not a size like 512M or 10G");
    expect_error("[s3proxyd]\nnet_threads = 0\n", "F:2: net_threads: 0 is not between 1 and 64");
    expect_error("[s3proxyd]\nnet_threads = 2\nnet_threads = 2\n",
                 "F:3: option `net_threads` was given in line 2 already");
    expect_error("[s3proxyd]\n[s3proxyd]\n", "F:2: section [s3proxyd] is there twice");
    expect_error("[s3proxyd]\ncache_dir = relative\n", "F:2: cache_dir: must be an absolute path");
    expect_error("[a b]\n", "F:1: volume name `a b`: only letters, digits, `-`, `_` and `.` are "
                            "allowed");
    expect_error("[v]\nbucket=b\nanonymous=yes\n[v]\n", "F:4: volume [v] is there twice");
    expect_error("[v]\nbucket=b\n" KEYS "mode = maybe\n", "F:5: mode: maybe is none of: ro rw");
    expect_error("[v]\nbucket=b\n" KEYS "users = no-such-user-here\n",
                 "F:5: users: no user is called no-such-user-here");
    expect_error("[v]\nbucket=b\n" KEYS "users = root,,x\n",
                 "F:5: users: an empty name between commas");
    expect_error("[v]\nbucket=b\n" KEYS "users = 4294967295\n", "F:5: users: an id is too large");
}

static void test_contradictions(void **state)
{
    (void)state;
    expect_error("\n[v]\n", "F:2: the volume has no bucket");
    expect_error("[v]\nbucket=b\n",
                 "F:1: the volume has no credentials: give access_key and secret_key, key_file, "
                 "profile or anonymous = yes");
    expect_error("[v]\nbucket=b\naccess_key=A\n", "F:3: there is no secret_key with it");
    expect_error("[v]\nbucket=b\nsecret_key=S\n[w]\n", "F:3: there is no access_key with it");
    expect_error("[v]\nbucket=b\n" KEYS "anonymous=yes\n",
                 "F:5: more than one of access_key, key_file, profile and anonymous is given");
    expect_error("[v]\nbucket=b\nkey_file=/f\nprofile=p\n",
                 "F:4: more than one of access_key, key_file, profile and anonymous is given");
    expect_error("[v]\nbucket=file:///d\n" KEYS,
                 "F:3: a file:// bucket needs no server and no keys");
    expect_error("[v]\nbucket=file://d\n", "F:2: write file:///directory, with three slashes");
    expect_error("[v]\nbucket=s3://b\n", "F:2: write the bucket's name only, or file:///directory");
    expect_error("[v]\nbucket=a/b\n", "F:2: this is not the name of a bucket");
    expect_error("[v]\nbucket=b\nprefix=a//b\n" KEYS,
                 "F:3: the prefix has an empty, `.` or `..` component");
    expect_error("[v]\nbucket=b\nprefix=a/..\n" KEYS,
                 "F:3: the prefix has an empty, `.` or `..` component");
    expect_error("[v]\nbucket=b\nendpoint=127.0.0.1\n" KEYS,
                 "F:3: must begin with https:// or http://");
    expect_error("[v]\nbucket=b\ninsecure_http=yes\n" KEYS,
                 "F:3: insecure_http needs an http:// endpoint");
    expect_error("[v]\nbucket=b\nkey_file=/no/such/file\n",
                 "F:3: the password file does not exist");
}

static void test_no_error_shows_a_secret(void **state)
{
    struct conf *conf;
    char *error, *text = str_dup_printf("[v]\nbucket=b\nsecret_key=%0*d\n", 2000, 7);

    (void)state;
    assert_int_equal(parse(text, &conf, &error), -EINVAL);
    assert_string_equal(error, "F:3: secret_key: too long");
    free(error);
    free(text);
    expect_error("[v]\nbucket=b\nsecret_key=top secret\naccess_key=A\n",
                 "F:4: a key holds blanks or control characters");
}

static char path[64];

static void write_file(const char *text, mode_t mode)
{
    int fd;

    (void)snprintf(path, sizeof(path), "/tmp/hafiz-conf-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void load_refused(int r, const char *what)
{
    struct conf *conf;
    char *error = NULL, *expected = str_dup_printf("%s%s", path, what);

    assert_int_equal(conf_load(path, &conf, &error), r);
    assert_string_equal(error, expected);
    free(error);
    free(expected);
}

static void test_files_with_secrets_are_private(void **state)
{
    struct conf *conf;
    char *error;

    (void)state;
    write_file("[v]\nbucket=b\n" KEYS, 0604);
    load_refused(-EINVAL, ":4: a secret stands here and the file is open to everybody (chmod o=)");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(conf_load(path, &conf, &error), 0);
    conf_free(conf);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, 0), 0);
        load_refused(-EINVAL, ": the file belongs to another user");
    }
    assert_int_equal(unlink(path), 0);
    load_refused(-ENOENT, ": No such file or directory");
    write_file("[s3proxyd]\n", 0644);
    assert_int_equal(conf_load(path, &conf, &error), 0);
    conf_free(conf);
    assert_int_equal(chmod(path, 0646), 0);
    load_refused(-EINVAL, ": the file may be changed by everybody (chmod o-w)");
    assert_int_equal(unlink(path), 0);
}

static void test_key_files(void **state)
{
    struct conf *conf;
    char *text;

    (void)state;
    write_file("b:AB:SB\nAD:SD\n", 0600);
    text = str_dup_printf("[v]\nbucket=b\nkey_file=%s\n", path);
    conf = parse_ok(text);
    assert_string_equal(conf->volumes[0].cred->access_key, "AB");
    conf_free(conf);
    free(text);
    assert_int_equal(unlink(path), 0);
}

static void test_who_may_mount(void **state)
{
    struct conf *conf = parse_ok("[nobody]\nbucket=file:///d\n[some]\nbucket=file:///d\n"
                                 "users=1234\ngroups=4321\n[all]\nbucket=file:///d\nusers=*\n");
    const struct conf_volume *nobody = &conf->volumes[0], *some = &conf->volumes[1];

    (void)state;
    assert_true(conf_volume_allows(nobody, 0, 0));
    assert_true(conf_volume_allows(nobody, geteuid(), 9));
    assert_false(conf_volume_allows(nobody, 1234, 4321));
    assert_true(conf_volume_allows(some, 1234, 1));
    assert_true(conf_volume_allows(some, 5555, 4321));
    assert_false(conf_volume_allows(some, 5555, 1));
    assert_true(conf_volume_allows(&conf->volumes[2], 5555, 1));
    conf_free(conf);
}

static void test_long_lines_are_whole(void **state)
{
    char *text = str_dup_printf("[v]\nbucket = file:///%0*d\n", 3000, 1);
    struct conf *conf = parse_ok(text);

    (void)state;
    assert_int_equal(strlen(conf->volumes[0].bucket), 3008);
    conf_free(conf);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_daemon_options),
        cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_mistakes_are_told_with_their_line),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_no_error_shows_a_secret),
        cmocka_unit_test(test_files_with_secrets_are_private),
        cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_who_may_mount),
        cmocka_unit_test(test_long_lines_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
