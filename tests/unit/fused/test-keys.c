/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Where keys may come from, and that they are wiped from where they were seen. */
#include "fused/keys.h"

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

#include "proto/base/str.h"

static char home[] = "/tmp/test-keys-XXXXXX";

static int setup(void **state)
{
    static const char *const names[] = {
        "HAFIZ_ACCESS_KEY",      "HAFIZ_SECRET_KEY",  "HAFIZ_SESSION_TOKEN", "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
    return 0;
}

static char *put_file(const char *name, const char *text, mode_t mode)
{
    char *path = str_dup_printf("%s/%s", home, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static int find(const char *words, const char *source_text, struct keys *k, char **why)
{
    char text[512], *argv[16], *save = NULL;
    struct source source;
    struct opts o;
    int argc = 0, r;

    snprintf(text, sizeof(text), "hafiz-mount x /m %s", words);
    for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    assert_int_equal(opts_parse(argc, argv, &o, why), 0);
    assert_int_equal(source_parse(source_text, &source, why), 0);
    r = keys_find(&o, &source, k, why);
    assert_null(o.secret_key); /* taken out of the options */
    source_fini(&source);
    opts_fini(&o);
    return r;
}

static void assert_static(const char *words, const char *key, const char *secret)
{
    struct keys k;
    char *why = NULL;

    if (find(words, "s3://b", &k, &why) < 0)
        fail_msg("%s: %s", words, why);
    assert_int_equal(k.kind, KEYS_STATIC);
    assert_string_equal(k.cred->access_key, key);
    assert_string_equal(secret_bytes(k.cred->secret_key, NULL), secret);
    keys_fini(&k);
}

static void test_arguments_come_first(void **state)
{
    (void)state;
    setenv("HAFIZ_ACCESS_KEY", "envkey", 1);
    setenv("HAFIZ_SECRET_KEY", "envsecret", 1);
    assert_static("--access-key argkey --secret-key argsecret", "argkey", "argsecret");
    assert_null(getenv("HAFIZ_SECRET_KEY")); /* no child inherits it, used or not */
}

static void test_hafiz_before_aws_and_never_mixed(void **state)
{
    struct keys k;
    char *why = NULL;

    (void)state;
    setenv("HAFIZ_ACCESS_KEY", "h", 1);
    setenv("HAFIZ_SECRET_KEY", "hs", 1);
    setenv("AWS_ACCESS_KEY_ID", "a", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "as", 1);
    assert_static("", "h", "hs");
    setenv("AWS_ACCESS_KEY_ID", "a", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "as", 1);
    assert_static("", "a", "as");
    setenv("HAFIZ_ACCESS_KEY", "h", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "as", 1);
    assert_int_equal(find("", "s3://b", &k, &why), -EINVAL);
    assert_non_null(strstr(why, "HAFIZ_SECRET_KEY"));
    assert_null(getenv("AWS_SECRET_ACCESS_KEY"));
    free(why);
    keys_fini(&k);
}

static void test_the_environment_is_wiped_in_place(void **state)
{
    static char block[] = "AWS_SECRET_ACCESS_KEY=sesame";
    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "a", 1);
    putenv(block);
    assert_static("", "a", "sesame");
    assert_null(memmem(block, sizeof(block), "sesame", 6));
}

static void test_a_secret_file(void **state)
{
    char words[256], *path = put_file("secret", "topsecret\n", 0600), *why = NULL;
    struct keys k;

    (void)state;
    snprintf(words, sizeof(words), "--access-key a --secret-key-file %s", path);
    assert_static(words, "a", "topsecret");
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(find(words, "s3://b", &k, &why), -EINVAL);
    assert_non_null(strstr(why, "chmod"));
    free(why);
    keys_fini(&k);
    free(put_file("secret", "\n", 0600));
    assert_int_equal(find(words, "s3://b", &k, &why), -EINVAL);
    free(why);
    keys_fini(&k);
    unlink(path);
    assert_int_equal(find(words, "s3://b", &k, &why), -EINVAL);
    free(why);
    keys_fini(&k);
    free(path);
}

static void test_password_files(void **state)
{
    char words[256], *path = put_file("passwd", "pk:ps\n", 0600), *why = NULL;
    struct keys k;

    (void)state;
    snprintf(words, sizeof(words), "-o passwd_file=%s", path);
    assert_static(words, "pk", "ps");
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(find(words, "s3://b", &k, &why), -EINVAL);
    assert_non_null(strstr(why, path));
    free(why);
    keys_fini(&k);
    unlink(path);
    free(path);
    path = put_file(".passwd-s3fs", "dk:ds\n", 0600); /* only s3fs' command line looks there */
    assert_static("-o use_cache=/tmp", "dk", "ds");
    assert_int_equal(find("", "s3://b", &k, &why), 0);
    assert_int_equal(k.kind, KEYS_NONE);
    keys_fini(&k);
    unlink(path);
    free(path);
}

static void test_profiles_and_anonymous_go_by_name(void **state)
{
    struct keys k;
    char *why = NULL;

    (void)state;
    assert_int_equal(find("--profile work", "s3://b", &k, &why), 0);
    assert_int_equal(k.kind, KEYS_PROFILE);
    assert_string_equal(k.profile, "work");
    assert_true(k.asked);
    keys_fini(&k);
    setenv("AWS_PROFILE", "other", 1);
    assert_int_equal(find("", "s3://b", &k, &why), 0);
    assert_string_equal(k.profile, "other");
    assert_false(k.asked);
    keys_fini(&k);
    assert_int_equal(find("--anonymous", "s3://b", &k, &why), 0);
    assert_int_equal(k.kind, KEYS_ANONYMOUS);
    keys_fini(&k);
    assert_int_equal(find("", "file:///d", &k, &why), 0);
    assert_int_equal(k.kind, KEYS_NONE);
    keys_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_arguments_come_first, setup),
        cmocka_unit_test_setup(test_hafiz_before_aws_and_never_mixed, setup),
        cmocka_unit_test_setup(test_the_environment_is_wiped_in_place, setup),
        cmocka_unit_test_setup(test_a_secret_file, setup),
        cmocka_unit_test_setup(test_password_files, setup),
        cmocka_unit_test_setup(test_profiles_and_anonymous_go_by_name, setup),
    };
    if (!mkdtemp(home) || setenv("HOME", home, 1) < 0)
        return 1;
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(home);
    return r;
}
