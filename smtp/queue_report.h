/*
 * What holds the queues of a node back, as lines for its operator (SIGUSR1). Every mail shard looks
 * at its own queues, some in a turn, picks those that have waited the longest and writes a line for
 * each; whoever has asked, and is no shard, puts the lines of all shards in order and prints them:
 * no shard waits for whoever reads standard error.
 *
 *   asker: queue_report_init, node_report ─► TSA shard ─► mail shards: look, pick, write
 *   asker: queue_report_done, …_next ◄────── TSA shard ◄─ each one, when it has finished
 *
 *   event=report      the number of queues and recipients
 *   event=memory      the account of the shards that carry mail: what each consumer has taken
 *   event=reason      the same for each kind of queue and each reason
 *   event=queue       one for each queue: the longest waiting first, then those that move, then the
 *                     empty ones; no more of a kind than REPORT_LINES_MAX
 *   event=limit       likewise one for each limit, on whatever shards it is in use
 *   event=report_end  lines of queues and limits; of how many there was no room for one
 */
#ifndef RINGPOST_SMTP_QUEUE_REPORT_H
#define RINGPOST_SMTP_QUEUE_REPORT_H

#include <stdatomic.h>

#include "smtp/queue_picks.h"
#include "smtp/queue_report_kinds.h"
#include "smtp/shard_walk.h"

#define REPORT_LINES_MAX 1000u

struct report_list {
    uint32_t count; /* a heap while there may be more, the last in order first; then in order */
    uint32_t seen;  /* things of this kind */
    struct queue_pick picks[REPORT_LINES_MAX];
    struct {
        uint64_t queues;
        uint64_t recipients;
    } sums[HOLD_REASONS_COUNT];
};

enum report_stage { REPORT_LOOKING, REPORT_SORTING, REPORT_WRITING, REPORT_OVER };

/* What one mail shard does and finds; its own from arrival until it is sent home. */
struct queue_report_part {
    struct shard_walk walk;    /* its `delivery` is the asker's to set */
    struct queue_report *report;
    enum report_stage stage;
    enum report_kind kind;     /* being looked at, or written */
    uint64_t wall_ns;
    struct account account;    /* as it is when it begins */
    struct report_list lists[REPORT_KINDS];
    struct buf text;           /* the lines of all lists, one after the other */
    /* The asker's, afterwards. */
    uint32_t told;             /* picks of the current list */
    size_t told_bytes;
    /* Touched as needed. */
    uint8_t memory[REPORT_KINDS * REPORT_LINES_MAX * LOGLINE_BYTES_MAX];
};

struct queue_report {
    unsigned shards;
    struct queue_report_part *parts; /* the asker's memory */
    unsigned out;              /* parts that are not home: the TSA shard's */
    void (*ended)(struct queue_report *report); /* on the TSA shard: all are; then it is done */
    void *context;
    _Atomic uint32_t done;
    /* The asker's. */
    unsigned step;             /* which line, or list of lines, comes next */
    uint32_t lines;            /* of this kind */
    uint32_t doubles;          /* what had a line before, of another shard */
    const void *shared[REPORT_LINES_MAX]; /* what lines of this kind were about */
    uint64_t lines_all;
    uint64_t left_out;
    struct logline line;
    struct slice text;
};

uint64_t queue_report_memory(unsigned shards);
/* Asker. `memory` is aligned to 64, and stands until the report is done and read. */
void queue_report_init(struct queue_report *report, unsigned shards, void *memory);
/* TSA shard. Each part has its delivery. */
void queue_report_start(struct queue_report *report, struct shard *shard);
/* TSA shard: there is no report, for the node does not carry mail now. */
void queue_report_refuse(struct queue_report *report);
/* Asker: may it be read? Once it is, nobody else uses it. */
bool queue_report_done(const struct queue_report *report);
/* Asker: the next line, with its line end, good until the next call. False: there is no more. */
MUST_USE bool queue_report_next(struct queue_report *report, struct slice *line_out);

#endif
