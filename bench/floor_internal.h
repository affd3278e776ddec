/* What both files of the floor need. */
#ifndef RINGPOST_BENCH_FLOOR_INTERNAL_H
#define RINGPOST_BENCH_FLOOR_INTERNAL_H

#include "bench/floor.h"

/* Consumes at most `want` bytes; returns how many. */
size_t floor_take(struct stream *stream, size_t want);

struct floor_listener {
    struct shard *shard;
    struct op accept_op;
    int fd;
    void (*take)(struct floor_listener *listener, int fd); /* set by the owner */
};
MUST_USE bool floor_listen(struct floor_listener *listener, struct shard *shard,
                           const struct floor_options *options, struct endpoint *bound_out);

#endif
