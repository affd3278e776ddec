/*
 * The source: C connections to a server, one message in flight on each, until N have been answered.
 *
 *   plain      each command waits for its reply
 *   pipelined  MAIL, RCPT, DATA in one send; content and its end in one
 *   bdat       MAIL, RCPT, BDAT n LAST and content in one send
 *
 * A message answered 4xx is tried again after a while, one answered 5xx has failed. A connection
 * that breaks is made anew; the message whose content had begun is in doubt: it counts as lost and
 * is not sent again. Closed loop without a rate. With one, message k is due k ÷ rate after all
 * connections stood ready: its content goes out then (with bdat all of it), on a connection whose
 * envelope is already taken, and latency counts from when it was due.
 *
 * An idle source sends no message: each connection says EHLO and then nothing, until it is stopped
 * or the server ends it.
 *
 * All calls from the shard's thread. The result may be shared with another process.
 */
#ifndef RINGPOST_BENCH_SOURCE_H
#define RINGPOST_BENCH_SOURCE_H

#include "bench/body.h"
#include "bench/domains.h"
#include "bench/ledger.h"
#include "bench/pacer.h"
#include "bench/sink_session.h"
#include "core/histogram.h"
#include "shard/io/stream.h"
#include "shard/shard.h"
#include "smtp/reply.h"

#define SOURCE_CONNECTIONS_MAX 20000u
#define SOURCE_RCPTS_MAX       1000u

/* What a source can speak; one line of help. */
#define SOURCE_MODES "plain|pipelined|bdat"
/* False with a reason for anything else. */
MUST_USE bool source_mode_parse(const char *text, enum bench_mode *mode_out,
                                struct buf *reason_out);

struct source_load {
    struct endpoint connect;
    struct socket_options socket; /* congestion is borrowed */
    uint64_t messages;    /* of an idle one 0 */
    bool idle;
    uint64_t first;       /* number of the first message */
    uint64_t first_sender; /* … and of the first envelope: there can be more of these */
    size_t size;
    struct slice fields;  /* of the header, in front of each message of `size`; borrowed */
    unsigned connections;
    unsigned rcpts;
    enum bench_mode mode; /* not MODE_ALL */
    uint64_t rate;        /* messages a second; 0: closed loop */
    const struct domains *domains; /* borrowed */
    FILE *ledger;         /* borrowed; null: none. bench/ledger.h */
    uint64_t retry_ns;    /* how long a server may be away */
    /* Borrowed, by number from the first on: when due, else when content went; null: not kept. */
    uint64_t *due_ns;
    uint64_t due_count;
};

/* Times are monotonic nanoseconds. */
struct source_result {
    uint64_t accepted;
    uint64_t envelopes; /* begun */
    uint64_t failed;    /* answered 5xx, or given up */
    uint64_t lost;      /* in doubt: the connection broke after the content had begun */
    uint64_t tempfails; /* 4xx answers to what was then tried again */
    uint64_t rcpts_refused;
    uint64_t reconnects;
    uint64_t shed;      /* of an injector: requests answered 503 with Retry-After */
    uint64_t odd;       /* … and those answered neither that nor 200 */
    uint64_t unsent;    /* … and those that were due and found no connection */
    uint64_t idle;      /* connections that say nothing now */
    uint64_t first_ns;  /* first MAIL */
    uint64_t last_ns;   /* last final reply */
    struct histogram latency; /* end of data, or due time, to the final reply; nanoseconds */
    char trouble[256];  /* the first reply or end that was not wanted */
};

enum source_state {
    SOURCE_AWAY,     /* not connected: the timer connects */
    SOURCE_CONNECTING,
    SOURCE_GREETING,
    SOURCE_HELLO,
    SOURCE_COMMANDS, /* replies to the envelope are awaited; with bdat the final one too */
    SOURCE_READY,    /* with a rate: waits for a message to be due */
    SOURCE_CONTENT,  /* the final reply is awaited */
    SOURCE_RESET,
    SOURCE_PAUSE,    /* answered 4xx: the timer goes on */
    SOURCE_IDLE,
    SOURCE_QUIT,
    SOURCE_DONE,
};

struct source_connection {
    struct list link; /* in source->ready */
    struct source *source;
    struct stream stream;
    struct timer timer;
    uint8_t state;
    bool begun;        /* a message is at hand */
    bool numbered;     /* … and has `number` */
    bool content_sent; /* in doubt from here on */
    unsigned step;     /* index of the reply awaited: MAIL 0, RCPT 1 …, DATA or BDAT */
    unsigned rcpts_taken;
    uint16_t refusal;  /* code of the first bad reply of the transaction; 0: none */
    uint64_t number;
    uint64_t hash;     /* of the message whose content was sent */
    uint64_t sent_ns;  /* … when */
    uint64_t timed_ns; /* where latency begins */
    struct slice *rcpt_domains; /* of its recipients; an empty one was refused */
    struct buf commands;
    struct reply_parser replies;
    uint8_t header[BODY_HEADER_BYTES_MAX];
};

struct source {
    struct shard *shard; /* borrowed */
    struct source_load options;
    struct source_result *result; /* borrowed */
    struct body_maker maker;
    struct source_connection *connections; /* owned */
    uint8_t *command_bytes;   /* owned */
    struct slice *rcpt_domains; /* owned, by connection and recipient; the names are borrowed */
    struct deferred opener;   /* connects some of them in a turn */
    unsigned opened;          /* connections that were begun */
    struct list ready;
    unsigned ready_count;
    unsigned ready_wanted;    /* so many must stand ready before message 0 is due */
    uint64_t begun;           /* messages that some connection has taken on, or finished */
    uint64_t envelopes;       /* sent; each has a sender of its own */
    uint64_t numbered;        /* numbers given out */
    uint64_t due_start_ns;    /* with a rate: when message 0 was due; 0: not yet */
    uint64_t alive_ns;        /* when the server last said something */
    unsigned done_count;      /* connections that are over */
    bool giving_up;           /* nothing further is begun */
    bool stopping;
    bool pacing;
    struct pacer pacer;
};

/* 0 or -errno. */
MUST_USE int source_start(struct source *source, struct shard *shard,
                          const struct source_load *options, struct source_result *result);
/* The server has said nothing for so long: its user may want to stop. */
bool source_stalled(const struct source *source, uint64_t silent_ns);
/* Sends nothing more; connections are closed. */
void source_stop(struct source *source);
/* All connections are over. */
bool source_done(const struct source *source);
void source_fini(struct source *source);

#endif
