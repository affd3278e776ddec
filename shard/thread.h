/* Threads of the daemon: named, with a fixed stack, pinned if wanted. Boot thread only. */
#ifndef RINGPOST_SHARD_THREAD_H
#define RINGPOST_SHARD_THREAD_H

#include <pthread.h>

#include "core/base.h"

#define THREAD_STACK_BYTES (1 * MIB)

typedef void thread_run(void *context);

struct thread_options {
    const char *name; /* at most 15 characters; shown by ps and in core files */
    bool pin;
    unsigned cpu; /* with `pin`: index into the CPUs that this process may use */
};

struct thread {
    pthread_t id;
    thread_run *run;
    void *context;
};

/* CPUs that this process may use. */
unsigned thread_cpus(void);
/*
 * Runs run(context) on a thread of its own, with all signals blocked: those are the main thread's.
 * The struct stays where it is until thread_join. 0 or a negative errno.
 */
MUST_USE int thread_start(struct thread *thread, const struct thread_options *options,
                          thread_run *run, void *context);
/* Waits until `run` has returned. Once. */
void thread_join(struct thread *thread);
/* CPU time the thread has used so far; any thread, before thread_join. 0 when it has ended. */
uint64_t thread_cpu_ns(const struct thread *thread);

#endif
