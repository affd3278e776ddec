/*
 * Tracers: who watches live SMTP dialogues. One set per node, on the TSA shard, where every call is
 * made. Each runs on all mail shards (smtp/trace_tap.h) from its start to its stop; both are
 * acknowledged by every shard: `told` is called then, and the tracer's place is free again when
 * all that it had out is home.
 */
#ifndef RINGPOST_SMTP_TRACE_H
#define RINGPOST_SMTP_TRACE_H

#include "shard/metered.h"
#include "smtp/trace_tap.h"

enum tracer_state {
    TRACER_FREE,
    TRACER_TAKEN,    /* its filter has not come yet */
    TRACER_STARTING, /* parts are on their way */
    TRACER_RUNNING,
    TRACER_STOPPING,
};

struct tracer {
    struct trace *trace;
    uint8_t slot;
    enum tracer_state state;
    uint64_t since_ms;          /* wall clock: when it began */
    struct trace_filter filter; /* read by mail shards while it runs */
    _Atomic uint64_t one;       /* of only_one: key of the dialogue that is shown; 0: none yet */
    struct metered *memory;     /* borrowed: of the parts */
    struct trace_part *parts;   /* one for each mail shard */
    unsigned out;               /* parts that are not home */
    bool stop_wanted;           /* as soon as they are */
    struct list full;           /* batches to be sent, the oldest first */
    void (*told)(struct tracer *tracer); /* it has started, or there is something to be sent */
    void *context;
    _Alignas(ARENA_ALIGNMENT) uint8_t arena[TRACE_FILTER_BYTES_MAX];
};

struct trace {
    struct shard *shard;      /* borrowed */
    unsigned shards;          /* of mail */
    struct trace_tap **taps;  /* theirs */
    struct tracer *tracers;   /* TRACERS_MAX of them */
};

struct boot_pages;

/* Boot; taps[i] is set by trace_shard_set. */
void trace_init(struct trace *trace, struct shard *shard, struct boot_pages *pages,
                unsigned shards);
void trace_shard_set(struct trace *trace, unsigned index, struct trace_tap *tap);

/* A place; null: all are taken. `told` and `context` are the caller's to set. */
MUST_USE struct tracer *trace_take(struct trace *trace);
/* Its filter is read: it runs. False: no memory; it is still taken. */
MUST_USE bool tracer_start(struct tracer *tracer, struct metered *memory);
/* The next event, until tracer_said. False: there is none now. */
MUST_USE bool tracer_next(struct tracer *tracer, struct slice *event_out);
void tracer_said(struct tracer *tracer);
/* In any state but FREE: it is the set's from here on, and nothing more is told. */
void tracer_stop(struct tracer *tracer);

/* Nothing of any tracer is out. */
bool trace_idle(const struct trace *trace);

/* Is this the dialogue that the tracer shows? Any shard. */
bool tracer_claims(struct tracer *tracer, const struct id *id);

#endif
