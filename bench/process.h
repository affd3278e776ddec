/*
 * A process of the bench: one ring and its shard, the signals that end it, and children that share
 * memory with the one that started them.
 */
#ifndef RINGPOST_BENCH_PROCESS_H
#define RINGPOST_BENCH_PROCESS_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "core/buf.h"
#include "shard/shard.h"

struct bench_shard {
    struct shard shard;
    struct shard *peers[1];
};

/* 0, or -errno with one line in `reason_out`. The ring is sized as that of ringpostd. */
MUST_USE int bench_shard_open(struct bench_shard *bench, struct buf *reason_out);
void bench_shard_close(struct bench_shard *bench);
/* The same in a child that says on stderr why it cannot. */
MUST_USE bool bench_shard_open_or_say(struct bench_shard *bench);
/* Port `port` of 127.0.0.1. */
struct endpoint loopback_endpoint(uint16_t port);

/* Sets `asked` when SIGTERM or SIGINT comes; a thread of its own waits for them. */
struct stopper {
    _Atomic bool asked;
    sigset_t signals;
    pthread_t thread;
};
/* Before any other thread and before children; 0 or -errno. */
MUST_USE int stopper_start(struct stopper *stopper);

/* Zeroed memory that children share; null when there is none. Never given back. */
MUST_USE void *shared_memory_take(uint64_t bytes);

/* What became of a child. */
struct child {
    pid_t pid; /* 0: none */
    int status;
    struct rusage usage;
};
/* Runs `run(context)` in a child, which exits with what it returns and dies with its parent. */
MUST_USE int child_start(struct child *child, int (*run)(void *context), void *context);
/* Waits for its end; true when it exited with 0. */
bool child_wait(struct child *child);
/* Whether it has ended, without waiting. */
bool child_ended(struct child *child);
void child_kill(struct child *child);
/* User and system time of an ended child, seconds. */
double child_cpu_s(const struct child *child);

/* The port that a child puts into shared memory once it listens; 0 when it ends or takes 10 s. */
uint16_t child_wait_port(struct child *child, _Atomic uint32_t *port);
/*
 * Until `wanted` have been counted. False when the child ends, `failed` (null: nothing) is set, or
 * the count stands still for `still_ms_max`.
 */
struct count_wait {
    const _Atomic uint64_t *count;
    uint64_t wanted;
    unsigned still_ms_max;
    const _Atomic bool *failed;
};
MUST_USE bool child_wait_count(struct child *child, const struct count_wait *wait);

/* Tells when to say how far things are: often on a terminal, else every 10 s and not at once. */
struct progress {
    bool terminal;
    uint64_t next_ns;
};
void progress_init(struct progress *progress, uint64_t now_ns);
bool progress_due(struct progress *progress, uint64_t now_ns);
/* Takes the line off a terminal. */
void progress_end(const struct progress *progress);

/* For mains and runners, not for shards. */
uint64_t clock_now_ns(void);
void clock_sleep_ms(unsigned ms);

#endif
