/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Secrets keep their bytes apart, are locked, stay out of core dumps and leave nothing behind. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "s3proxyd/cred/secret.h"

static struct secret *make(const char *text)
{
    struct secret *s;

    assert_int_equal(secret_new(text, strlen(text), &s), 0);
    return s;
}

static void test_bytes_are_kept(void **state)
{
    struct secret *a = make("abc"), *b = make(""), *many[500];
    size_t len;
    char text[64];

    (void)state;
    assert_string_equal(secret_bytes(a, &len), "abc");
    assert_int_equal(len, 3);
    assert_string_equal(secret_bytes(b, &len), "");
    assert_int_equal(len, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
        (void)snprintf(text, sizeof(text), "%u of many%*s", i, (int)(i % 50), "");
        many[i] = make(text);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(many); i += 2)
        secret_unref(many[i]);
    for (unsigned i = 1; i < ARRAY_SIZE(many); i += 2) {
        assert_int_equal(strtoul(secret_bytes(many[i], NULL), NULL, 10), i);
        secret_unref(many[i]);
    }
    secret_unref(b);
    assert_string_equal(secret_bytes(a, NULL), "abc");
    secret_unref(a);
    secret_unref(NULL);
}

static void test_large_ones_and_the_limit(void **state)
{
    char *big = malloc(SECRET_MAX_BYTES + 1);
    struct secret *s;
    size_t len;

    (void)state;
    memset(big, 'x', SECRET_MAX_BYTES + 1);
    assert_int_equal(secret_new(big, SECRET_MAX_BYTES, &s), 0);
    assert_memory_equal(secret_bytes(s, &len), big, SECRET_MAX_BYTES);
    assert_int_equal(len, SECRET_MAX_BYTES);
    secret_unref(s);
    assert_int_equal(secret_new(big, SECRET_MAX_BYTES + 1, &s), -ENOMEM);
    free(big);
}

static void test_the_last_reference_wipes(void **state)
{
    struct secret *other = make("keeps the page alive"), *s = make("wipe me");
    const char *bytes = secret_bytes(s, NULL);

    (void)state;
    assert_ptr_equal(secret_ref(s), s);
    secret_unref(s);
    assert_string_equal(bytes, "wipe me");
    secret_unref(s);
    for (int i = 0; i < 7; i++)
        assert_int_equal(bytes[i], 0);
    secret_unref(other);
}

/* The flags of the mapping that holds p: `lo` locked, `dd` not dumped. */
static bool mapping_has(const void *p, const char *flag)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, has = false;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (unsigned long)p >= from && (unsigned long)p < to;
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, flag) != NULL;
    }
    (void)fclose(f);
    return has;
}

/* Not with RLIMIT_MEMLOCK 0, and the sanitizers make mlock() do nothing. */
static bool locking_works(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool works;

    assert_true(page != MAP_FAILED);
    works = mlock(page, 4096) == 0 && mapping_has(page, " lo");
    munmap(page, 4096);
    return works;
}

static void test_pages_are_locked_and_not_dumped_also_after_fork(void **state)
{
    struct secret *s = make("locked");
    bool may_lock = locking_works();
    int status;
    pid_t pid;

    (void)state;
    assert_true(mapping_has(s, " dd"));
    assert_true(!may_lock || mapping_has(s, " lo"));
    pid = fork();
    if (pid == 0) {
        bool ok = (!may_lock || mapping_has(s, " lo")) && mapping_has(s, " dd");

        secret_unref(s); /* wipes the child's copy only */
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal(secret_bytes(s, NULL), "locked");
    secret_unref(s);
}

static void test_wipe_clears_other_memory(void **state)
{
    char buf[8] = "secret";

    (void)state;
    secret_wipe(buf, sizeof(buf));
    for (size_t i = 0; i < sizeof(buf); i++)
        assert_int_equal(buf[i], 0);
    secret_wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_kept),
        cmocka_unit_test(test_large_ones_and_the_limit),
        cmocka_unit_test(test_the_last_reference_wipes),
        cmocka_unit_test(test_pages_are_locked_and_not_dumped_also_after_fork),
        cmocka_unit_test(test_wipe_clears_other_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
