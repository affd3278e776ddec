#include "shard/watchdog.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"

bool watch_look(struct watch *watch, uint64_t turns, uint64_t cpu_ns, uint64_t now_ns,
                uint64_t stand_ns)
{
    if (!watch->seen || watch->turns != turns) {
        *watch = (struct watch){
            .turns = turns, .since_ns = now_ns, .cpu_ns = cpu_ns, .seen = true};
        return false;
    }
    /* A tenth of the time on the CPU: far more than waking up and blocking again costs. */
    return now_ns - watch->since_ns > stand_ns && cpu_ns > watch->cpu_ns &&
           cpu_ns - watch->cpu_ns > stand_ns / 10;
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void look_at(struct watched_shard *watched, unsigned stand_ms)
{
    uint64_t turns = atomic_load_explicit(&watched->shard->turns, memory_order_relaxed);
    uint64_t cpu_ns = thread_cpu_ns(watched->thread);
    uint64_t now_ns = monotonic_ns();
    if (!watch_look(&watched->watch, turns, cpu_ns, now_ns, stand_ms * NS_PER_MS)) {
        return;
    }
    (void)fprintf(stderr, "event=stuck shard=%u turns=%llu stood_ms=%llu cpu_ms=%llu\n",
                  watched->shard->index, (unsigned long long)turns,
                  (unsigned long long)((now_ns - watched->watch.since_ns) / NS_PER_MS),
                  (unsigned long long)((cpu_ns - watched->watch.cpu_ns) / NS_PER_MS));
    abort();
}

static void watchdog_run(void *context)
{
    struct watchdog *watchdog = context;
    struct pollfd stop = {.fd = watchdog->stop_fd, .events = POLLIN};
    int pause_ms = (int)(watchdog->stand_ms / 10);
    while (poll(&stop, 1, pause_ms) <= 0) {
        for (unsigned i = 0; i < watchdog->count; i++) {
            look_at(&watchdog->shards[i], watchdog->stand_ms);
        }
    }
}

int watchdog_start(struct watchdog *watchdog, struct watched_shard *shards, unsigned count,
                   unsigned stand_ms)
{
    CHECK(stand_ms >= 10);
    *watchdog = (struct watchdog){.shards = shards, .count = count, .stand_ms = stand_ms};
    watchdog->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (watchdog->stop_fd < 0) {
        return -errno;
    }
    const struct thread_options options = {.name = "watchdog"};
    int error = thread_start(&watchdog->thread, &options, watchdog_run, watchdog);
    if (error < 0) {
        close(watchdog->stop_fd);
    }
    return error;
}

void watchdog_stop(struct watchdog *watchdog)
{
    uint64_t one = 1;
    CHECK(write(watchdog->stop_fd, &one, sizeof(one)) == sizeof(one));
    thread_join(&watchdog->thread);
    close(watchdog->stop_fd);
}
