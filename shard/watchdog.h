/*
 * Aborts the process when a shard's loop is stuck: its count of turns stood still while its thread
 * burned CPU time. A thread that merely got no CPU (a stolen VM, a stopped process) or waits for
 * the kernel is left alone. The supervisor restarts us from the spool. A thread of its own.
 */
#ifndef RINGPOST_SHARD_WATCHDOG_H
#define RINGPOST_SHARD_WATCHDOG_H

#include "core/base.h"
#include "shard/shard.h"
#include "shard/thread.h"

#define WATCHDOG_STAND_MS 10000

/* What is known about one shard. */
struct watch {
    uint64_t turns;
    uint64_t since_ns; /* when the count was first seen */
    uint64_t cpu_ns;   /* and the CPU time then */
    bool seen;
};

/* Notes one look; true when the loop is stuck. Pure. */
MUST_USE bool watch_look(struct watch *watch, uint64_t turns, uint64_t cpu_ns, uint64_t now_ns,
                         uint64_t stand_ns);

struct watched_shard {
    const struct shard *shard;   /* borrowed, until watchdog_stop */
    const struct thread *thread; /* borrowed: it runs the shard */
    struct watch watch;
};

struct watchdog {
    struct thread thread;
    struct watched_shard *shards; /* borrowed */
    unsigned count;
    unsigned stand_ms;
    int stop_fd;
};

/* Looks at all shards about ten times in `stand_ms` (WATCHDOG_STAND_MS). 0 or a negative errno. */
MUST_USE int watchdog_start(struct watchdog *watchdog, struct watched_shard *shards, unsigned count,
                            unsigned stand_ms);
/* Before the shards' threads are joined. */
void watchdog_stop(struct watchdog *watchdog);

#endif
