/*
 * Live SMTP dialogues for those who watch, on a mail shard. A connection has a byte: which tracers
 * (smtp/trace.h) may want to hear it. While it is 0, and it is for all when nobody watches, that is
 * all there is of tracing. Else what is said becomes JSON (KumoMTA's form) in batches of the
 * tracer's. A tracer has TRACE_BATCHES on each shard: while all are away what happens is only
 * counted, and told as {"lost":N} when one is back. So a slow tracer costs memory that is bounded,
 * and mail no time.
 *
 * A batch goes home when it is full, or no other of its tracer's is on its way. One per shard;
 * parts and batches are the TSA shard's.
 */
#ifndef RINGPOST_SMTP_TRACE_TAP_H
#define RINGPOST_SMTP_TRACE_TAP_H

#include <stdatomic.h>

#include "core/id.h"
#include "core/list.h"
#include "shard/shard.h"
#include "smtp/trace_filter.h"

#define TRACERS_MAX       8u
#define TRACE_BATCHES     4u
#define TRACE_BATCH_BYTES (24u * KIB)
#define TRACE_TEXT_MAX    2000u /* of what was said, in one event */
#define TRACE_SNIPPET_MAX 64u   /* of content */

struct server;
struct delivery;
struct tracer;
struct trace_part;

/* Travels between the TSA shard, whose it is, and a mail shard, which fills it. */
struct trace_batch {
    struct mail mail;
    struct list link;        /* on the TSA shard: of what is to be sent */
    struct trace_part *part;
    uint32_t size;           /* events: u32 size, JSON */
    uint32_t at;             /* on the TSA shard: up to here they are sent */
    uint8_t bytes[TRACE_BATCH_BYTES];
};

/* What a tracer has on one shard. While it is here the shard's; two orders bring it. */
struct trace_part {
    struct mail mail;
    struct deferred step;
    struct trace_tap *tap;   /* borrowed: where it goes */
    struct tracer *tracer;   /* borrowed: whose it is */
    unsigned registrar;      /* index of the TSA shard */
    bool stops;
    uint32_t next;           /* connection to be looked at next */
    bool clients;            /* … of those to servers */
    uint64_t lost;           /* events, not told yet */
    unsigned away;           /* batches that are not here */
    struct trace_batch *open; /* being filled; null: none */
    unsigned free_count;
    struct trace_batch *free[TRACE_BATCHES];
    void (*home)(struct trace_part *part);           /* on the TSA shard */
    void (*full)(struct trace_batch *batch);
    struct trace_batch batches[TRACE_BATCHES];
};

struct trace_tap {
    struct shard *shard;      /* borrowed, like the next two: whose connections are looked at */
    struct server *server;
    struct delivery *delivery;
    uint8_t servers;          /* tracers of dialogues with clients */
    uint8_t clients;          /* … with servers */
    struct trace_part *parts[TRACERS_MAX];
};

/* What is said, or happens. */
enum trace_kind {
    TRACE_CONNECTED,
    TRACE_CLOSED,
    TRACE_READ,          /* from the peer */
    TRACE_WRITE,
    TRACE_READ_CONTENT,  /* `bytes` of it, which begin with `text` */
    TRACE_WRITE_CONTENT,
    TRACE_DIAGNOSTIC,    /* words of ours */
};

struct trace_event {
    enum trace_side side;
    enum trace_kind kind;
    struct slice text;    /* secrets are masked already */
    uint64_t bytes;
    const struct id *id;  /* of the dialogue */
    const struct trace_session *session;
    const struct trace_transaction *transaction; /* null: none, or of a server */
};

void trace_tap_init(struct trace_tap *tap, struct shard *shard, struct server *server,
                    struct delivery *delivery);
/* Which tracers may want to hear a dialogue that begins now, or has come from another shard. */
uint8_t trace_tap_wants(const struct trace_tap *tap, enum trace_side side, const struct id *id,
                        const struct trace_session *session);
/* To those of `tracers` that are there and whose filter it fits. */
void trace_tap_put(struct trace_tap *tap, uint8_t tracers, const struct trace_event *event);

/*
 * A line of a client without its secrets: what stands behind AUTH and its mechanism, and a line
 * after that which is no command. `secret` is the dialogue's, false at first. Into `buf`.
 */
void trace_put_line(struct buf *buf, struct slice line, bool *secret);

/* --- for smtp/trace.h: TSA shard -------------------------------------------------------------- */

/* It starts, or stops; it comes home when all connections know. */
void trace_part_send(struct trace_part *part, struct shard *shard, bool start);
/* What stood in it has been sent, or is not wanted any more. */
void trace_batch_return(struct trace_batch *batch, struct shard *shard);

#endif
