/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Asynchronous lock: first come, first served; handing over runs the next waiter's callback. */
#include "s3proxyd/fs/fs.h"

void alock_init(struct alock *lock)
{
    list_init(&lock->waiters);
    lock->holder = NULL;
}

bool alock_acquire(struct alock *lock, struct alock_wait *wait)
{
    if (!lock->holder) {
        lock->holder = wait->who;
        return true;
    }
    list_add_tail(&lock->waiters, &wait->link);
    return false;
}

void alock_release(struct alock *lock, void *who)
{
    must(lock->holder == who);
    struct alock_wait *next = list_first(&lock->waiters, struct alock_wait, link);
    if (!next) {
        lock->holder = NULL;
        return;
    }
    list_del(&next->link);
    lock->holder = next->who;
    next->granted(next);
}
