/*
 * The injector: C connections that stay, one request on each, until mail for N recipients has been
 * answered. Every recipient has a message of his own, made from his number (letter.h).
 *
 * Closed loop without a rate: requests of many recipients; one answered 503 comes again when its
 * Retry-After is over. With a rate requests have one recipient, request k is due k ÷ rate after the
 * connections stood, and each is sent once: one that finds no connection free waits until the last
 * is due, and is then left out. A connection that breaks is made anew; the request that was on it
 * is in doubt: lost, and not sent again.
 *
 * All calls from the shard's thread. The result may be shared with another process: what a source
 * counts, of recipients; latency is of requests.
 */
#ifndef RINGPOST_BENCH_INJECTOR_H
#define RINGPOST_BENCH_INJECTOR_H

#include "bench/letter.h"
#include "bench/response.h"
#include "bench/source.h"

#define INJECTOR_REQUEST_MAX 10000u /* recipients */
#define INJECTOR_HEAD_BYTES_MAX 256u

struct injector_options {
    struct endpoint connect;
    struct socket_options socket; /* congestion is borrowed */
    uint64_t recipients;
    uint64_t per_request; /* 1 … INJECTOR_REQUEST_MAX; with a rate 1 */
    uint64_t first;       /* number of the first recipient */
    size_t size;          /* of each message */
    unsigned connections;
    uint64_t rate;        /* requests a second; 0: closed loop */
    uint64_t retry_ns;    /* how long a server may be away */
};

enum injector_state {
    INJECTOR_AWAY, /* not connected: the timer connects */
    INJECTOR_CONNECTING,
    INJECTOR_READY,
    INJECTOR_ASKED,
    INJECTOR_PAUSE, /* answered 503: the timer asks again */
    INJECTOR_DONE,
};

struct injector_connection {
    struct list link; /* in injector->ready */
    struct injector *injector;
    struct stream stream;
    struct timer timer;
    uint8_t state;
    bool begun; /* a request is at hand */
    bool sent;  /* … and in doubt */
    uint64_t number; /* of its first recipient */
    uint64_t count;
    uint64_t timed_ns; /* where latency begins */
    uint8_t head[INJECTOR_HEAD_BYTES_MAX];
    struct buf recipients; /* behind head and the letter's text */
    struct response response;
};

struct injector {
    struct shard *shard; /* borrowed */
    struct injector_options options;
    struct source_result *result; /* borrowed */
    struct letter letter;
    struct injector_connection *connections; /* owned */
    uint8_t *recipient_bytes;                /* owned */
    struct deferred opener;
    unsigned opened;       /* connections that were begun */
    struct list ready;
    uint64_t begun;        /* recipients whose request some connection has taken on */
    unsigned stood;        /* connections that have been made once */
    uint64_t due_start_ns; /* with a rate: when request 0 was due; 0: not yet */
    uint64_t alive_ns;     /* when the server last said something */
    unsigned done_count;
    bool giving_up;        /* nothing further is begun */
    bool stopping;
    bool pacing;
    struct pacer pacer;
};

/* 0 or -errno. */
MUST_USE int injector_start(struct injector *injector, struct shard *shard,
                            const struct injector_options *options, struct source_result *result);
/* The server has said nothing for so long: its user may want to stop. */
bool injector_stalled(const struct injector *injector, uint64_t silent_ns);
/* Asks nothing more; connections are closed. */
void injector_stop(struct injector *injector);
/* All connections are over. */
bool injector_done(const struct injector *injector);
void injector_fini(struct injector *injector);

#endif
