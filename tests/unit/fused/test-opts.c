/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Command lines: our own, mount(8)'s, s3fs' and rusty-s3fs'; and what is refused in them. */
#include "fused/opts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 24

/* argv in writable memory, from words separated by blanks ("" is written as @). */
struct line {
    char text[1024];
    char *argv[ARGS_MAX];
    int argc;
    struct opts o;
    char *why;
    int result;
};

static struct line parse(const char *words)
{
    static struct line l;
    char *save = NULL;

    memset(&l, 0, sizeof(l));
    snprintf(l.text, sizeof(l.text), "%s", words);
    for (char *w = strtok_r(l.text, " ", &save); w && l.argc < ARGS_MAX - 1;
         w = strtok_r(NULL, " ", &save)) {
        if (strcmp(w, "@") == 0)
            *w = '\0';
        l.argv[l.argc++] = w;
    }
    l.result = opts_parse(l.argc, l.argv, &l.o, &l.why);
    return l;
}

static void done(struct line *l)
{
    opts_fini(&l->o);
    free(l->why);
}

static void assert_secret(const struct secret *s, const char *expected)
{
    assert_non_null(s);
    assert_string_equal(secret_bytes(s, NULL), expected);
}

static void test_own_options(void **state)
{
    (void)state;
    struct line l = parse("hafiz-mount s3://b/p /mnt --rw --endpoint http://h:9000 --access-key AK "
                          "--secret-key=SK --attr-ttl 5 --umask 027 -f");
    assert_int_equal(l.result, 0);
    assert_string_equal(l.o.source, "s3://b/p");
    assert_string_equal(l.o.mountpoint, "/mnt");
    assert_string_equal(l.o.endpoint, "http://h:9000");
    assert_int_equal(l.o.rw, 1);
    assert_int_equal(l.o.attr_ttl_s, 5);
    assert_int_equal(l.o.umask, 027);
    assert_int_equal(l.o.foreground, 1);
    assert_int_equal(l.o.file_mode, OPTS_UNSET);
    assert_secret(l.o.access_key, "AK");
    assert_secret(l.o.secret_key, "SK");
    done(&l);
}

static bool memory_has(const char *text, size_t size, const char *needle)
{
    return memmem(text, size, needle, strlen(needle)) != NULL;
}

static void test_keys_are_wiped_from_argv(void **state)
{
    static const char *const lines[] = {
        "hafiz-mount b /mnt --access-key HIDDEN --secret-key=HIDDEN --session-token HIDDEN",
        "hafiz-mount b /mnt --nonsense --access-key HIDDEN --secret-key HIDDEN", /* after a mistake
                                                                                  */
        "hafiz-mount b /mnt -o rw,secret_key=HIDDEN",
        "hafiz-mount b /mnt -osecretAccessKey=HIDDEN",
        "hafiz-mount b /mnt --secret-key HIDDEN --timeo x",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[256], *argv[ARGS_MAX], *save = NULL, *why = NULL;
        struct opts o;
        int argc = 0;
        snprintf(text, sizeof(text), "%s", lines[i]);
        for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
            argv[argc++] = w;
        int r = opts_parse(argc, argv, &o, &why);
        assert_int_equal(r, i == 0 ? 0 : -EINVAL);
        assert_false(memory_has(text, sizeof(text), "HIDDEN"));
        assert_false(why && strstr(why, "HIDDEN"));
        opts_fini(&o);
        free(why);
    }
}

static void test_keys_in_words_are_refused_by_name(void **state)
{
    (void)state;
    struct line l = parse("hafiz-mount b /mnt -o secret_key=x");
    assert_int_equal(l.result, -EINVAL);
    assert_non_null(strstr(l.why, "secret_key"));
    assert_non_null(strstr(l.why, "refused"));
    done(&l);
    l = parse("mount.fuse.hafiz b /mnt -s -o rw,accessKeyId=x"); /* sloppy does not help */
    assert_int_equal(l.result, -EINVAL);
    done(&l);
}

static void test_the_s3fs_line(void **state)
{
    (void)state;
    struct line l = parse("hafiz-mount bucketname -o use_cache=/tmp -o allow_other /mnt/s3");
    assert_int_equal(l.result, 0);
    assert_string_equal(l.o.source, "bucketname");
    assert_string_equal(l.o.mountpoint, "/mnt/s3");
    assert_string_equal(l.o.cache_dir, "/tmp");
    assert_int_equal(l.o.allow_other, 1);
    assert_int_equal(l.o.auto_unmount, 1);
    assert_int_equal(l.o.rw, 1);
    done(&l);
    l = parse("hafiz-mount b /m -o passwd_file=/p,url=http://h:9000,use_path_request_style,"
              "endpoint=eu-west-1,dbglevel=info,nonempty");
    assert_int_equal(l.result, 0);
    assert_string_equal(l.o.passwd_file, "/p");
    assert_string_equal(l.o.endpoint, "http://h:9000");
    assert_string_equal(l.o.region, "eu-west-1");
    assert_int_equal(l.o.addressing, 1);
    assert_int_equal(l.o.rw, 1);
    done(&l);
    l = parse("hafiz-mount b /m -o ro,url=http://h:9000");
    assert_int_equal(l.o.rw, 0);
    done(&l);
}

static void test_the_rusty_line(void **state)
{
    (void)state;
    struct line l = parse("hafiz-mount --mount-point /m --bucket-name b --data-dir /c "
                          "--auto_unmount --allow-root --direct-io");
    assert_int_equal(l.result, 0);
    assert_string_equal(l.o.source, "b");
    assert_string_equal(l.o.mountpoint, "/m");
    assert_string_equal(l.o.cache_dir, "/c");
    assert_int_equal(l.o.auto_unmount, 1);
    assert_int_equal(l.o.allow_root, 1);
    assert_int_equal(l.o.direct_io, 1);
    assert_int_equal(l.o.rw, 0);
    done(&l);
}

static void test_the_mount_helper(void **state)
{
    (void)state;
    struct line l =
        parse("/sbin/mount.fuse.hafiz file:///d /mnt -o rw,noexec,_netdev,nofail,user=me,"
              "x-systemd.automount,allow_other -t fuse.hafiz -N 1 -v -n");
    assert_int_equal(l.result, 0);
    assert_true(l.o.helper);
    assert_int_equal(l.o.rw, 1);
    assert_int_equal(l.o.auto_unmount, 0);
    assert_string_equal(l.o.kernel.s, ",noexec");
    done(&l);
    l = parse("mount.fuse.hafiz b /mnt -f -o ro,use_cache=/c");
    assert_true(l.o.fake);
    assert_int_equal(l.o.foreground, 0);
    assert_int_equal(l.o.rw, 0);
    done(&l);
    l = parse("mount.fuse.hafiz b /mnt -o rw,nonsense");
    assert_int_equal(l.result, -EINVAL);
    done(&l);
    l = parse("mount.fuse.hafiz b /mnt -s -o rw,nonsense");
    assert_int_equal(l.result, 0);
    done(&l);
    l = parse("mount.fuse.hafiz b /mnt -o remount,ro,user_id=0,group_id=0,default_permissions");
    assert_int_equal(l.result, 0);
    assert_int_equal(l.o.remount, 1);
    done(&l);
}

static void test_commas_in_words(void **state)
{
    (void)state;
    struct line l = parse("hafiz-mount b /mnt -o use_cache=/a\\,b,rw,socket=c\\d");
    assert_int_equal(l.result, 0);
    assert_string_equal(l.o.cache_dir, "/a,b");
    assert_string_equal(l.o.socket, "c\\d");
    done(&l);
}

static void test_mistakes_have_a_line(void **state)
{
    static const char *const lines[][2] = {
        {"hafiz-mount", "usage: hafiz-mount SOURCE MOUNTPOINT"},
        {"hafiz-mount b", "MOUNTPOINT"},
        {"hafiz-mount b @", "empty"},
        {"hafiz-mount b /m /n", "/n"},
        {"hafiz-mount b /m --frobnicate", "--frobnicate"},
        {"hafiz-mount b /m -o frobnicate=3", "frobnicate"},
        {"hafiz-mount b /m -x", "-x"},
        {"hafiz-mount b /m -o", "-o"},
        {"hafiz-mount b /m --endpoint", "endpoint"},
        {"hafiz-mount b /m --endpoint localhost:9000", "URL"},
        {"hafiz-mount b /m --endpoint http://", "endpoint"},
        {"hafiz-mount b /m --endpoint http://u:p@h", "endpoint"},
        {"hafiz-mount b /m --endpoint http://h:70000", "endpoint"},
        {"hafiz-mount b /m --endpoint http://h:x", "endpoint"},
        {"hafiz-mount b /m --endpoint ftp://h", "endpoint"},
        {"hafiz-mount b /m -o url=localhost", "endpoint"},
        {"hafiz-mount b /m -o attr_ttl", "attr_ttl"},
        {"hafiz-mount b /m --attr-ttl 99999999", "99999999"},
        {"hafiz-mount b /m --umask 9", "umask"},
        {"hafiz-mount b /m --uid nobody-of-that-name", "uid"},
        {"hafiz-mount b /m --rw=yes", "rw"},
        {"hafiz-mount b /m --allow-other --allow-root", "allow-root"},
        {"hafiz-mount b /m --access-key a", "--secret-key"},
        {"hafiz-mount b /m --secret-key a", "--access-key"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct line l = parse(lines[i][0]);
        assert_int_equal(l.result, -EINVAL);
        assert_non_null(l.why);
        assert_non_null(strstr(l.why, lines[i][1]));
        assert_null(strchr(l.why, '\n'));
        done(&l);
    }
}

static void test_owner_names(void **state)
{
    (void)state;
    struct line l = parse("hafiz-mount b /m -o uid=root,gid=root --file-mode=600 --dir_mode 0700");
    assert_int_equal(l.result, 0);
    assert_int_equal(l.o.uid, 0);
    assert_int_equal(l.o.gid, 0);
    assert_int_equal(l.o.file_mode, 0600);
    assert_int_equal(l.o.dir_mode, 0700);
    done(&l);
}

static void test_environment_fills_gaps_only(void **state)
{
    (void)state;
    setenv("HAFIZ_ENDPOINT", "http://env:1", 1);
    setenv("AWS_REGION", "", 1);
    setenv("AWS_DEFAULT_REGION", "r2", 1);
    struct line l = parse("hafiz-mount b /m");
    assert_int_equal(opts_env(&l.o, &l.why), 0);
    assert_string_equal(l.o.endpoint, "http://env:1");
    assert_false(l.o.endpoint_given);
    assert_string_equal(l.o.region, "r2");
    done(&l);
    l = parse("hafiz-mount b /m --endpoint https://arg");
    assert_int_equal(opts_env(&l.o, &l.why), 0);
    assert_string_equal(l.o.endpoint, "https://arg");
    assert_true(l.o.endpoint_given);
    done(&l);
}

static void test_the_manual_names_every_option(void **state)
{
    static char text[65536];
    const char *name, *help;
    FILE *f = fopen(MANUAL, "re");

    (void)state;
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    assert_true(n < sizeof(text) - 1);
    for (unsigned i = 0; (name = opts_row(i, &help)); i++) {
        char word[80], *out = word;
        if (!help)
            continue;
        for (const char *s = name; *s; s++) { /* scdoc wants \_ */
            if (*s == '_')
                *out++ = '\\';
            *out++ = *s;
        }
        *out = '\0';
        if (!strstr(text, word))
            fail_msg("the manual does not name %s", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_options),
        cmocka_unit_test(test_keys_are_wiped_from_argv),
        cmocka_unit_test(test_keys_in_words_are_refused_by_name),
        cmocka_unit_test(test_the_s3fs_line),
        cmocka_unit_test(test_the_rusty_line),
        cmocka_unit_test(test_the_mount_helper),
        cmocka_unit_test(test_commas_in_words),
        cmocka_unit_test(test_mistakes_have_a_line),
        cmocka_unit_test(test_owner_names),
        cmocka_unit_test(test_environment_fills_gaps_only),
        cmocka_unit_test(test_the_manual_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
