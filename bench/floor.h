/*
 * The floor: the least that a durable relay must do, to compare it with. Three processes of one
 * ring each: source, relay, sink. Fixed numbers of bytes stand for commands and replies; nothing is
 * parsed, queued by policy or logged.
 *
 *   plain      40 → 30, 40 → 30, 6 → 40, size+3 → 40    four round trips
 *   pipelined  120 → 100, size+3 → 40                   two
 *   bdat       120+size → 140                           one
 *
 * The relay copies each body once into the open group, writes one group at a time (O_DIRECT,
 * RWF_DSYNC) into a zeroed, circular segment, answers when it is stored, and sends it on from the
 * group over as many connections as it has inbound. When every group is in use, inbound waits.
 */
#ifndef RINGPOST_BENCH_FLOOR_H
#define RINGPOST_BENCH_FLOOR_H

#include "bench/sink_session.h"
#include "core/histogram.h"
#include "shard/io/stream.h"
#include "shard/shard.h"

#define FLOOR_STEPS_MAX   4
#define FLOOR_SIZE_MAX    (1 * MIB)
#define FLOOR_GROUPS_MAX  64
#define FLOOR_GROUP_TOTAL (512ull * MIB) /* memory of all groups together, about */

/* One round trip: so many bytes, then so many back. */
struct floor_step {
    size_t ask;
    size_t answer;
};

/* The way of one message over one connection. The body ends `after` bytes before its ask does. */
struct floor_leg {
    unsigned count;
    size_t body;   /* bytes, in the last ask */
    size_t before; /* bytes of the last ask in front of it */
    size_t after;
    struct floor_step steps[FLOOR_STEPS_MAX];
};
struct floor_leg floor_leg_of(enum bench_mode mode, size_t size);

struct floor_options {
    struct floor_leg leg;
    uint64_t messages;
    unsigned connections;
    struct endpoint connect;       /* of source and relay */
    struct endpoint listen;        /* of relay and sink */
    struct socket_options socket;  /* congestion is borrowed */
    int segment_fd;                /* relay: opened with O_DIRECT */
    uint64_t segment_bytes;
};

/* Shared between processes; each part has one writer. Times are monotonic nanoseconds. */
struct floor_result {
    uint64_t accepted;
    uint64_t first_ns;
    uint64_t accepted_ns;
    struct histogram latency;
    _Atomic uint64_t received;
    uint64_t last_ns;
    uint64_t commits;
    uint64_t spills;          /* bodies copied twice, as they came in too many pieces */
    struct histogram commit_messages;
    struct histogram commit_ns;
    uint64_t enters;
    _Atomic bool failed;      /* a connection broke, or a write failed */
};

/* --- source ---------------------------------------------------------------------------------- */

struct floor_source;
/* Null without memory. Free with floor_source_close when it is done. */
MUST_USE struct floor_source *floor_source_open(struct shard *shard,
                                                const struct floor_options *options,
                                                struct floor_result *result);
bool floor_source_done(const struct floor_source *source);
void floor_source_close(struct floor_source *source);

/* --- sink ------------------------------------------------------------------------------------ */

struct floor_sink;
MUST_USE struct floor_sink *floor_sink_open(struct shard *shard,
                                            const struct floor_options *options,
                                            struct floor_result *result,
                                            struct endpoint *bound_out);

/* --- relay ----------------------------------------------------------------------------------- */

struct floor_relay;
MUST_USE struct floor_relay *floor_relay_open(struct shard *shard,
                                              const struct floor_options *options,
                                              struct floor_result *result,
                                              struct endpoint *bound_out);

/* Sink and relay end with their process: what they hold is not taken apart. */

#endif
