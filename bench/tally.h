/*
 * What a sink has received: how many of which number, and whether each was whole. One owner; the
 * result may stand in memory shared with another process, which reads it when this one has ended.
 */
#ifndef RINGPOST_BENCH_TALLY_H
#define RINGPOST_BENCH_TALLY_H

#include "bench/body.h"
#include "core/buf.h"

#define TALLY_NUMBERS_MAX (1u << 28) /* message numbers lie below */
#define TALLY_NAMED_MAX   20         /* numbers listed of each kind of trouble */

/* Times are monotonic nanoseconds; 0: never. */
struct sink_result {
    uint64_t messages;   /* different numbers received whole, as often as expected or more */
    uint64_t bodies;     /* whole bench bodies, duplicates included */
    uint64_t duplicates; /* more of one number than expected, in recipients */
    uint64_t missing;    /* set by tally_judge */
    uint64_t differing;
    uint64_t foreign;
    uint64_t recipients;
    uint64_t rejected;   /* replies of 4xx and 5xx */
    uint64_t refused;    /* those of them to RCPT */
    uint64_t tried;      /* different senders of a source (tally_put_sender) who had one of these */
    uint64_t bytes;
    uint64_t connections;
    uint64_t first_ns;   /* end of the first body */
    uint64_t last_ns;    /* last final reply sent */
};

struct tally {
    struct sink_result *result; /* borrowed */
    uint64_t expected;          /* messages 0 … expected - 1; 0: not known */
    unsigned copies;            /* recipients of each message */
    uint16_t *counts;           /* owned: recipients by number */
    uint8_t *refused;           /* owned: bits, by the number of the sender */
    uint64_t number_end;        /* numbers seen lie below */
    uint64_t *arrived_ns;       /* borrowed, by number; null: not kept */
    uint64_t arrived_count;
    bool said_complete;
};

struct tally_options {
    struct sink_result *result;
    uint64_t expected;
    unsigned copies;
    uint64_t *arrived_ns;
    uint64_t arrived_count;
};

/* False without memory. */
MUST_USE bool tally_init(struct tally *tally, const struct tally_options *options);
void tally_fini(struct tally *tally);

/*
 * A body has come to its end for `recipients` at `now_ns`. True: it is the bench's and whole. One
 * that differs is named on stderr.
 */
bool tally_add(struct tally *tally, struct body_check *check, unsigned recipients,
               uint64_t now_ns);
/* Who sends number `number` of a source's envelopes: the sink knows it again when it is retried. */
void tally_put_sender(struct buf *buf, uint64_t number);
/* A recipient was refused to this sender, perhaps not for the first time. */
void tally_refuse(struct tally *tally, struct slice sender);
/* All expected messages are there. */
bool tally_complete(const struct tally *tally);
/* Counts what is missing, lists missing and duplicate numbers on stderr; true: all is well. */
bool tally_judge(struct tally *tally);
/* "event=sink messages=… …" and a line end. */
void tally_put_line(const struct sink_result *result, struct buf *buf);
/* The same as one JSON object. */
void tally_put_json(const struct sink_result *result, struct buf *buf);

#endif
