/*
 * Who plays in a run with a real server: a sink, ringpostd and a source, each a process, begun in
 * this order, looked at while they run, ended. What they count comes back through shared memory.
 */
#ifndef RINGPOST_BENCH_CAST_H
#define RINGPOST_BENCH_CAST_H

#include "bench/mta.h"
#include "bench/scenario.h"
#include "bench/source.h"

struct cast_options {
    const struct scenario *scenario; /* borrowed, as is all that follows */
    uint64_t messages;    /* that the source sends */
    uint64_t first;       /* number of the first of them */
    uint64_t first_sender; /* … and of its envelope's */
    uint64_t rate;        /* 0: closed loop */
    uint64_t per_request; /* recipients; what is sent is injected over HTTP. 0: SMTP */
    uint64_t idle;        /* connections that say nothing after EHLO; 0: the source sends mail */
    uint64_t expected;    /* numbers that the sink misses when they have not come; 0: none */
    uint64_t times;       /* due and arrival are kept of so many numbers */
    struct slice domains; /* of the recipients, as in domains.h */
    struct slice fields;  /* in front of each message of the source, as in source.h */
    struct slice script;  /* rules of the sink */
};

/* What the two have counted so far; of an ended process all of it. */
struct cast_counts {
    struct source_result source;
    struct sink_result sink;
};

struct cast_shared;

struct cast {
    struct cast_options options;
    struct cast_shared *shared; /* owned */
    uint64_t shared_bytes;
    struct child sink;
    struct child source;
    uint16_t sink_port;
    struct mta mta;
};

/* Takes the memory; false with a reason. */
MUST_USE bool cast_open(struct cast *cast, const struct cast_options *options,
                        struct buf *reason_out);
/* Each waits until its process listens; false with a reason. */
MUST_USE bool cast_start_sink(struct cast *cast, struct buf *reason_out);
/* In the directory `name` under that of the scenario, with its connections unless options say. */
MUST_USE bool cast_start_mta(struct cast *cast, const char *bin, const char *name,
                             struct mta_options options, struct buf *reason_out);
/* Sends to ringpostd, by SMTP or over HTTP, or to the sink when there is none. */
MUST_USE bool cast_start_source(struct cast *cast, struct buf *reason_out);
/* When the source has ended: what the next one sends, with numbers behind those of the last. */
void cast_source_next(struct cast *cast, uint64_t messages, struct slice domains,
                      struct slice fields);

/* So many connections that say nothing, until the source is killed; waits until they stand. */
MUST_USE bool cast_start_idle(struct cast *cast, uint64_t connections, struct buf *reason_out);

/* Waits until the source has sent everything; false with a reason. */
MUST_USE bool cast_wait_sent(struct cast *cast, struct buf *reason_out);
/* Waits until the sink has so many different messages; false with a reason. */
MUST_USE bool cast_wait_received(struct cast *cast, uint64_t messages, struct buf *reason_out);
/* Waits until every message of the source of now is there, by their times; false with a reason. */
MUST_USE bool cast_wait_arrived(struct cast *cast, struct buf *reason_out);
/* A copy that is of one piece for each of the two; false when one of them does not answer. */
MUST_USE bool cast_look(struct cast *cast, struct cast_counts *counts_out);

/*
 * Ends what runs: ringpostd by SIGTERM when all was `good` so far, else by SIGKILL. Whether all was
 * and ended well, every body was whole, none came twice and none was missing.
 */
MUST_USE bool cast_end(struct cast *cast, bool good, struct buf *reason_out);
/* Of number i: when it was due, when it came; 0: never. */
const uint64_t *cast_due_ns(const struct cast *cast);
const uint64_t *cast_arrived_ns(const struct cast *cast);
/* After cast_end. */
void cast_close(struct cast *cast);

#endif
