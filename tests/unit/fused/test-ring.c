/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The write ring's slots, and who waits for one. */
#include "fused/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/must.h"
#include "proto/limits.h"

#define SLOTS (PROTO_RING_BYTES / PROTO_RING_SLOT_BYTES)

static int current = -1; /* a duplicate of the ring's memfd: the backend's view */

static int new_ring(void)
{
    int fd = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, PROTO_RING_BYTES), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    if (current >= 0)
        close(current);
    current = dup(fd);
    return ring_set(fd, PROTO_RING_BYTES);
}

static void assert_backend_sees(uint32_t slot, const char *text)
{
    char seen[64];
    size_t len = strlen(text);
    assert_int_equal(pread(current, seen, len, (off_t)ring_offset(slot)), len);
    assert_memory_equal(seen, text, len);
}

static void test_bad_rings_are_refused(void **state)
{
    int fd = memfd_create("ring", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(ftruncate(fd, PROTO_RING_SLOT_BYTES), 0);
    assert_int_equal(ring_set(fd, PROTO_RING_BYTES), -EPROTO); /* shorter than it says */
    fd = memfd_create("ring", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, PROTO_RING_BYTES), 0);
    assert_int_equal(ring_set(fd, PROTO_RING_BYTES), -EPROTO); /* could be shrunk under us */
    assert_int_equal(ring_set(open("/dev/zero", O_RDWR), PROTO_RING_BYTES), -EPROTO);
    assert_int_equal(ring_set(memfd_create("r", 0), 0), -EPROTO);
    assert_int_equal(ring_set(memfd_create("r", 0), PROTO_RING_SLOT_BYTES / 2), -EPROTO);
    assert_int_equal(ring_set(memfd_create("r", 0), 2ull * PROTO_RING_BYTES), -EPROTO);
    assert_int_equal(ring_get(NULL), RING_NONE); /* none yet: nothing to have */
}

static void test_slots_are_distinct_and_come_back(void **state)
{
    uint32_t slots[SLOTS];
    bool seen[SLOTS] = {false};

    (void)state;
    assert_int_equal(new_ring(), 0);
    for (size_t i = 0; i < SLOTS; i++) {
        slots[i] = ring_get(NULL);
        assert_true(slots[i] < SLOTS && !seen[slots[i]]);
        seen[slots[i]] = true;
    }
    assert_int_equal(ring_get(NULL), RING_NONE);
    ring_fill(slots[3], "hello", 5);
    assert_backend_sees(slots[3], "hello");
    ring_put(slots[3]);
    assert_int_equal(ring_get(NULL), slots[3]);
    for (size_t i = 0; i < SLOTS; i++)
        ring_put(slots[i]);
}

struct waiter {
    struct ring_waiter w;
    uint32_t slot;
    int order;
};
static int called;

static void ready(struct ring_waiter *w, uint32_t slot)
{
    struct waiter *me = container_of(w, struct waiter, w);
    me->slot = slot;
    me->order = ++called;
}

static void test_waiters_are_served_in_order(void **state)
{
    struct waiter a = {.w.ready = ready, .slot = RING_NONE}, b = a;

    (void)state;
    for (size_t i = 0; i < SLOTS; i++)
        assert_int_not_equal(ring_get(NULL), RING_NONE);
    assert_int_equal(ring_get(&a.w), RING_NONE);
    assert_int_equal(ring_get(&b.w), RING_NONE);
    ring_put(5);
    assert_int_equal(a.order, 1);
    assert_int_equal(a.slot, 5);
    assert_int_equal(b.order, 0);
    ring_put(7);
    assert_int_equal(b.slot, 7);
    for (uint32_t i = 0; i < SLOTS; i++)
        ring_put(i);
}

static void test_a_new_ring_has_the_bytes_of_used_slots(void **state)
{
    uint32_t slot = ring_get(NULL);

    (void)state;
    ring_fill(slot, "unsent", 6);
    assert_int_equal(new_ring(), 0);
    assert_backend_sees(slot, "unsent");
    ring_fill(slot, "UNSENT", 6);
    assert_backend_sees(slot, "UNSENT");
    ring_put(slot);
}

static void *hammer(void *arg)
{
    for (unsigned i = 0; i < 2000; i++) {
        uint32_t slot = ring_get(NULL);
        if (slot == RING_NONE)
            continue;
        ring_fill(slot, &arg, sizeof(arg));
        ring_put(slot);
    }
    return NULL;
}

static void test_threads_and_a_new_ring_meanwhile(void **state)
{
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, state), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(new_ring(), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SLOTS; i++)
        assert_int_not_equal(ring_get(NULL), RING_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_rings_are_refused),
        cmocka_unit_test(test_slots_are_distinct_and_come_back),
        cmocka_unit_test(test_waiters_are_served_in_order),
        cmocka_unit_test(test_a_new_ring_has_the_bytes_of_used_slots),
        cmocka_unit_test(test_threads_and_a_new_ring_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
