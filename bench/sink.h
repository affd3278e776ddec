/*
 * The sink: a listener and its connections on one shard. Made at start with room for a fixed number
 * of connections; further ones are closed at once. All calls from the shard's thread.
 */
#ifndef RINGPOST_BENCH_SINK_H
#define RINGPOST_BENCH_SINK_H

#include "bench/sink_session.h"
#include "shard/io/stream.h"
#include "shard/shard.h"

#define SINK_CONNECTIONS_MAX 4096

struct sink_connection {
    struct list link; /* in sink->open or sink->free */
    struct sink *sink;
    struct stream stream;
    struct timer timer; /* a reply held back */
    struct sink_session session;
};

struct sink {
    struct shard *shard; /* borrowed */
    struct sink_rules *rules;
    struct tally *tally;
    struct maildir *maildir;
    FILE *ledger;
    struct socket_options socket;
    int listener;
    struct op accept_op;
    struct op cancel_op;
    struct op refuse_op;
    struct op close_op;
    struct timer accept_timer;
    bool stopping;
    bool listener_closed;
    struct list open;
    struct list free;
    unsigned open_count;
    unsigned capacity;
    struct sink_connection *connections; /* owned */
};

struct sink_options {
    struct endpoint listen;
    struct socket_options socket; /* congestion is borrowed */
    struct sink_rules *rules;     /* borrowed, as are the next two */
    struct tally *tally;
    struct maildir *maildir;      /* null: none */
    FILE *ledger;                 /* borrowed; null: none. bench/ledger.h */
    unsigned connections;         /* 1 … SINK_CONNECTIONS_MAX */
};

/* 0 or -errno. */
MUST_USE int sink_start(struct sink *sink, struct shard *shard,
                        const struct sink_options *options, struct endpoint *bound_out);
/* Closes the listener and every connection; done when sink_stopped says so. */
void sink_stop(struct sink *sink);
bool sink_stopped(const struct sink *sink);
/* After sink_stopped. */
void sink_fini(struct sink *sink);

#endif
