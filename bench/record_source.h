/*
 * A source of records: C connections that stay, and on each one request at a time to
 * /publish_log_v2 with a batch of records, until all have been answered. The batches are given, and
 * used by turns. Closed loop: whatever stands in the way ends it with a reason.
 *
 * All calls from the shard's thread. The result may be shared with another process.
 */
#ifndef RINGPOST_BENCH_RECORD_SOURCE_H
#define RINGPOST_BENCH_RECORD_SOURCE_H

#include "bench/response.h"
#include "core/histogram.h"
#include "shard/io/stream.h"

#define RECORD_SOURCE_CONNECTIONS_MAX 64u /* a server judges no more batches at once */
#define RECORD_SOURCE_HEAD_BYTES_MAX  256u

struct record_source_options {
    struct endpoint connect;
    struct socket_options socket;  /* congestion is borrowed */
    unsigned connections;
    const struct slice *batches;   /* borrowed, with what they name */
    unsigned batch_count;
    uint64_t batch_records;        /* of each */
    uint64_t requests;             /* of all connections */
};

/* Times are monotonic nanoseconds. */
struct record_source_result {
    uint64_t accepted;        /* records */
    uint64_t first_ns;        /* first request */
    uint64_t last_ns;         /* last answer */
    struct histogram latency; /* of requests; nanoseconds */
    char trouble[256];        /* the first answer or end that was not wanted; "": none */
};

struct record_source;

struct record_source_connection {
    struct record_source *source;
    struct stream stream;
    bool asked;
    uint64_t asked_ns;
    uint8_t head[RECORD_SOURCE_HEAD_BYTES_MAX];
    struct response response;
};

struct record_source {
    struct shard *shard; /* borrowed */
    struct record_source_options options;
    struct record_source_result *result; /* borrowed */
    struct record_source_connection connections[RECORD_SOURCE_CONNECTIONS_MAX];
    uint64_t begun;      /* requests */
    uint64_t alive_ns;   /* when the server last said something */
    unsigned released;   /* connections that are over */
};

void record_source_start(struct record_source *source, struct shard *shard,
                         const struct record_source_options *options,
                         struct record_source_result *result);
/* All connections are over. */
bool record_source_done(const struct record_source *source);
/* The server has said nothing for so long: connections are closed. */
void record_source_look(struct record_source *source, uint64_t silent_ns);

#endif
