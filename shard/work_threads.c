/*
 * Worker threads. Jobs travel both ways on lists that are pushed by compare-and-swap and taken
 * whole: to a class from any shard, with a semaphore that counts them; home to a shard from any
 * class, with the shard's doorbell by the protocol of mailbox.h. A shard never waits for a worker.
 *
 * A worker rings a shard after it has handed the job over: the shards' rings must outlive
 * work_close.
 */
#include "shard/work.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

#include "core/check.h"
#include "shard/boot.h"
#include "shard/shard.h"
#include "shard/work_jobs.h"

#define WORKER_STACK_BYTES (1 * MIB)

struct job_list {
    _Alignas(64) _Atomic(struct work_job *) newest;
};

struct worker {
    struct job_list inbox;
    _Atomic uint32_t count; /* submitted and not yet begun */
    _Atomic bool stopping;
    _Atomic bool publishing; /* a job is on its way home whose shard has not been rung yet */
    sem_t arrivals;
    pthread_t thread;
    struct work *work;
};

struct work {
    unsigned capacity;
    unsigned started;
    struct worker workers[WORK_CLASSES];
    struct job_list homes[SHARDS_MAX]; /* by index of the shard */
};

static void list_push(struct job_list *list, struct work_job *job)
{
    struct work_job *newest = atomic_load_explicit(&list->newest, memory_order_relaxed);
    do {
        job->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&list->newest, &newest, job,
                                                    memory_order_seq_cst, memory_order_relaxed));
}

/* Everything, oldest first. */
static struct work_job *list_take(struct job_list *list)
{
    struct work_job *job = atomic_exchange_explicit(&list->newest, NULL, memory_order_acquire);
    struct work_job *oldest = NULL;
    while (job != NULL) {
        struct work_job *next = job->next;
        job->next = oldest;
        oldest = job;
        job = next;
    }
    return oldest;
}

static void job_send_home(struct work *work, struct work_job *job)
{
    struct shard *home = job->home; /* the job is not ours any more once it is pushed */
    list_push(&work->homes[home->index], job);
    if (atomic_load_explicit(&home->asleep, memory_order_seq_cst) != 0 &&
        atomic_exchange_explicit(&home->asleep, 0, memory_order_seq_cst) != 0) {
        ring_wake(home->ring);
    }
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct work_job *waiting = NULL;
    for (;;) {
        while (sem_wait(&worker->arrivals) != 0) {
            CHECK(errno == EINTR);
        }
        if (waiting == NULL) {
            waiting = list_take(&worker->inbox);
        }
        if (waiting == NULL) {
            CHECK(atomic_load_explicit(&worker->stopping, memory_order_acquire));
            return NULL;
        }
        struct work_job *job = waiting;
        waiting = job->next;
        atomic_fetch_sub_explicit(&worker->count, 1, memory_order_relaxed);
        work_job_run(job);
        atomic_store_explicit(&worker->publishing, true, memory_order_relaxed);
        job_send_home(worker->work, job);
        atomic_store_explicit(&worker->publishing, false, memory_order_release);
    }
}

/* Workers take no signals: those are the main thread's. */
static int worker_start(struct worker *worker, const char *name)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return -error;
    }
    CHECK(pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    error = pthread_create(&worker->thread, &attributes, worker_run, worker);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    pthread_attr_destroy(&attributes);
    if (error == 0) {
        (void)pthread_setname_np(worker->thread, name);
    }
    return -error;
}

int work_open(void *world, unsigned capacity, struct work **work_out)
{
    static const char *const names[WORK_CLASSES] = {"work-io", "work-cpu", "work-net"};
    CHECK(world == NULL && capacity > 0);
    struct work *work = boot_memory_take(sizeof(*work));
    if (work == NULL) {
        return -ENOMEM;
    }
    work->capacity = capacity;
    for (unsigned i = 0; i < WORK_CLASSES; i++) {
        struct worker *worker = &work->workers[i];
        worker->work = work;
        CHECK(sem_init(&worker->arrivals, 0, 0) == 0);
        int error = worker_start(worker, names[i]);
        if (error < 0) {
            work_close(work);
            return error;
        }
        work->started++;
    }
    *work_out = work;
    return 0;
}

void work_close(struct work *work)
{
    for (unsigned i = 0; i < work->started; i++) {
        struct worker *worker = &work->workers[i];
        CHECK(atomic_load_explicit(&worker->count, memory_order_relaxed) == 0);
        atomic_store_explicit(&worker->stopping, true, memory_order_release);
        CHECK(sem_post(&worker->arrivals) == 0);
        CHECK(pthread_join(worker->thread, NULL) == 0);
        sem_destroy(&worker->arrivals);
    }
    for (unsigned i = 0; i < SHARDS_MAX; i++) {
        CHECK(atomic_load_explicit(&work->homes[i].newest, memory_order_acquire) == NULL);
    }
    boot_memory_give(work, sizeof(*work));
}

bool work_submit(struct work *work, struct shard *home, struct work_job *job)
{
    CHECK(!job->in_flight);
    CHECK(job->done != NULL && home->index < SHARDS_MAX);
    struct worker *worker = &work->workers[work_class_of((enum work_kind)job->kind)];
    uint32_t before = atomic_fetch_add_explicit(&worker->count, 1, memory_order_relaxed);
    if (before >= work->capacity) {
        atomic_fetch_sub_explicit(&worker->count, 1, memory_order_relaxed);
        return false;
    }
    job->home = home;
    job->in_flight = true;
    list_push(&worker->inbox, job);
    CHECK(sem_post(&worker->arrivals) == 0);
    return true;
}

unsigned work_collect(struct work *work, struct shard *home)
{
    struct job_list *list = &work->homes[home->index];
    if (atomic_load_explicit(&list->newest, memory_order_relaxed) == NULL) {
        return 0;
    }
    unsigned count = 0;
    struct work_job *job = list_take(list);
    while (job != NULL) {
        struct work_job *next = job->next;
        job->next = NULL;
        job->in_flight = false;
        job->done(job);
        job = next;
        count++;
    }
    return count;
}

bool work_publishes(const struct work *work)
{
    bool publishes = false;
    for (unsigned i = 0; i < WORK_CLASSES; i++) {
        publishes = publishes ||
                    atomic_load_explicit(&work->workers[i].publishing, memory_order_acquire);
    }
    return publishes;
}

bool work_waiting(struct work *work, struct shard *home)
{
    return atomic_load_explicit(&work->homes[home->index].newest, memory_order_seq_cst) != NULL;
}
