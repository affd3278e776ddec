/*
 * The first half of the runs about long queues: mail that the sink refuses for now is handed in
 * until the server has tried each message once, and in vain.
 */
#ifndef RINGPOST_BENCH_FILLING_H
#define RINGPOST_BENCH_FILLING_H

#include "bench/cast.h"

struct filling {
    struct cast *cast; /* borrowed: sink and server run */
    /* About once a second, null: nobody looks. False ends it, with a reason. */
    bool (*look)(struct filling *filling, const struct cast_counts *counts, struct buf *reason_out);
    double seconds; /* out: from the start of the source */
};

/* Starts the source; ends when each of its messages has been tried, and all before them, whose
 * numbers are below. False with a reason. */
MUST_USE bool filling_run(struct filling *filling, struct buf *reason_out);

#endif
