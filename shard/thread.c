#include "shard/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "core/check.h"

unsigned thread_cpus(void)
{
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) {
        return 1;
    }
    return (unsigned)CPU_COUNT(&cpus);
}

/* The set of the index-th CPU that this process may use, counted around. */
static void choose_cpu(unsigned index, cpu_set_t *chosen_out)
{
    cpu_set_t allowed;
    CPU_ZERO(chosen_out);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        CPU_SET(0, chosen_out);
        return;
    }
    unsigned skip = index % (unsigned)CPU_COUNT(&allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) {
            continue;
        }
        if (skip == 0) {
            CPU_SET(cpu, chosen_out);
            return;
        }
        skip--;
    }
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    thread->run(thread->context);
    return NULL;
}

static int thread_create(struct thread *thread, const pthread_attr_t *attributes)
{
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int error = pthread_create(&thread->id, attributes, thread_main, thread);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return -error;
}

int thread_start(struct thread *thread, const struct thread_options *options, thread_run *run,
                 void *context)
{
    *thread = (struct thread){.run = run, .context = context};
    pthread_attr_t attributes;
    int error = -pthread_attr_init(&attributes);
    if (error < 0) {
        return error;
    }
    CHECK(pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES) == 0);
    if (options->pin) {
        cpu_set_t chosen;
        choose_cpu(options->cpu, &chosen);
        error = -pthread_attr_setaffinity_np(&attributes, sizeof(chosen), &chosen);
    }
    if (error == 0) {
        error = thread_create(thread, &attributes);
    }
    pthread_attr_destroy(&attributes);
    if (error == 0) {
        (void)pthread_setname_np(thread->id, options->name);
    }
    return error;
}

void thread_join(struct thread *thread)
{
    CHECK(pthread_join(thread->id, NULL) == 0);
}

uint64_t thread_cpu_ns(const struct thread *thread)
{
    clockid_t clock;
    struct timespec used;
    if (pthread_getcpuclockid(thread->id, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return 0;
    }
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}
