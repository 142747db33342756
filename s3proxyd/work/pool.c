/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What may take long on a disk or a processor is run here, not on the loop. An item is in one place
 * at a time: queue → running on a thread → in the home mailbox. One lock guards the queue and
 * `todo`. */
#include "s3proxyd/work/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct pool {
    struct mailbox *home;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* queue not empty, or stopping */
    pthread_cond_t idle; /* todo became 0 */
    struct list queue;
    uint64_t todo;   /* submitted, not yet mailed home */
    uint64_t undone; /* submitted, done() not yet run; the home's thread only */
    unsigned sleeping;
    bool stopping;
    unsigned nthreads;
    pthread_t threads[];
};

static void work_home(struct mail *mail)
{
    struct work *work = container_of(mail, struct work, mail);

    work->pool->undone--;
    work->done(work);
}

static void run_one(struct pool *pool, struct work *work)
{
    work->run(work);
    mailbox_post(pool->home, &work->mail);
    pthread_mutex_lock(&pool->lock);
    if (--pool->todo == 0)
        pthread_cond_signal(&pool->idle);
}

static void *pool_thread(void *arg)
{
    struct pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct work *work = list_first(&pool->queue, struct work, link);

        if (work) {
            list_del(&work->link);
            pthread_mutex_unlock(&pool->lock);
            run_one(pool, work); /* returns with the lock */
            continue;
        }
        if (pool->stopping)
            break;
        pool->sleeping++;
        pthread_cond_wait(&pool->wake, &pool->lock);
        pool->sleeping--;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->nthreads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int pool_new(struct mailbox *home, unsigned threads, struct pool **ret_pool)
{
    sigset_t all, before;
    struct pool *pool;
    int r = 0;

    if (threads == 0)
        threads = POOL_THREADS_DEFAULT;
    if (threads > POOL_THREADS_MAX)
        return -EINVAL;
    pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
    if (!pool)
        return -ENOMEM;
    pool->home = home;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->idle, NULL);
    list_init(&pool->queue);

    sigfillset(&all); /* signals belong to the main loop */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; pool->nthreads < threads && r == 0; pool->nthreads += r == 0)
        r = pthread_create(&pool->threads[pool->nthreads], NULL, pool_thread, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        pool_stop(pool);
        return -r;
    }
    for (unsigned i = 0; i < pool->nthreads; i++)
        (void)pthread_setname_np(pool->threads[i], "disk");
    *ret_pool = pool;
    return 0;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    do { /* a done() may submit more */
        pthread_mutex_lock(&pool->lock);
        while (pool->todo > 0)
            pthread_cond_wait(&pool->idle, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
        mailbox_drain(pool->home);
    } while (pool->undone > 0);
    pool_stop(pool);
}

struct mailbox *pool_home(struct pool *pool)
{
    return pool->home;
}

void pool_submit(struct pool *pool, struct work *work)
{
    work->mail.run = work_home;
    work->pool = pool;
    pool->undone++;
    pthread_mutex_lock(&pool->lock);
    must(!pool->stopping);
    pool->todo++;
    list_add_tail(&pool->queue, &work->link);
    if (pool->sleeping > 0)
        pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}
