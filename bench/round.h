/*
 * One round with a real server: sink, ringpostd and source are processes, started, watched
 * and judged. Counts, uniqueness and hashes are the sink's to check: what differs fails the round.
 */
#ifndef RINGPOST_BENCH_ROUND_H
#define RINGPOST_BENCH_ROUND_H

#include "bench/scenario.h"

struct round_options {
    const char *bin;   /* directory of ringpostd; null: none, the source speaks to the sink */
    uint64_t messages;
    uint64_t per_request; /* recipients of each request over HTTP; 0: SMTP */
    uint64_t rate;     /* 0: closed loop. Else latency is from the due time to the sink's dot */
    struct slice domains;   /* of the recipients, as in domains.h; empty: sink.test */
    unsigned sites;         /* as in mta.h */
    unsigned connections;   /* connection_limit of each; 0: as the scenario says */
    const char *flush_delay; /* as in mta.h */
};

MUST_USE bool round_run(const struct scenario *scenario, const struct round_options *options,
                        struct run *run_out, struct buf *reason);

#endif
