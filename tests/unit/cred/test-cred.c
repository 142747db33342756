/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Snapshots, password files by the rules of s3fs, and profiles. */
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
#include "s3proxyd/cred/cred.h"

static char home[] = "/tmp/hafiz-cred-XXXXXX";

static int setup(void **state)
{
    char path[64];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/.aws", mkdtemp(home));
    return mkdir(path, 0700);
}

static char *in_home(const char *name)
{
    static char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", home, name);
    return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    int fd = open(in_home(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int teardown(void **state)
{
    static const char *const names[] = {"passwd",           "link", ".aws/config",
                                        ".aws/credentials", ".aws", ""};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        (void)remove(in_home(names[i]));
    return 0;
}

static void expect_keys(const struct cred *c, const char *access_key, const char *secret,
                        const char *token)
{
    assert_string_equal(c->access_key, access_key);
    assert_string_equal(secret_bytes(c->secret_key, NULL), secret);
    if (token)
        assert_string_equal(secret_bytes(c->session_token, NULL), token);
    else
        assert_null(c->session_token);
}

static void test_static_keys_are_checked(void **state)
{
    struct cred *c;

    (void)state;
    assert_int_equal(cred_new_static("AK", 2, "SK/+=", 5, "tok", 3, &c), 0);
    expect_keys(c, "AK", "SK/+=", "tok");
    cred_unref(cred_ref(c));
    expect_keys(c, "AK", "SK/+=", "tok");
    cred_unref(c);
    assert_int_equal(cred_new_static("", 0, "s", 1, NULL, 0, &c), -EINVAL);
    assert_int_equal(cred_new_static("a", 1, "", 0, NULL, 0, &c), -EINVAL);
    assert_int_equal(cred_new_static("a\r\nX: y", 7, "s", 1, NULL, 0, &c), -EINVAL);
    assert_int_equal(cred_new_static("a", 1, "s s", 3, NULL, 0, &c), -EINVAL);
    assert_int_equal(cred_new_static("a", 1, "s", 1, "\x01", 1, &c), -EINVAL);
}

static void test_scope_names_the_identity(void **state)
{
    struct cred *a, *same, *b, *none;

    (void)state;
    assert_int_equal(cred_new_static("AKIA1", 5, "x", 1, NULL, 0, &a), 0);
    assert_int_equal(cred_new_static("AKIA1", 5, "rotated", 7, NULL, 0, &same), 0);
    assert_int_equal(cred_new_static("AKIA2", 5, "x", 1, NULL, 0, &b), 0);
    assert_int_equal(cred_new_anonymous(&none), 0);
    assert_true(cred_scope(a) == cred_scope(same));
    assert_true(cred_scope(a) != cred_scope(b));
    assert_true(cred_scope(none) == 0);
    /* It stands in files: another value would orphan them. sha256("hafiz identity 1:AKIA1") */
    assert_true(cred_scope(a) == 0x98c46e95a922ad3fULL);
    cred_unref(a);
    cred_unref(same);
    cred_unref(b);
    cred_unref(none);
}

static int passwd(const char *text, mode_t mode, const char *bucket, struct cred **ret)
{
    const char *why = NULL;
    int r;

    write_file("passwd", text, mode);
    r = cred_new_passwd_file(in_home("passwd"), bucket, ret, &why);
    assert_true((r == 0) == (why == NULL));
    return r;
}

static void test_passwd_file_forms(void **state)
{
    struct cred *c;

    (void)state;
    assert_int_equal(passwd("AK:SK\n", 0600, "b", &c), 0);
    expect_keys(c, "AK", "SK", NULL);
    cred_unref(c);
    assert_int_equal(passwd("# comment\n\n  other:AO:SO  \r\nb:AB:SB\nAD:SD", 0400, "b", &c), 0);
    expect_keys(c, "AB", "SB", NULL);
    cred_unref(c);
    assert_int_equal(passwd("b:AB:SB\nAD:SD", 0600, "c", &c), 0);
    expect_keys(c, "AD", "SD", NULL);
    cred_unref(c);
    assert_int_equal(passwd("AD:SD\nb:AB:SB\n", 0600, NULL, &c), 0);
    expect_keys(c, "AD", "SD", NULL);
    cred_unref(c);
    assert_int_equal(passwd("b:AB:SB\n", 0600, "c", &c), -ENOENT);
    assert_int_equal(passwd("", 0600, "c", &c), -ENOENT);
}

static void test_passwd_file_mistakes(void **state)
{
    static const char *const bad[] = {"AK SK:x\n",  "nocolon\n",   ":SK\n",
                                      "AK:\n",      "[section]\n", "b:A:S\nb:A2:S2\n",
                                      "A:S\nB:T\n", ":A:S\n",      "A:S\nb:A:S\nrest"};
    struct cred *c;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(passwd(bad[i], 0600, "b", &c), -EINVAL);
}

static void test_passwd_file_modes(void **state)
{
    static const mode_t open[] = {0604, 0602, 0601, 0640, 0620, 0610, 0700, 0500, 0666};
    struct cred *c;
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(open); i++)
        assert_int_equal(passwd("A:S\n", open[i], NULL, &c), -EACCES);
    assert_int_equal(passwd("A:S\n", 0600, NULL, &c), 0);
    cred_unref(c);
    assert_int_equal(symlink("passwd", in_home("link")), 0);
    assert_int_equal(cred_new_passwd_file(in_home("link"), NULL, &c, &why), -EACCES);
    assert_int_equal(cred_new_passwd_file(in_home("absent"), NULL, &c, &why), -ENOENT);
    assert_int_equal(cred_new_passwd_file(home, NULL, &c, &why), -EINVAL);
    if (geteuid() == 0) {
        write_file("passwd", "A:S\n", 0600);
        assert_int_equal(chown(in_home("passwd"), 12345, 12345), 0);
        assert_int_equal(cred_new_passwd_file(in_home("passwd"), NULL, &c, &why), -EACCES);
    }
}

static int profile(const char *name, struct cred **ret, char **region, char **endpoint)
{
    const char *why = NULL;
    int r = cred_new_profile(home, name, ret, region, endpoint, &why);

    assert_true((r == 0) == (why == NULL));
    return r;
}

static void test_profiles(void **state)
{
    char token[3001], *region = NULL, *endpoint = NULL;
    struct str text = STR_NULL;
    struct cred *c;

    (void)state;
    memset(token, 't', sizeof(token) - 1);
    token[sizeof(token) - 1] = '\0';
    assert_int_equal(str_addf(&text,
                              "\xef\xbb\xbf[default]\naws_access_key_id=AD\n"
                              "aws_secret_access_key = SD # a comment\n"
                              "[work]\naws_access_key_id = AW\naws_secret_access_key = SW\n"
                              "aws_session_token = %s\n[half]\naws_access_key_id = AH\n",
                              token),
                     0);
    write_file(".aws/credentials", text.s, 0600);
    str_fini(&text);
    write_file(".aws/config",
               "[default]\nregion = eu-west-1\n[profile work]\nregion=us-east-2\n"
               "endpoint_url = http://127.0.0.1:9\ns3 =\n  region = nested\n"
               "[profile \"with blank\"]\naws_access_key_id=AB\naws_secret_access_key=SB\n"
               "[profile role]\nrole_arn = arn:x\nsource_profile = work\n"
               "[profile process]\ncredential_process = /bin/x\n[work]\nregion = wrong\n"
               "[profile sso]\nsso_session = s\n[profile bare]\nregion = x\n",
               0644);
    assert_int_equal(profile("default", &c, &region, &endpoint), 0);
    expect_keys(c, "AD", "SD", NULL);
    assert_string_equal(region, "eu-west-1");
    assert_null(endpoint);
    cred_unref(c);
    free(region);
    assert_int_equal(profile("work", &c, &region, &endpoint), 0);
    expect_keys(c, "AW", "SW", token);
    assert_string_equal(region, "us-east-2");
    assert_string_equal(endpoint, "http://127.0.0.1:9");
    cred_unref(c);
    free(region);
    free(endpoint);
    assert_int_equal(profile("with blank", &c, NULL, NULL), 0);
    expect_keys(c, "AB", "SB", NULL);
    cred_unref(c);
    assert_int_equal(profile("role", &c, NULL, NULL), -EOPNOTSUPP);
    assert_int_equal(profile("process", &c, NULL, NULL), -EOPNOTSUPP);
    assert_int_equal(profile("sso", &c, NULL, NULL), -EOPNOTSUPP);
    assert_int_equal(profile("half", &c, NULL, NULL), -EINVAL);
    assert_int_equal(profile("bare", &c, NULL, NULL), -EINVAL);
    assert_int_equal(profile("absent", &c, NULL, NULL), -ENOENT);
}

static void test_profile_files_that_are_broken_or_missing(void **state)
{
    const char *why = NULL;
    struct cred *c;

    (void)state;
    assert_int_equal(cred_new_profile("/no/such/home", "x", &c, NULL, NULL, &why), -ENOENT);
    assert_int_equal(cred_new_profile(NULL, "x", &c, NULL, NULL, &why), -ENOENT);
    write_file(".aws/credentials", "[x\nkey", 0600);
    assert_int_equal(profile("x", &c, NULL, NULL), -EINVAL);
    write_file(".aws/credentials", "[x]\nno equals sign\n", 0600);
    assert_int_equal(profile("x", &c, NULL, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_static_keys_are_checked),
        cmocka_unit_test(test_scope_names_the_identity),
        cmocka_unit_test(test_passwd_file_forms),
        cmocka_unit_test(test_passwd_file_mistakes),
        cmocka_unit_test(test_passwd_file_modes),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_profile_files_that_are_broken_or_missing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
