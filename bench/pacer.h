/*
 * Ticks finer than the wheel's, for an open loop: a periodic timer of the kernel, read through the
 * ring. Real ring only.
 */
#ifndef RINGPOST_BENCH_PACER_H
#define RINGPOST_BENCH_PACER_H

#include "shard/shard.h"

struct pacer {
    struct shard *shard;
    void (*tick)(struct pacer *pacer); /* from the loop */
    struct op read_op;
    struct op cancel_op;
    struct op close_op;
    int fd;
    bool stopping;
    bool stopped;
    uint64_t expirations; /* written by the kernel */
};

/* 0 or -errno. */
MUST_USE int pacer_start(struct pacer *pacer, struct shard *shard, uint64_t interval_ns,
                         void (*tick)(struct pacer *pacer));
/* Done when pacer->stopped. */
void pacer_stop(struct pacer *pacer);

#endif
