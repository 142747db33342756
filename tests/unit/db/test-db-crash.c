/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The database under kill -9 and on a full disk. A child writes and reports each number it was given; the
 * parent kills it in the middle and looks at what the next start finds. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/base/str.h"
#include "tests/unit/db/fixture.h"

#define SYNC_EACH 64 /* rows between two calls that wait for all that was queued */

struct report {
    uint64_t ino;
    uint64_t synced; /* reports before this one whose rows must be there */
};

static void child_writes(const struct fixture *f, int fd)
{
    struct loop *loop;
    struct mailbox *home;
    struct db *db;
    const char *why;
    struct db_listing_entry entry = {.name = "x", .etag = "e"};
    struct db_listing listing = {.fetched_ns = 1, .entries = &entry, .nentries = 1};
    uint64_t bucket, synced = 0;
    if (loop_new(&loop) < 0 || mailbox_new(loop, &home) < 0 ||
        db_new(home, f->dir, &db, &why) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%u", i);
        struct report report = {.ino = db_next_ino(db)};
        struct db_inode row = {
            .ino = report.ino, .bucket = 1, .parent = 9, .name = name, .type = S_IFREG};
        db_put_inode(db, &row);
        db_put_listing(db, 1, name, &listing);
        report.synced = synced;
        if (fd_write_full(fd, &report, sizeof(report)) < 0)
            _exit(1);
        if (i % SYNC_EACH == SYNC_EACH - 1 && db_bucket(db, "e", "b", 0, &bucket) == 0)
            synced = i + 1;
    }
}

/* Lets a child write for a while and kills it. Returns the reports. */
static struct report *killed_writer(const struct fixture *f, unsigned ms, size_t *ret_n)
{
    enum { MAX = 1 << 20 };
    int fds[2];
    struct report *reports = calloc(MAX, sizeof(*reports));
    assert_non_null(reports);
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child_writes(f, fds[1]);
    }
    close(fds[1]);
    uint64_t end = 0;
    size_t n = 0, got = 0;
    while (n < MAX && fd_read_full(fds[0], &reports[n], sizeof(*reports), &got) == 0 &&
           got == sizeof(*reports)) {
        uint64_t now = clock_mono_ns();
        if (!n++)
            end = now + ms * NS_PER_MS;
        if (now >= end && kill(pid, SIGKILL) == 0)
            end = UINT64_MAX;
    }
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(n > 0);
    *ret_n = n;
    return reports;
}

static int read_one(struct fixture *f, struct db_read read)
{
    return fixture_read(f, &read, NULL, NULL);
}

static void test_kill_in_the_middle_of_writes(void **state)
{
    struct fixture *f = *state;
    uint64_t highest = 0;
    for (unsigned round = 0; round < 4; round++) {
        size_t n = 0;
        struct report *reports = killed_writer(f, 300 + round * 37, &n);
        for (size_t i = 0; i < n; i++) {
            assert_true(reports[i].ino > highest); /* never twice, over all lives */
            highest = reports[i].ino;
        }
        assert_true(fixture_exists(f, "meta.db"));
        assert_false(fixture_exists(f, "meta.clean"));
        fixture_open(f);
        uint64_t next = db_next_ino(f->db);
        assert_true(next > highest);
        highest = next;
        assert_true(reports[n - 1].synced > 0);
        for (size_t i = 0; i < reports[n - 1].synced; i++)
            assert_int_equal(read_one(f, (struct db_read){.kind = DB_READ_INO,
                                                          .ino = reports[i].ino}), 0);
        assert_int_equal(
            read_one(f, (struct db_read){.kind = DB_READ_LISTING, .bucket = 1, .name = "0"}),
            -ENOENT);
        fixture_close(f);
        free(reports);
        /* Names repeat in the next life and would replace these rows. */
        fixture_sql(f, "inodes.db", "DELETE FROM inode");
    }
}

/* A file size limit plays the full disk: SQLite gets EFBIG where it would get ENOSPC. */
static void test_a_full_disk_costs_rows_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    fflush(NULL);
    pid_t pid = fork(); /* for the limit, which cannot be raised again */
    assert_true(pid >= 0);
    if (pid > 0) {
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        return;
    }
    struct db *db = NULL;
    const char *why;
    char dir[128];
    snprintf(dir, sizeof(dir), "%s.full", f->dir);
    struct rlimit limit = {256 * 1024, 256 * 1024};
    signal(SIGXFSZ, SIG_IGN);
    if (db_new(f->home, dir, &db, &why) < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
        _exit(1);
    uint64_t last = 0;
    for (int i = 0; i < 200000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d", i);
        struct db_inode row = {
            .ino = db_next_ino(db), .bucket = 1, .parent = 9, .name = name, .type = S_IFREG};
        if (row.ino <= last)
            _exit(2);
        last = row.ino;
        db_put_inode(db, &row);
    }
    db_free(db);
    /* What is there opens again. */
    if (db_new(f->home, dir, &db, &why) < 0)
        _exit(3);
    db_free(db);
    char command[256];
    snprintf(command, sizeof(command), "rm -r '%s'", dir);
    _exit(system(command) == 0 ? 0 : 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        T(test_kill_in_the_middle_of_writes),
        T(test_a_full_disk_costs_rows_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
